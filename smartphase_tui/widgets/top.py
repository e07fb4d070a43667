"""The upper part of the main screen: who, what mode, how fresh; the three phases; the feeder's figures."""

from __future__ import annotations

from collections.abc import Sequence

from textual.strip import Strip

from pi_service.contract import Measured, Snapshot
from smartphase_tui.theme import PHASE_STYLE
from smartphase_tui.widgets.panel import Panel
from smartphase_tui.widgets.words import TAG_SHORT, age, clock_time, figure

_QUALITY_STYLE = {"G": "dim", "U": "alarm4", "B": "alarm3", "S": "stale"}
_VALUE_STYLE = {"G": "strong", "U": "text", "B": "off", "S": "stale"}


class Header(Panel):
    """Two lines: feeder, operator, link, age, time, alarms; mode, whose, tags, houses."""

    def lines(self, width: int, height: int) -> list[Strip]:
        return [self._first(width), self._second(width)]

    def _first(self, width: int) -> Strip:
        store = self.room.store
        snapshot, fresh = store.snapshot, store.freshness()
        line = self.look.line(width, "bar")
        line.add(" SmartPhase " if width >= 72 else " ", "bardim")
        line.add(f"{snapshot.feeder if snapshot else self.room.settings.feeder or 'no feeder yet'} ", "barstrong")
        if snapshot and width >= 100:
            line.add(f"{snapshot.name} ", "bar")
        line.add(f" {self.room.operator.words} ", "bar")
        line.add(f" {fresh.state} ", "auto" if fresh.live else "alarm1u")
        if snapshot is not None:
            _, shown, old = store.measured(snapshot.neutral_a)
            line.add(f" data {shown} {age(old)}" if width >= 76 else f" {shown} {age(old)}", "bardim")
        at = store.plant_now()
        standing = store.standing()
        unseen = sum(alarm.state != "ACK" for alarm in standing)
        new = f" ({unseen} new)" if unseen and width >= 76 else ""
        alarms = f"ALM {len(standing)}{new} "
        speed = f"x{snapshot.speed:g} " if snapshot and snapshot.speed != 1 and width >= 76 else ""
        clock = f"{clock_time(at, seconds=True)} IST " if at else ""
        short = f"{clock_time(at)} " if at else ""
        tails = (f"{speed}{clock}{alarms}", f"{clock}{alarms}", f"{short}{alarms}", alarms)
        tail = next((one for one in tails if len(one) < line.room), alarms)     # the alarms are never left out
        return line.right(tail, "barstrong" if unseen else "bar").strip()

    def _second(self, width: int) -> Strip:
        store = self.room.store
        snapshot, fresh = store.snapshot, store.freshness()
        line = self.look.line(width)
        if snapshot is None:
            return line.add(f" {fresh.why}", "dim").strip()
        line.add(f" {snapshot.mode} ", {"AUTO": "auto", "MANUAL": "manual", "HOLD": "hold"}[snapshot.mode])
        if not fresh.live:
            return line.add(f" {fresh.why}: values are old, controls off", "alarm2").strip()
        line.add(f" by {snapshot.mode_by} ", "dim")
        reason = snapshot.mode_reason
        if snapshot.mode == "HOLD" and reason:
            line.add(f"{reason} ", "alarm2")
        if snapshot.feeder_tag:
            line.add(f" TAG {TAG_SHORT[snapshot.feeder_tag]} ", "tag")
        bad = sum(house.quality == "B" for house in snapshot.houses)
        tags = sum(house.tag is not None for house in snapshot.houses)
        counts = f"{len(snapshot.houses)} houses{f', {bad} bad' if bad else ''}{f', {tags} tagged' if tags else ''} "
        if "DEMO BROKER" in snapshot.broker and width >= 100:
            counts = f"{snapshot.broker}  {counts}"
        return line.right(counts, "dim").strip()


