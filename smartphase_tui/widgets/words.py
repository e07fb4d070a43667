"""How values are written: amperes, ages, times, moves; always with what a reader needs to trust them."""

from __future__ import annotations

from pi_service.clock import local
from pi_service.contract import SwitchView

STATE_SHORT = {
    "PROPOSED": "...", "AUTHORISED": "...", "SENT": "SENT", "ACKED": "ACKED", "VERIFIED": "OK", "REFUSED": "REFUS",
    "FAILED": "FAIL", "ROLLBACK_SENT": "BACK?", "ROLLED_BACK": "BACK", "QUARANTINED": "QUAR",
}
TAG_SHORT = {"caution": "CAU", "control-inhibit": "INH", "do-not-operate": "DNO"}


def figure(value: float | None, width: int, decimals: int) -> str:
    """A number in `width` cells, `--` where there is none."""
    if value is None:
        return "--".rjust(width)
    text = f"{value:.{decimals}f}"
    return (text if text.strip("-0.") else text.lstrip("-")).rjust(width)


def age(seconds: float) -> str:
    """An age in at most 4 cells."""
    if seconds < 100:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 6000 else f"{min(seconds / 3600, 999):.0f}h"


def clock_time(at: float, seconds: bool = False) -> str:
    """India's time of day."""
    return f"{local(at):%H:%M:%S}" if seconds else f"{local(at):%H:%M}"


def move(view: SwitchView, arrow: str) -> str:
    return f"{view.from_phase}{arrow}{view.to_phase}"


def switch_state(view: SwitchView) -> tuple[str, str]:
    """Short words for a switch's state, and their style."""
    if view.undone_by:
        return "UNDONE", "dim"
    bad = {"FAILED": "alarm2", "QUARANTINED": "alarm1", "ROLLED_BACK": "alarm2", "ROLLBACK_SENT": "alarm2"}
    return STATE_SHORT[view.state], bad.get(view.state, "dim" if view.state == "REFUSED" else "text")
