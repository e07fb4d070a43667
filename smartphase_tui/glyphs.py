"""What the terminal can draw: three sets of signs, one chosen at the start and kept.

`ascii` is for anything; `cp437` for the Linux console and old fonts (box lines and half blocks, no eighths, no
braille); `unicode` for terminal emulators with a UTF-8 locale. Every sign is one cell wide.
Not here: colours (`theme`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from smartphase_tui.settings import GlyphTier

Tier = Literal["ascii", "cp437", "unicode"]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs of a tier.

    `bar` holds the parts of a cell from almost empty to full; `levels` the heights of a sparkline's column, lowest
    first; `shapes` one shape a priority (1 to 4); `plot` is the marker that charts are drawn with.
    """

    tier: Tier
    horizontal: str
    vertical: str
    cross: str
    tee_down: str
    tee_up: str
    tee_right: str
    tee_left: str
    corners: str
    bar: str
    limit: str
    levels: str
    gap: str
    cursor: str
    arrow: str
    up: str
    down: str
    ok: str
    barred: str
    shapes: str
    dash: str
    plot: str

    def clean(self, text: str) -> str:
        """`text` from the wire as this terminal can draw it: no control characters, no sign that it lacks."""
        if text.isascii() and text.isprintable():
            return text
        text = "".join(sign if sign.isprintable() else "?" for sign in text)
        if self.tier == "unicode":
            return text
        for sign, plain in _PLAIN.items():
            text = text.replace(sign, plain)
        return text.encode("ascii" if self.tier == "ascii" else "cp437", "replace").decode(
            "ascii" if self.tier == "ascii" else "cp437"
        )


_PLAIN = {
    "→": ">", "–": "-", "—": "-", "−": "-", "…": "..", "×": "x", "’": "'", "“": '"', "”": '"',
    "≥": ">=", "≤": "<=",
}

_ASCII = Glyphs(
    tier="ascii", horizontal="-", vertical="|", cross="+", tee_down="+", tee_up="+", tee_right="+", tee_left="+",
    corners="++++", bar="#", limit="|", levels="_.:-=+*#", gap=" ", cursor=">", arrow=">", up="^", down="v",
    ok="ok", barred="NO", shapes="!^*.", dash="-", plot="x",
)
_CP437 = Glyphs(
    tier="cp437", horizontal="─", vertical="│", cross="┼", tee_down="┬", tee_up="┴", tee_right="├", tee_left="┤",
    corners="┌┐└┘", bar="▌█", limit="│", levels="_▄█", gap=" ", cursor="►", arrow="►", up="▲", down="▼",
    ok="√ ", barred="NO", shapes="■▲•·", dash="─", plot="hd",
)
_UNICODE = Glyphs(
    tier="unicode", horizontal="─", vertical="│", cross="┼", tee_down="┬", tee_up="┴", tee_right="├", tee_left="┤",
    corners="┌┐└┘", bar="▏▎▍▌▋▊▉█", limit="│", levels="▁▂▃▄▅▆▇█", gap=" ", cursor="▶", arrow="→", up="▲", down="▼",
    ok="✓ ", barred="✗ ", shapes="■▲◆●", dash="─", plot="braille",
)
TIERS: Mapping[Tier, Glyphs] = {"ascii": _ASCII, "cp437": _CP437, "unicode": _UNICODE}


def choose_glyphs(asked: GlyphTier, environment: Mapping[str, str]) -> Glyphs:
    """The signs for this terminal: as asked or, with "auto", what TERM and the locale allow."""
    if asked != "auto":
        return TIERS[asked]
    term = environment.get("TERM", "")
    locale = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or ""
    if term in ("", "dumb", "unknown", "vt100", "vt102", "vt220", "ansi"):
        return TIERS["ascii"]
    if "utf" not in locale.lower():
        return TIERS["ascii"]
    return TIERS["cp437" if term in ("linux", "con80x25", "cons25", "fbterm") else "unicode"]
