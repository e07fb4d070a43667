"""What every screen of the control room is given: store, look, operator, requests, and the last word.

Not here: drawing, and the toolkit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pi_service.clock import Clock
from smartphase_tui.actions import Action, barred_by_role
from smartphase_tui.operator import Operator
from smartphase_tui.paint import Look
from smartphase_tui.requests import Requests
from smartphase_tui.settings import ConnectionSettings
from smartphase_tui.sources.source import Source
from smartphase_tui.store import Store

NOTICE_S = 30.0
WATCH_S = 30.0
NoticeKind = Literal["info", "done", "refused"]


@dataclass(frozen=True, slots=True)
class Notice:
    """The last word to the operator, shown until it is old or the next one comes."""

    text: str
    kind: NoticeKind
    at: float


class Room:
    """The control room's shared state, made once at the start."""

    def __init__(
        self, settings: ConnectionSettings, look: Look, clock: Clock, source: Source, operator: Operator
    ) -> None:
        self.settings = settings
        self.look = look
        self.clock = clock
        self.source = source
        self.operator = operator
        self.store = Store(clock)
        self.requests = Requests(self.store, source, operator)
        self.watched = ""               # the switch that this operator started last
        self._notice: Notice | None = None

    def say(self, text: str, kind: NoticeKind = "info") -> None:
        """Tell the operator."""
        self._notice = Notice(text, kind, self.clock.monotonic())

    @property
    def notice(self) -> Notice | None:
        """The last word, while it is new."""
        notice = self._notice
        return notice if notice is not None and self.clock.monotonic() - notice.at < NOTICE_S else None

    def barred(self, action: Action) -> str:
        """Why `action` cannot be done now, "" where it can: authority first, then whether the screen is live."""
        reason = barred_by_role(action, self.operator.role, self.operator.has_key)
        if reason or not action.control:
            return reason
        freshness = self.store.freshness()
        return "" if freshness.live else f"{action.label or action.id} refused: {freshness.why}"
