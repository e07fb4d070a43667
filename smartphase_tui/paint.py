"""Painting lines of text: how a panel turns what it knows into styled cells of a fixed width.

A `Line` is filled from left to right or at a column, never grows past its width, and holds only signs that the
terminal can draw. Not here: what is painted (the widgets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from smartphase_tui.glyphs import Glyphs
from smartphase_tui.theme import Palette


@dataclass(frozen=True, slots=True)
class Look:
    """What everything is drawn with: signs and colours, chosen once."""

    glyphs: Glyphs
    palette: Palette

    def line(self, width: int, style: str = "") -> Line:
        """An empty line; `style` is its ground."""
        return Line(self, width, style)

    def rule(self, width: int, style: str = "rule") -> Strip:
        """A horizontal rule over the whole width."""
        return Line(self, width).add(self.glyphs.horizontal * width, style).strip()


class Line:
    """One line being painted."""

    def __init__(self, look: Look, width: int, style: str = "") -> None:
        self._look = look
        self._width = width
        self._ground = style
        self._parts: list[tuple[str, str]] = []
        self.used = 0

    @property
    def room(self) -> int:
        """Cells that are left."""
        return self._width - self.used

    def add(self, text: str, style: str = "") -> Line:
        """Append `text`, cut at the line's end."""
        text = self._look.glyphs.clean(text)
        length = len(text) if text.isascii() else cell_len(text)
        if length > self.room:
            text, length = set_cell_size(text, max(0, self.room)), max(0, self.room)
        if text:
            self._parts.append((text, style or self._ground))
            self.used += length
        return self

    def at(self, column: int) -> Line:
        """Fill with ground up to `column`; nothing where it is passed already."""
        return self.add(" " * (min(column, self._width) - self.used)) if column > self.used else self

    def right(self, text: str, style: str = "") -> Line:
        """Put `text` against the right edge, where it fits behind what is there."""
        length = cell_len(text)
        return self.at(self._width - length).add(text, style) if length <= self.room else self

    def strip(self) -> Strip:
        """The finished line, filled to its width; neighbours of one style become one run."""
        palette = self._look.palette
        segments: list[Segment] = []
        run, style = "", palette[self._ground]
        for text, name in [*self._parts, (" " * self.room, self._ground)]:
            new = palette[name]
            if new is style or (text.isspace() and _blank_alike(new, style)):
                run += text
                continue
            if run.isspace() and _blank_alike(new, style):
                run, style = run + text, new
                continue
            if run:
                segments.append(Segment(run, style))
            run, style = text, new
        if run:
            segments.append(Segment(run, style))
        return Strip(segments, self._width)


def _blank_alike(one: Style, other: Style) -> bool:
    """Whether a blank looks the same in both: the fewer runs, the fewer bytes to the terminal."""
    return not (one.reverse or other.reverse) and one.bgcolor == other.bgcolor


def wrap(text: str, width: int) -> list[str]:
    """Break `text` into lines of at most `width` characters at spaces; a longer word is cut."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            while len(word) > width:
                if line:
                    lines.append(line)
                    line = ""
                lines.append(word[:width])
                word = word[width:]
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines


def changed_span(old: Strip, new: Strip) -> tuple[int, int] | None:
    """The columns [start, end) in which two lines of one width differ; None where they are alike."""
    before, after = _cells(old), _cells(new)
    if before == after:
        return None
    if len(before) != len(after) or len(after) != new.cell_length:      # signs that are not one cell wide
        return 0, new.cell_length
    pairs = list(zip(before, after, strict=True))
    start = next(i for i, (a, b) in enumerate(pairs) if a != b)
    end = next(i for i in range(len(pairs), 0, -1) if pairs[i - 1][0] != pairs[i - 1][1])
    return start, end


def _cells(strip: Strip) -> Sequence[tuple[str, object]]:
    return [(sign, segment.style) for segment in strip for sign in segment.text]
