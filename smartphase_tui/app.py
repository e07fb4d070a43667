"""The control room: one feeder seen and steered from a terminal.

One worker writes the store, one timer draws it; alarms and the feedback of a command are drawn at once.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import App
from textual.binding import BindingType

from balancer.errors import SmartPhaseError
from pi_service.clock import SystemClock, local, local_day_start
from pi_service.contract import FINAL_STATES, Event, SwitchView
from smartphase_tui.glyphs import choose_glyphs
from smartphase_tui.operator import VIEWER, Operator
from smartphase_tui.paint import Look
from smartphase_tui.room import Room
from smartphase_tui.screens.base import RoomScreen, one_line
from smartphase_tui.screens.main import MainScreen
from smartphase_tui.settings import ConnectionSettings
from smartphase_tui.sources.mqtt import MqttSource
from smartphase_tui.sources.source import Source
from smartphase_tui.theme import choose_palette

__all__ = ["ConnectionSettings", "SmartPhaseApp", "run"]

PULSE_S = 0.25
DRAW_AFTER = 2
"""Pulses between two drawings of what came: a snapshot is on the screen within a quarter of a second."""
AGE_AFTER = 6
"""Pulses after which it is drawn again though nothing came: ages go on."""


class SmartPhaseApp(App[None]):
    """The application: screens, the worker of the source, the pulse that draws."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, room: Room) -> None:
        super().__init__(ansi_color=room.look.palette.tier != "truecolor")
        self.room = room
        self.animation_level = "none"
        self._pulses = 0
        self._live = False
        room.store.on_urgent = self._urgent

    def on_mount(self) -> None:
        theme = self.room.look.palette.theme()
        self.register_theme(theme)
        self.theme = theme.name
        self.push_screen(MainScreen(self.room))
        self.run_worker(self.room.source.run(self.room.store, self.room.requests.take_reply), exclusive=True,
                        group="source")
        self.set_interval(PULSE_S, self._pulse)

    # ------------------------------------------------------------ drawing

    def _pulse(self) -> None:
        """Draw what came, at most twice a second; at once when the link turned live or stale."""
        if not self.is_headless and not terminal_there():
            os._exit(1)     # the toolkit's own way out waits for the terminal that is gone
        self._pulses += 1
        live = self.room.store.freshness().live
        fresh = self.room.store.dirty and self._pulses >= DRAW_AFTER
        if live != self._live or fresh or self._pulses >= AGE_AFTER:
            self._live = live
            self._draw()

    def _urgent(self, event: Event | None) -> None:
        if event is not None and event.alarm is not None and event.alarm.state == "UNACK" and (
                event.alarm.priority <= 2):
            self.bell()
        if event is not None and event.switch is not None and event.switch.id == self.room.watched:
            self._say_end(event.switch)
        self._draw()

    def _say_end(self, view: SwitchView) -> None:
        """Tell the operator how the switch that they asked for ended."""
        if view.state not in FINAL_STATES:
            return
        arrow = self.room.look.glyphs.arrow
        changed = "" if view.neutral_before_a is None or view.neutral_after_a is None else (
            f", neutral {view.neutral_before_a:.1f}{arrow}{view.neutral_after_a:.1f} A")
        words = f"{view.id} {view.house} {view.from_phase}{arrow}{view.to_phase} {view.state}{changed}"
        good = view.state == "VERIFIED"
        self.room.say(words if good else f"{words}: {view.reason}", "done" if good else "refused")

    def _draw(self) -> None:
        self._pulses = 0
        self.room.store.dirty = False
        behind = next((screen for screen in reversed(self.screen_stack) if isinstance(screen, RoomScreen)), None)
        if self.is_running and behind is not None:
            behind.redraw()

    # ------------------------------------------------------------ asked by screens

    def open_screen(self, name: str) -> None:
        """Show one of the named screens; over another one of them it takes its place."""
        from smartphase_tui.screens.compare import CompareScreen
        from smartphase_tui.screens.records import AlarmScreen, LogScreen
        from smartphase_tui.screens.text import help_screen

        makers: dict[str, Callable[[Room], RoomScreen]] = {
            "help": help_screen, "alarms": AlarmScreen, "log": LogScreen, "compare": CompareScreen}
        screen = makers[name](self.room)
        if isinstance(self.screen, MainScreen):
            self.push_screen(screen)
        else:
            self.switch_screen(screen)

    def write_report(self) -> None:
        """Today's PDF from this machine's databases, in a thread; the path is said when it is there."""
        settings, now = self.room.settings, self.room.store.plant_now()
        if not (settings.telemetry_db and settings.audit_db and settings.feeder_dir):
            self.room.say("the report is made where the databases are: on the Pi, or `smartphase report`", "refused")
        elif now is None:
            self.room.say("nothing is known yet: wait for the Pi's first snapshot", "refused")
        else:
            feeder = self.room.store.snapshot.feeder if self.room.store.snapshot else "feeder"
            path = (settings.report_dir or Path.cwd()) / f"{feeder}-{local(now):%Y-%m-%d-%H%M}.pdf"
            self.room.say(f"writing {path} ...")
            self.run_worker(self._report(path, settings, now), group="report", exclusive=True)

    async def _report(self, path: Path, settings: ConnectionSettings, now: float) -> None:
        try:
            await asyncio.to_thread(_write_report, path, settings, now)
            self.room.say(f"report written: {path}", "done")
        except SmartPhaseError as error:
            self.room.say(f"no report: {one_line(error)}", "refused")
        self._draw()


