"""Who may move houses on this feeder: AUTO, MANUAL or HOLD, and the automatic hold with its reason.

A person sets AUTO, MANUAL or HOLD. What makes decisions unsafe (bad data, a lost meter, a tag on the feeder, a
broken neutral) sets HOLD on top of it, and the person's mode comes back once the reason has been gone for a while.
Every change is in the audit log before it counts.
"""

from __future__ import annotations

from pi_service.clock import Clock
from pi_service.contract import Mode
from pi_service.store.audit import AuditLog

AUTOMATIC = "smartphased"
"""Who set a mode that no person set."""


class Modes:
    """The mode of one feeder; survives a restart through the audit log."""

    def __init__(self, audit: AuditLog, clock: Clock, first: Mode, release_s: float) -> None:
        self._audit, self._clock, self._release_s = audit, clock, release_s
        rows = audit.rows(kinds=("mode",), limit=None)
        chosen = next((row for row in rows if row.body["by"] != AUTOMATIC), None)
        self._chosen: Mode = chosen.body["mode"] if chosen else first
        self._by: str = chosen.body["by"] if chosen else "site"
        self._why: str = chosen.body["reason"] if chosen else "mode at first start"
        self._hold = ""
        self._clear_since: float | None = None
        last = rows[0] if rows else None
        if last is not None and last.body["by"] == AUTOMATIC and last.body["mode"] == "HOLD":
            self._hold = last.body["reason"]

    @property
    def mode(self) -> Mode:
        """What counts now."""
        return "HOLD" if self._hold else self._chosen

    @property
    def by(self) -> str:
        return AUTOMATIC if self._hold else self._by

    @property
    def reason(self) -> str:
        return self._hold or self._why

    def choose(self, mode: Mode, by: str, reason: str) -> None:
        """A person's choice. Under an automatic hold it is what comes back afterwards."""
        self._audit.record_mode(self._clock.now(), mode, by, reason)
        self._chosen, self._by, self._why = mode, by, reason
        if self._hold:
            self._audit.record_mode(self._clock.now(), "HOLD", AUTOMATIC, self._hold)

    def guard(self, danger: str) -> bool:
        """Hold while there is a danger ("" for none); True where the mode changed by this."""
        now = self._clock.now()
        if danger:
            self._clear_since = None
            news, self._hold = not self._hold, danger       # holds even where it cannot be logged
            if news:
                self._audit.record_mode(now, "HOLD", AUTOMATIC, danger)
            return news
        if not self._hold:
            return False
        self._clear_since = now if self._clear_since is None else min(self._clear_since, now)
        if now - self._clear_since < self._release_s:
            return False
        self._audit.record_mode(now, self._chosen, AUTOMATIC, f"back from HOLD ({self._hold})")
        self._hold, self._clear_since = "", None
        return True
