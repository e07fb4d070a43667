"""What every screen does alike: perform an action by its id, say why not, go to the other screens, redraw."""

from __future__ import annotations

from typing import Protocol, cast

from textual.screen import Screen

from balancer.errors import SmartPhaseError
from pi_service.contract import Action, Reply
from smartphase_tui.actions import BY_ID
from smartphase_tui.requests import Refused
from smartphase_tui.room import Room
from smartphase_tui.widgets.panel import Panel


class Navigator(Protocol):
    """What screens ask of the application."""

    def open_screen(self, name: str) -> None: ...

    def write_report(self) -> None: ...


class RoomScreen(Screen[None]):
    """A screen of the control room; subclasses have `do_<action id>` methods."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room

    def redraw(self) -> None:
        """Paint every panel again; only cells that changed go to the terminal."""
        for panel in self.query(Panel):
            panel.redraw()

    def on_screen_resume(self) -> None:
        self.redraw()

    async def action_perform(self, action_id: str) -> None:
        """Do what a key asks, or say why not."""
        reason = self.room.barred(BY_ID[action_id])
        if reason:
            self.room.say(reason, "refused")
        else:
            try:
                await getattr(self, f"do_{action_id}")()
            except Refused as refused:
                self.room.say(str(refused), "refused")
        self.redraw()

    async def ask(self, action: Action) -> Reply | None:
        """Send a request; a refusal is said and gives None."""
        try:
            reply = await self.room.requests.ask(action)
        except Refused as refused:
            self.room.say(str(refused), "refused")
            self.redraw()
            return None
        if reply.switch_id:
            self.room.watched = reply.switch_id
        if reply.reason:
            self.room.say(reply.reason, "done")
        self.redraw()
        return reply

    @property
    def navigator(self) -> Navigator:
        return cast(Navigator, self.app)

    # ------------------------------------------------------------ actions of every screen

    async def do_help(self) -> None:
        self.navigator.open_screen("help")

    async def do_alarms(self) -> None:
        self.navigator.open_screen("alarms")

    async def do_log(self) -> None:
        self.navigator.open_screen("log")

    async def do_compare(self) -> None:
        self.navigator.open_screen("compare")

    async def do_report(self) -> None:
        self.navigator.write_report()

    async def do_back(self) -> None:
        if self.is_current and len(self.app.screen_stack) > 2:
            self.app.pop_screen()

    async def do_redraw(self) -> None:
        self.refresh(repaint=True, layout=True)

    async def do_quit(self) -> None:
        self.app.exit()


def one_line(error: SmartPhaseError | Exception) -> str:
    """An error as a notice."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
