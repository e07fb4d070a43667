"""Before and after: the period without switching, on the same readings, beside the period as it was."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.strip import Strip

from balancer.errors import SmartPhaseError
from pi_service.clock import DAY_S, local_day_start
from pi_service.contract import Compare
from pi_service.scorecard import FIGURES, change
from smartphase_tui.actions import COMPARE
from smartphase_tui.keymap import bindings
from smartphase_tui.requests import body
from smartphase_tui.room import Room
from smartphase_tui.screens.base import RoomScreen, one_line
from smartphase_tui.widgets.bottom import Keys
from smartphase_tui.widgets.panel import Panel
from smartphase_tui.widgets.top import Header
from smartphase_tui.widgets.words import clock_time

if TYPE_CHECKING:
    from pi_service.compare import Comparison

_SHOWN = ("neutral_a_mean", "neutral_a_p95", "vuf_percent_p95_transformer", "energy_kwh", "pv_lost_kwh", "phase_a_max")


class _Table(Panel):
    """The figures of both, and the change in percent."""

    comparison: Comparison | None = None
    words = "reading the day ..."

    def lines(self, width: int, height: int) -> list[Strip]:
        comparison = self.comparison
        if comparison is None:
            return [self.look.line(width).add(f" {self.words}", "dim").strip()]
        span = f"{clock_time(comparison.since)} to {clock_time(comparison.until)}"
        head = self.look.line(width).add(f" {span}".ljust(40), "title").add(
            " without    with      change", "title").strip()
        lines = [head]
        for figure in (one for one in FIGURES if one.key in _SHOWN):
            before, after = comparison.before[figure.key], comparison.after[figure.key]
            lines.append(self.look.line(width).add(f" {figure.label[:39]}".ljust(40), "text").add(
                figure.text(before).rjust(8), "dim").add(f"{figure.text(after):>8} {figure.unit:4}", "strong").add(
                change(figure, before, after), "text").strip())
        switches = sum(comparison.switches_of.values())
        benefit = comparison.after["neutral_a_mean"] < 0.98 * comparison.before["neutral_a_mean"]
        verdict = "" if benefit else "  NO BENEFIT in this period"
        lines.append(self.look.line(width).add(
            f" {switches} switches of {len(comparison.switches_of)} houses, "
            f"{comparison.covered_percent:.0f} % of the readings were there{verdict}", "dim").strip())
        return lines


class CompareScreen(RoomScreen):
    """Figures above, the neutral current of both below."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(COMPARE), Binding("r", "again", show=False)]
    DEFAULT_CSS = """
    CompareScreen Header { height: 2; } CompareScreen _Table { height: 8; }
    CompareScreen #chart { height: 1fr; } CompareScreen Keys { height: 1; }
    """

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self._table = _Table(room)
        self._chart: Any = None

    def compose(self) -> ComposeResult:
        from textual_plotext import PlotextPlot

        self._chart = PlotextPlot(id="chart")
        yield Header(self.room)
        yield self._table
        yield self._chart
        yield Keys(self.room, COMPARE)

    def on_mount(self) -> None:
        self.run_worker(self._load())

    def action_again(self) -> None:
        """Work it out anew."""
        self.run_worker(self._load(), exclusive=True)

    async def _load(self) -> None:
        now = self.room.store.plant_now()
        if now is None:
            self._table.words = "waiting for the Pi's first snapshot; r tries again"
        else:
            try:
                self._table.comparison = await self._compare(local_day_start(now), now)
                self._draw(self._table.comparison)
            except SmartPhaseError as error:
                self._table.words = f"{one_line(error)}; r tries again"
        self.redraw()

    async def _compare(self, since: float, until: float) -> Comparison:
        settings = self.room.settings
        if settings.telemetry_db and settings.audit_db and settings.feeder_dir:
            return await asyncio.to_thread(
                _from_files, settings.feeder_dir, settings.telemetry_db, settings.audit_db, since, until)
        from pi_service.compare import Comparison

        reply = await self.room.requests.ask(Compare(since, min(until, since + DAY_S)))
        return body(reply, Comparison)

    def _draw(self, comparison: Comparison) -> None:
        plot = self._chart.plt
        start = local_day_start(comparison.minutes[0])
        hours = [(minute - start) / 3600 for minute in comparison.minutes]
        plot.clear_figure()
        marker = self.room.look.glyphs.plot
        mono = self.room.look.palette.tier == "mono"
        plot.plot(hours, list(comparison.before_series.neutral_a), label="without", marker=marker,
                  color=None if mono else "gray")
        plot.plot(hours, list(comparison.after_series.neutral_a), label="with", marker=marker,
                  color=None if mono else "cyan")
        plot.title("Neutral current, A")
        plot.xlabel("hour of the day, IST")
        self._chart.refresh()


def _from_files(feeder_dir: Path, telemetry_db: Path, audit_db: Path, since: float, until: float) -> Comparison:
    from balancer.feeder_folder import read_feeder
    from pi_service.compare import compare
    from pi_service.store.audit_reader import AuditReader
    from pi_service.store.telemetry_reader import TelemetryReader

    telemetry, audit = TelemetryReader.open_readonly(telemetry_db), AuditReader.open_readonly(audit_db)
    try:
        return compare(read_feeder(feeder_dir), telemetry, audit, since, until)
    finally:
        telemetry.close()
        audit.close()