class Bars(Panel):
    """A scale, a bar for each phase with its limit, and the neutral's last hour."""

    def lines(self, width: int, height: int) -> list[Strip]:
        snapshot = self.room.store.snapshot
        if snapshot is None:
            return []
        tail = 22
        bar = max(4, width - 3 - tail)
        top = _round_up(max(snapshot.phase_limit_a * 1.15,
                            *(phase.current_a.value or 0 for phase in snapshot.phases)))
        lines = [self._scale(width, bar, top, snapshot.phase_limit_a)]
        values = [phase.current_a.value for phase in snapshot.phases]
        known = [value for value in values if value is not None]
        mean = sum(known) / len(known) if len(known) == 3 else None
        lines += [self._bar(width, bar, top, snapshot, index, mean) for index in range(3)]
        lines.append(self._history(width, snapshot))
        return lines

    def _scale(self, width: int, bar: int, top: float, limit: float) -> Strip:
        line = self.look.line(width).add(" A ", "dim")
        step = top / 4 if bar >= 20 else top / 2
        for mark in range(4 if bar >= 20 else 2):
            line.at(3 + round(mark * step / top * bar)).add(f"{mark * step:.0f}", "dim")
        return line.right(f"lim {limit:g}A  mean ", "dim").strip()

    def _bar(self, width: int, bar: int, top: float, snapshot: Snapshot, index: int, mean: float | None) -> Strip:
        phase, glyphs = snapshot.phases[index], self.look.glyphs
        value, shown, old = self.room.store.measured(phase.current_a)
        style = PHASE_STYLE[phase.phase] if shown != "S" else "stale"
        line = self.look.line(width).add(f" {phase.phase} ", "strong")
        limit = min(bar - 1, round(snapshot.phase_limit_a / top * bar))
        over = value is not None and value > snapshot.phase_limit_a and shown != "S"
        cells = _bar_cells(value or 0.0, top, bar, glyphs.bar)
        before, mark, after = cells[:limit], glyphs.limit, cells[limit + 1:]
        line.add(before, "alarm1" if over else style).add(mark, "limit")
        line.add(after, "alarm1" if over else style)
        line.add(f"{figure(value, 6, 1)}A ", "alarm1" if over else _VALUE_STYLE[shown])
        line.add(shown, _QUALITY_STYLE[shown]).add(f"{age(old):>4}", "dim")
        if value is not None and mean:
            line.add(f" {100 * (value - mean) / mean:+5.0f}%", "stale" if shown == "S" else "dim")
        return line.strip()

    def _history(self, width: int, snapshot: Snapshot) -> Strip:
        glyphs = self.look.glyphs
        line = self.look.line(width).add(" In ", "dim")
        room = min(len(snapshot.neutral_history_a), max(1, width - 13))
        values = squeeze(snapshot.neutral_history_a, room)
        top = max([snapshot.neutral_limit_a, *(value for value in values if value is not None)])
        spark = "".join(
            glyphs.gap if value is None else
            glyphs.levels[min(len(glyphs.levels) - 1, int(value / top * len(glyphs.levels)))] for value in values)
        line.add(spark, "title" if self.room.store.freshness().live else "stale")
        return line.add(f" {len(snapshot.neutral_history_a)} min", "dim").strip()


class Figures(Panel):
    """Neutral, VUF and unbalance against their limits, power, voltage band, the neutral's last hour."""

    def lines(self, width: int, height: int) -> list[Strip]:
        snapshot = self.room.store.snapshot
        if snapshot is None:
            return []
        low, high = snapshot.voltage_min_v, snapshot.voltage_max_v
        known = [value for value in snapshot.neutral_history_a if value is not None]
        span = f"In min {min(known):.0f} max {max(known):.0f} A in 1 h" if known else "In: no history yet"
        volts = f"V{low:.0f}-{high:.0f}" if low is not None and high is not None else "V --"
        return [
            self._limited(width, "NEUTRAL", snapshot.neutral_a, "A", 1, snapshot.neutral_limit_a),
            self._limited(width, "VUF", snapshot.vuf_percent, "%", 2, snapshot.vuf_limit_percent),
            self._limited(width, "I-unbal", snapshot.unbalance_percent, "%", 0, None),
            self._limited(width, "POWER", snapshot.power_kw, "k", 1, None, volts),
            self.look.line(width).add(f" {span}", "dim").strip(),
        ]

    def _limited(self, width: int, name: str, measured: Measured, unit: str, decimals: int,
                 limit: float | None, beside: str = "") -> Strip:
        """Name, value, unit, quality, age, HI where it is over its limit, the limit or what stands `beside`."""
        value, shown, old = self.room.store.measured(measured)
        high = value is not None and limit is not None and value > limit and shown != "S"
        line = self.look.line(width).add(f" {name}".ljust(8), "dim")
        line.add(f"{figure(value, 6, decimals)}{unit} ", "alarm2" if high else _VALUE_STYLE[shown])
        line.add(shown, _QUALITY_STYLE[shown]).add(f"{age(old):>4}" if width >= 31 else "", "dim")
        if beside:
            return line.add(f" {beside}", "stale" if shown == "S" else "text").strip()
        line.add(" HI" if high else "   ", "alarm2")
        if limit is not None:
            line.add(f" lim {limit:g}", "dim")
        return line.strip()


def squeeze(values: Sequence[float | None], columns: int) -> list[float | None]:
    """`values` as `columns` maxima, in order: an hour in fewer cells than minutes, and no peak is lost."""
    parts = [values[i * len(values) // columns:(i + 1) * len(values) // columns] for i in range(columns)]
    known = [[value for value in part if value is not None] for part in parts]
    return [max(part) if part else None for part in known]


def _bar_cells(value: float, top: float, width: int, parts: str) -> str:
    """A bar of `width` cells filled to value/top, with parts of a cell where the terminal has them."""
    exact = max(0.0, min(1.0, value / top)) * width
    full = int(exact)
    part = int((exact - full) * len(parts))
    return (parts[-1] * full + (parts[part - 1] if part else "")).ljust(width)[:width]


def _round_up(value: float) -> float:
    """The next figure that makes four even marks."""
    for step in (20, 40, 60, 80, 100, 120, 160, 200, 240, 320, 400, 480, 600, 800, 1000, 1200, 1600, 2000):
        if value <= step:
            return float(step)
    return value
