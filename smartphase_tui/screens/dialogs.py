"""Dialogs: nothing moves without one, Cancel has the focus, and Esc always leaves without doing anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Key
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widgets import Input

from pi_service.contract import Operate, Phase, Preview, PreviewResult, Reply
from smartphase_tui.paint import wrap
from smartphase_tui.requests import Refused, body
from smartphase_tui.room import Room
from smartphase_tui.theme import PHASE_STYLE
from smartphase_tui.widgets.panel import Panel

_TEXT = "text"


@dataclass(frozen=True, slots=True)
class Said:
    """A line of a dialog and its style."""

    text: str
    style: str = _TEXT


class _Face(Panel):
    """The dialog's face: a frame, its lines, and a row of choices."""

    def __init__(self, room: Room, dialog: Dialog) -> None:
        super().__init__(room)
        self._dialog = dialog

    def lines(self, width: int, height: int) -> list[Strip]:
        glyphs = self.look.glyphs
        corners, across = glyphs.corners, glyphs.horizontal * (width - 2)
        title = f"{glyphs.horizontal} {self._dialog.title_text} "
        painted = [self.look.line(width).add(
            (corners[0] + title + across)[: width - 1] + corners[1], "title").strip()]
        for said in self._dialog.said(width - 4)[: height - 3]:
            painted.append(self._framed(width, said))
        while len(painted) < height - 2:
            painted.append(self._framed(width, Said("")))
        line = self.look.line(width).add(f"{glyphs.vertical} ", "title")
        for index, choice in enumerate(self._dialog.choices()):
            line.add(f" {choice} ", "armed" if index == self._dialog.chosen else "button").add(" ")
        painted.append(line.at(width - 1).add(glyphs.vertical, "title").strip())
        painted.append(self.look.line(width).add(corners[2] + across + corners[3], "title").strip())
        return painted

    def _framed(self, width: int, said: Said) -> Strip:
        upright = self.look.glyphs.vertical
        line = self.look.line(width).add(f"{upright} ", "title").add(said.text[: width - 4], said.style)
        return line.at(width - 1).add(upright, "title").strip()


class Dialog(ModalScreen[str]):
    """A question with choices; the first, Cancel, is chosen at the start. Answers with the choice, "" for Cancel."""

    DEFAULT_CSS = """
    Dialog { align: center middle; background: transparent; }
    Dialog _Face { width: 64; max-width: 100%; height: 16; max-height: 100%; }
    Dialog Vertical { width: 64; max-width: 100%; height: auto; }
    Dialog Input { width: 100%; padding: 0 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", show=False),
        Binding("left,shift+tab", "choose(-1)", show=False),
        Binding("right,tab", "choose(1)", show=False),
        Binding("enter", "confirm", show=False),
    ]

    strict = True
    """Whether a foreign key leaves the dialog; not where text is written."""

    def __init__(self, room: Room, title: str, height: int = 16) -> None:
        super().__init__()
        self._own_keys = {key for binding in self._bindings.key_to_bindings for key in binding.split(",")}
        self.room = room
        self.title_text = title
        self.chosen = 0
        self._height = height

    def compose(self) -> ComposeResult:
        yield _Face(self.room, self)

    def on_mount(self) -> None:
        face = self.query_one(_Face)
        face.styles.height = self._height
        self.set_interval(0.5, self.redraw)

    def redraw(self) -> None:
        self.query_one(_Face).redraw()

    def leave(self, answer: str) -> None:
        """Close with an answer, once: a second key that was pressed meanwhile must not close what lies behind."""
        if self.is_current:
            self.dismiss(answer)

    # ------------------------------------------------------------ given by the kind of dialog

    def said(self, width: int) -> list[Said]:
        raise NotImplementedError

    def choices(self) -> Sequence[str]:
        return ("Cancel",)

    async def confirmed(self, choice: str) -> None:
        """A choice other than Cancel was confirmed."""
        self.leave(choice)

    # ------------------------------------------------------------ keys

    def on_key(self, event: Key) -> None:
        """A key that is none of this dialog's leaves it: stray typing never wanders to a confirmation."""
        if self.strict and event.key not in self._own_keys:
            event.stop()
            self.room.say(f"left: {event.key} is no key of that dialog; nothing was sent")
            self.leave("")

    def action_cancel(self) -> None:
        self.leave("")

    def action_choose(self, step: int) -> None:
        self.chosen = (self.chosen + step) % len(self.choices())
        self.redraw()

    async def action_confirm(self) -> None:
        choices = self.choices()
        if self.chosen == 0 or self.chosen >= len(choices):
            self.leave("")
        else:
            await self.confirmed(choices[self.chosen])


class Confirm(Dialog):
    """A question with its facts."""

    def __init__(self, room: Room, title: str, facts: Sequence[str], verbs: Sequence[str]) -> None:
        super().__init__(room, title, height=min(16, len(facts) + 8))
        self._facts, self._verbs = facts, verbs

    def said(self, width: int) -> list[Said]:
        lines = [Said(line) for fact in self._facts for line in wrap(fact, width)]
        return [Said(""), *lines, Said(""), Said("left/right choose, Enter does it, Esc leaves", "dim")]

    def choices(self) -> Sequence[str]:
        return ("Cancel", *self._verbs)


