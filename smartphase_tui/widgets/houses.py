"""The houses: one row each, sorted and filtered, with quality and age of what is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual.strip import Strip

from pi_service.contract import HouseView
from smartphase_tui.paint import Line
from smartphase_tui.room import Room
from smartphase_tui.theme import PHASE_STYLE
from smartphase_tui.widgets.lists import ListPanel
from smartphase_tui.widgets.words import TAG_SHORT, age, figure


@dataclass(frozen=True, slots=True)
class Column:
    """A column: heading, width, how it sorts, what it shows, and how long it is kept when there is no room."""

    name: str
    width: int
    order: Callable[[HouseView], object]
    show: Callable[[HouseView], str]
    keep: int
    left: bool = False


COLUMNS = (
    Column("HOUSE", 6, lambda h: h.id, lambda h: h.id, 99, left=True),
    Column("POLE", 4, lambda h: (h.pole, h.id), lambda h: h.pole, 30, left=True),
    Column("PH", 2, lambda h: ("RYB".find(h.phase), h.id), lambda h: {"open": "--", "fault": "!!"}.get(
        h.phase, f"{h.phase} "), 95, left=True),
    Column("A", 5, lambda h: -(h.current_a or -1.0), lambda h: figure(h.current_a, 5, 1), 90),
    Column("V", 5, lambda h: h.voltage_v or 0.0, lambda h: figure(h.voltage_v, 5, 1), 60),
    Column("kW", 5, lambda h: -(h.power_kw if h.power_kw is not None else -99), lambda h: figure(
        h.power_kw, 5, 2), 85),
    Column("PV", 4, lambda h: -(h.solar_kw or 0.0), lambda h: figure(h.solar_kw, 4, 1) if h.pv_kwp else "    ", 50),
    Column("Q", 1, lambda h: "BUG".find(h.quality), lambda h: h.quality, 80),
    Column("AGE", 3, lambda h: -h.age_s, lambda h: age(h.age_s), 20),
    Column("TAG", 3, lambda h: (h.tag is None, not h.note), lambda h: TAG_SHORT[h.tag] if h.tag else "", 40, left=True),
)
_WORDS: dict[str, Callable[[HouseView], bool]] = {
    "r": lambda h: h.phase == "R", "y": lambda h: h.phase == "Y", "b": lambda h: h.phase == "B",
    "bad": lambda h: h.quality == "B", "tag": lambda h: h.tag is not None, "pv": lambda h: h.pv_kwp > 0,
    "note": lambda h: bool(h.note),
}


class Houses(ListPanel[HouseView]):
    """The house table."""

    keeps_shadow = True
    has_foot = True

    def __init__(self, room: Room, id: str | None = None) -> None:
        super().__init__(room, id)
        self.sort = 0
        self.turned = False
        self.filter = ""

    def rows(self) -> list[HouseView]:
        words = self.filter.lower().split()
        found = [h for h in self.room.store.houses.values() if all(_fits(h, word) for word in words)]
        return sorted(found, key=lambda h: (COLUMNS[self.sort].order(h), h.id), reverse=self.turned)

    def key(self, row: HouseView) -> str:
        return row.id

    def empty(self) -> str:
        return "no house fits the filter (Esc clears it)" if self.filter else "waiting for the houses"

    def title(self, line: Line) -> None:
        line.add(" ")
        for column in self._columns(line.room):
            mark = (self.look.glyphs.up if self.turned else self.look.glyphs.down) if (
                column is COLUMNS[self.sort]) else ""
            name = f"{column.name}{mark}"[-column.width:]
            line.add(name.ljust(column.width) if column.left else name.rjust(column.width),
                     "key" if mark else "title").add(" ")
        if line.room > 6:
            line.add("NOTE", "title")

    def row(self, line: Line, row: HouseView, ground: str) -> None:
        store = self.room.store
        live = store.freshness().live
        ageing = store.age(row.age_s)
        for column in self._columns(line.room):
            text = column.show(row)
            style = ground
            if not ground:
                style = self._style(column, row, live)
            if column.name == "AGE":
                text = age(ageing)
            if column.name == "Q" and not live and row.quality != "B":
                text = "S"
            line.add(text.ljust(column.width) if column.left else text.rjust(column.width), style).add(" ", ground)
        if line.room > 6:
            words = row.note or ("critical" if row.critical else "" if row.switchable else "no switch")
            line.add(words, ground or "dim")

    def foot(self, width: int) -> Strip:
        houses = self.room.store.houses.values()
        glyphs = self.look.glyphs
        counts = " ".join(f"{p} {sum(h.phase == p for h in houses)}" for p in "RYB")
        line = self.look.line(width).add(f" {counts}", "dim")
        arrow = glyphs.up if self.turned else glyphs.down
        line.add(f"  sort {COLUMNS[self.sort].name} {arrow}", "dim")
        if self.filter or width >= 48:
            line.add(f"  filter {self.filter or '-'}", "key" if self.filter else "dim")
        return line.right(self.shown(), "dim").strip()

    def _columns(self, room: int) -> tuple[Column, ...]:
        """The columns that fit, the least wanted gone first."""
        kept = list(COLUMNS)
        while sum(column.width + 1 for column in kept) - 1 > room and len(kept) > 1:
            kept.remove(min(kept, key=lambda column: column.keep))
        return tuple(kept)

    def _style(self, column: Column, row: HouseView, live: bool) -> str:
        if not live:
            return "stale"
        if column.name == "PH":
            return PHASE_STYLE.get(row.phase, "alarm1")
        if column.name == "TAG":
            return "tag"
        if column.name == "Q":
            return {"G": "dim", "U": "alarm4", "B": "alarm3"}[row.quality]
        return "off" if row.quality == "B" else "dim" if column.name in ("POLE", "AGE") else "text"


def _fits(house: HouseView, word: str) -> bool:
    test = _WORDS.get(word)
    return test(house) if test else word in house.id.lower() or word in house.pole.lower()