def terminal_there() -> bool:
    """Whether the terminal still answers; a dropped SSH session's does not, even where SIGHUP is ignored."""
    if sys.__stdin__ is None:
        return False
    try:
        termios.tcgetattr(sys.__stdin__.fileno())
    except (termios.error, OSError, ValueError):
        return False
    return True


def _write_report(path: Path, settings: ConnectionSettings, now: float) -> None:
    from balancer.feeder_folder import read_feeder
    from pi_service.report import report_from_files

    assert settings.feeder_dir
    assert settings.telemetry_db
    assert settings.audit_db
    report_from_files(path, read_feeder(settings.feeder_dir), settings.telemetry_db, settings.audit_db,
                      local_day_start(now), now)


def make_room(settings: ConnectionSettings, source: Source | None = None) -> Room:
    """The room for these settings. Raises SmartPhaseError for an operator's key that cannot be read."""
    look = Look(choose_glyphs(settings.glyphs, os.environ), choose_palette(settings.colours, os.environ))
    return Room(settings, look, SystemClock(), source or MqttSource(settings), _operator(settings))


def _operator(settings: ConnectionSettings) -> Operator:
    if not settings.operator:
        return VIEWER
    from pi_service.site import operator_key, operator_role

    if settings.operator_key is not None:
        try:
            pem = settings.operator_key.read_bytes()
        except OSError as error:
            raise SmartPhaseError(f"{settings.operator_key}: {error.strerror}; give the key with --key") from error
    elif settings.site_dir is not None:
        pem = operator_key(settings.site_dir, settings.operator)
    else:
        raise SmartPhaseError(f"no key for {settings.operator}: give it with --key FILE, or leave --operator out")
    role = settings.role
    if settings.site_dir is not None:
        role = operator_role(settings.site_dir, settings.operator, settings.feeder) or role
    return Operator(settings.operator, role, partial(_sign, settings.operator, pem))


def _sign(operator: str, pem: bytes, payload: bytes) -> bytes:
    from pi_service.seal import sign_request  # cryptography: not before the first paint

    return sign_request(payload, operator, pem)


def run(settings: ConnectionSettings) -> int:
    """Open the control room and stay in it until the operator leaves. Returns the exit status, 0 or 1."""
    app = SmartPhaseApp(make_room(settings))
    app.run(mouse=settings.mouse)
    return app.return_code or 0