class Reason(Dialog):
    """A choice and a reason in words: for tags. Answers "choice|reason"."""

    strict = False

    def __init__(self, room: Room, title: str, facts: Sequence[str], verbs: Sequence[str]) -> None:
        super().__init__(room, title, height=min(14, len(facts) + 8))
        self._facts, self._verbs = facts, verbs

    def compose(self) -> ComposeResult:
        with Vertical():
            yield _Face(self.room, self)
            yield Input(placeholder="reason, then Tab and Enter", compact=True)

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(Input).focus()

    def said(self, width: int) -> list[Said]:
        lines = [Said(line) for fact in self._facts for line in wrap(fact, width)]
        return [Said(""), *lines, Said(""), Said("write the reason below; Tab chooses, Enter does it", "dim")]

    def choices(self) -> Sequence[str]:
        return ("Cancel", *self._verbs)

    async def on_input_submitted(self) -> None:
        await self.action_confirm()

    async def confirmed(self, choice: str) -> None:
        reason = self.query_one(Input).value.strip()
        if reason:
            self.leave(f"{choice}|{reason}")


class Ask(Dialog):
    """One line of text. Answers with it; Cancel gives ""."""

    strict = False

    def __init__(self, room: Room, title: str, hint: str, value: str) -> None:
        super().__init__(room, title, height=6)
        self._hint, self._value = hint, value

    def compose(self) -> ComposeResult:
        with Vertical():
            yield _Face(self.room, self)
            yield Input(value=self._value, compact=True)

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(Input).focus()

    def said(self, width: int) -> list[Said]:
        return [Said(line, "dim") for line in wrap(self._hint, width)]

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        self.leave(f"={event.value.strip()}")


class MoveDialog(Dialog):
    """Select before operate: choose the phase, see effect and interlocks, confirm within the preview's life."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(phase.lower(), f"target('{phase}')", show=False) for phase in "RYB"]

    def __init__(self, room: Room, house: str, ask: Callable[[Operate], Awaitable[Reply | None]]) -> None:
        super().__init__(room, f"Move {house}", height=22)
        self._house = house
        self._ask = ask
        self._preview: PreviewResult | None = None
        self._until = 0.0
        self._words = ""

    def choices(self) -> Sequence[str]:
        return ("Cancel", "OPERATE") if self._armed else ("Cancel",)

    @property
    def _armed(self) -> bool:
        preview = self._preview
        return preview is not None and all(lock.ok for lock in preview.interlocks) and self._left > 0

    @property
    def _left(self) -> float:
        return self._until - self.room.clock.monotonic()

    async def action_target(self, phase: str) -> None:
        """See what the move to `phase` would do. Moves nothing."""
        self._preview, self.chosen, self._words = None, 0, f"asking the Pi about {phase} ..."
        self.redraw()
        try:
            reply = await self.room.requests.ask(Preview(self._house, cast(Phase, phase)))
            self._preview = body(reply, PreviewResult)
            self._until, self._words = self.room.clock.monotonic() + self._preview.expires_in_s, ""
        except Refused as refused:
            self._words = str(refused)
        self.redraw()

    async def confirmed(self, choice: str) -> None:
        preview = self._preview
        if preview is None or not self._armed:
            return
        self._preview, self._words = None, "sent to the Pi ..."
        self.redraw()
        await self._ask(Operate(preview.preview_id))
        self.leave(choice)

    def said(self, width: int) -> list[Said]:
        house = self.room.store.houses.get(self._house)
        fresh = self.room.store.freshness()
        lines = []
        if house is not None:
            lines.append(Said(f"{house.id} {house.pole}  on {house.phase}  "
                              f"{house.switches_today} switches today  {house.note}"))
        if not fresh.live:
            return [*lines, Said(fresh.why, "alarm2"), Said("nothing can be operated; Esc leaves", "dim")]
        preview = self._preview
        if preview is None:
            lines += [Said(line, "alarm2" if self._words and "..." not in self._words else "strong")
                      for line in wrap(self._words, width)]
            return [*lines, Said(""), Said("r, y or b: the phase to move it to. Esc leaves.", "key")]
        arrow = self.room.look.glyphs.arrow
        lines.append(Said(f"{preview.from_phase}{arrow}{preview.to_phase}", PHASE_STYLE[preview.to_phase]))
        effect = preview.effect
        if effect is not None:
            before, after = effect.phase_current_before_a, effect.phase_current_after_a
            lines += [
                Said(f"neutral {effect.neutral_before_a:.1f}{arrow}{effect.neutral_after_a:.1f} A   "
                     f"VUF {effect.vuf_before_percent:.2f}{arrow}{effect.vuf_after_percent:.2f} %", "strong"),
                Said("R Y B  " + "  ".join(f"{a:.0f}{arrow}{b:.0f}" for a, b in zip(before, after, strict=True))
                     + f" A   {effect.voltage_min_v:.0f} to {effect.voltage_max_v:.0f} V"),
                Said(f"solar lost {effect.pv_lost_kwh:.2f} kWh   worth {effect.value:.0f} A2h"),
            ]
        if self._left <= 0:
            lines.append(Said("the preview is too old: choose the phase again", "alarm2"))
        elif self._armed:
            lines.append(Said(f"Tab to OPERATE, Enter within {self._left:.0f} s; r y b another phase", "key"))
        else:
            lines.append(Said("an interlock does not hold: nothing can be operated", "alarm2"))
        for lock in sorted(preview.interlocks, key=lambda lock: lock.ok):
            mark = self.room.look.glyphs.ok if lock.ok else self.room.look.glyphs.barred
            lines.append(Said(f"{mark} {lock.name}: {lock.detail}", "dim" if lock.ok else "alarm2"))
        return lines
