"""Colours: quiet greys for what is normal, saturated only for alarms, and R, Y, B muted, never an alarm's colour.

Three tiers, one chosen at the start: `truecolor`, `16` (the terminal's own colours), `mono` (attributes only; what
NO_COLOR gives). Whatever a colour says, a letter, a number or a shape says too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rich.style import Style
from textual.theme import Theme

from smartphase_tui.settings import ColourTier

Tier = Literal["mono", "16", "truecolor"]

BACKGROUND = "#15181b"
_TRUE = {
    "text": "#c8ccce", "dim": "#858e94", "rule": "#4d565c", "title": "bold #a3b4bd", "strong": "bold #f2f4f5",
    "bar": "#dfe4e6 on #2b3238", "barstrong": "bold #ffffff on #2b3238", "bardim": "#98a3aa on #2b3238",
    "focus": "bold #15181b on #a3b4bd", "cursor": "bold #ffffff on #3a4650", "shadow": "#c8ccce on #22282c",
    "r": "#c08a80", "y": "#b3aa74", "b": "#86a3c9", "limit": "bold #f2f4f5",
    "stale": "italic #8d7fa8", "key": "bold #f2f4f5", "offered": "bold #ffffff on #47525b",
    "off": "#5d666c", "good": "#c8ccce", "tag": "bold #7fd1d8",
    "auto": "bold #15181b on #8fb59a", "manual": "bold #15181b on #b9c3ca", "hold": "bold #15181b on #d9a441",
    "alarm1": "bold #ff6b6b", "alarm2": "bold #ffd23f", "alarm3": "bold #e58cff", "alarm4": "bold #7fdfff",
    "alarm1u": "bold #ffffff on #c8202f", "alarm2u": "bold #15181b on #ffd23f",
    "alarm3u": "bold #15181b on #e58cff", "alarm4u": "bold #15181b on #7fdfff",
    "button": "#c8ccce on #2b3238", "armed": "bold #15181b on #f2f4f5",
}
_SIXTEEN = {
    "text": "default", "dim": "default", "rule": "bright_black", "title": "bold", "strong": "bold bright_white",
    "bar": "reverse", "barstrong": "bold reverse", "bardim": "reverse",
    "focus": "bold reverse", "cursor": "bold reverse", "shadow": "default",
    "r": "red", "y": "yellow", "b": "bright_blue", "limit": "bold bright_white",
    "stale": "dim", "key": "bold bright_white", "offered": "bold reverse",
    "off": "bright_black", "good": "default", "tag": "bold cyan",
    "auto": "bold black on green", "manual": "bold black on white", "hold": "bold black on yellow",
    "alarm1": "bold bright_red", "alarm2": "bold bright_yellow", "alarm3": "bold bright_magenta",
    "alarm4": "bold bright_cyan", "alarm1u": "bold bright_white on red", "alarm2u": "bold black on bright_yellow",
    "alarm3u": "bold black on bright_magenta", "alarm4u": "bold black on bright_cyan",
    "button": "default", "armed": "bold reverse",
}
_MONO = {
    "text": "", "dim": "dim", "rule": "dim", "title": "bold", "strong": "bold",
    "bar": "reverse", "barstrong": "bold reverse", "bardim": "reverse",
    "focus": "bold reverse", "cursor": "reverse", "shadow": "",
    "r": "", "y": "", "b": "", "limit": "bold", "stale": "dim", "key": "bold", "offered": "reverse",
    "off": "dim", "good": "", "tag": "bold",
    "auto": "bold reverse", "manual": "bold reverse", "hold": "bold reverse",
    "alarm1": "bold", "alarm2": "bold", "alarm3": "bold", "alarm4": "bold",
    "alarm1u": "bold reverse", "alarm2u": "bold reverse", "alarm3u": "reverse", "alarm4u": "reverse",
    "button": "", "armed": "bold reverse",
}
PHASE_STYLE = {"R": "r", "Y": "y", "B": "b"}


class Palette:
    """The styles of a tier by name; an unknown name is a mistake of the program and raises KeyError."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        words = {"mono": _MONO, "16": _SIXTEEN, "truecolor": _TRUE}[tier]
        self._styles = {name: Style.parse(word) for name, word in words.items()}
        self._styles[""] = self._styles["text"]

    def __getitem__(self, name: str) -> Style:
        return self._styles[name]

    def theme(self) -> Theme:
        """The toolkit's theme to go with it: the terminal's own background unless there is true colour."""
        if self.tier == "truecolor":
            return Theme(
                name="smartphase", primary="#a3b4bd", foreground="#c8ccce", background=BACKGROUND,
                surface=BACKGROUND, panel=BACKGROUND, boost=BACKGROUND, dark=True,
            )
        quiet = "ansi_default"
        return Theme(
            name="smartphase", primary=quiet, secondary=quiet, warning=quiet, error=quiet, success=quiet,
            accent=quiet, foreground=quiet, background=quiet, surface=quiet, panel=quiet, boost=quiet, ansi=True,
            variables={"ansi-background": quiet, "ansi-foreground": quiet},
        )


def choose_palette(asked: ColourTier, environment: Mapping[str, str]) -> Palette:
    """The colours for this terminal: NO_COLOR wins over "auto", a flag wins over both."""
    if asked != "auto":
        return Palette(asked)
    term, truecolor = environment.get("TERM", ""), environment.get("COLORTERM", "").lower()
    if environment.get("NO_COLOR") or term in ("", "dumb", "unknown") or term.startswith("vt"):
        return Palette("mono")
    if truecolor in ("truecolor", "24bit") or "256color" in term or "direct" in term or term in ("xterm-kitty",):
        return Palette("truecolor")
    return Palette("16")
