"""The control room: one feeder seen and steered from a terminal."""

from __future__ import annotations

from smartphase_tui.settings import ConnectionSettings

__all__ = ["ConnectionSettings", "run"]


def run(settings: ConnectionSettings) -> int:
    """Open the control room and stay in it until the operator leaves. Returns the exit status, 0 or 1."""
    raise NotImplementedError
