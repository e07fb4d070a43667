"""The PDF of a period, for a division engineer: what happened, what it was worth, what it cost; and of a study.

A4, a summary on the first page, charts, the switch log with reasons, alarms, method and formulas, data quality.
Charts are drawn in `charts`; the figures come from `compare` and `balancer.score`, and nowhere else.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from balancer.errors import SmartPhaseError
from balancer.feeder import PHASES, Feeder
from balancer.network import Network
from pi_service.clock import local
from pi_service.compare import Comparison, compare
from pi_service.contract import AlarmView, SwitchView
from pi_service.scorecard import rows, verdict
from pi_service.store.audit_reader import AuditReader
from pi_service.store.telemetry_reader import TelemetryReader

if TYPE_CHECKING:
    from balancer.feeder_folder import Profiles
    from balancer.study import DayRun

_MARGIN = 15.0
_GREY, _INK = (110, 118, 124), (25, 30, 34)
_MOST_ROWS = 400

METHOD = (
    "Without switching: every house's measured power of each minute on the phase that it had when the period began, "
    "through the power flow of the feeder. As it was: the same on the phase that it had in that minute. No forecast "
    "takes part. Neutral current = |Ir + Iy + Ib|, phasors in a common frame. VUF = |V2| / |V1| at the transformer's "
    "LV terminals. Losses: phase and neutral conductors and the transformer's copper; its iron losses are the same in "
    "both and left out. Solar lost: what the switched houses' PV would have made while their inverters were off, "
    "estimated from the other PV houses of the same minute. The power flow is tested against OpenDSS with four wires "
    "to 5 mA of neutral current and 0.005 points of VUF.")


class ReportError(SmartPhaseError):
    """A report that cannot be written: names the file and why."""


def report_from_files(
    path: Path, feeder: Feeder, telemetry_db: Path, audit_db: Path, since: float, until: float
) -> None:
    """Write the report of [since, until), Unix s, from a site's databases. Raises ReportError, NothingMeasured."""
    telemetry, audit = TelemetryReader.open_readonly(telemetry_db), AuditReader.open_readonly(audit_db)
    try:
        comparison = compare(feeder, telemetry, audit, since, until)
        switches = audit.switches(None, since, until)[::-1]
        alarms = audit.alarms(None, since, until)[::-1]
        height, head = audit.head
    finally:
        telemetry.close()
        audit.close()
    _save(path, _period(feeder, comparison, switches, alarms, f"audit log row {height}, {head[:16]}"))


def study_report(path: Path, feeder: Feeder, profiles: Profiles, runs: Mapping[str, DayRun]) -> None:
    """Write the report of a study: policies side by side. Raises ReportError."""
    from pi_service.charts import duration_chart

    network = Network(feeder)
    factor = np.tan(np.arccos([house.power_factor for house in feeder.houses]))[:, None]
    curves = {
        name: network.solve_batch(run.phase, profiles.load_kw - run.pv_kw, profiles.load_kw * factor)
        .neutral_current_a.tolist() for name, run in runs.items()}
    pdf = _Document(f"Study of {feeder.name}", _about(feeder))
    pdf.heading("Policies side by side")
    pdf.table(rows({name: run.score for name, run in runs.items()}), first=0.40)
    pdf.text("none: nothing moves. seed_rule: every five minutes the biggest solar house of the fullest phase goes to "
             "the emptiest. static: one re-phasing with the day known beforehand. smartphase: the planner, which knows "
             "the past only. oracle: the day known beforehand, at most two switches a house; not charged for the solar "
             "lost.")
    pdf.heading("How long the neutral carried how much")
    pdf.picture(duration_chart(curves))
    if "smartphase" in runs:
        _houses_most_switched(pdf, {house: int(count) for house, count in zip(
            feeder.house_ids, runs["smartphase"].switches_per_house, strict=True)})
        pdf.heading("Where the houses stand at the end of the day")
        end = runs["smartphase"].phase[:, -1]
        moved = [(house.house_id, house.pole, PHASES[house.phase], PHASES[int(phase)])
                 for house, phase in zip(feeder.houses, end, strict=True) if house.phase != int(phase)]
        pdf.table([("House", "Pole", "Before", "After"), *moved] if moved else [("No house moved",)], first=0.25)
    _save(path, pdf)


def _period(feeder: Feeder, comparison: Comparison, switches: Sequence[SwitchView], alarms: Sequence[AlarmView],
            chain: str) -> _Document:
    from pi_service import charts

    span = f"{local(comparison.since):%d %b %Y %H:%M} to {local(comparison.until):%d %b %Y %H:%M} IST"
    pdf = _Document(f"{feeder.name} ({feeder.feeder_id})", f"{span}. {_about(feeder)}")
    pdf.heading("What it was worth")
    pdf.text(verdict(comparison.before, comparison.after), size=11)
    pdf.table(rows({"without": comparison.before, "as it was": comparison.after}), first=0.5)
    ended = {state: sum(v.state == state for v in switches) for state in dict.fromkeys(v.state for v in switches)}
    pdf.heading("What it cost")
    pdf.text(
        f"{sum(comparison.switches_of.values())} switches that the meters proved, of {len(comparison.switches_of)} "
        f"houses, each an interruption of well under a second (up to three seconds behind a producing inverter). "
        f"Solar lost while inverters reconnected: {comparison.after['pv_lost_kwh']:.2f} kWh. "
        f"How the {len(switches)} switches ended: "
        f"{', '.join(f'{count} {state}' for state, count in ended.items()) or 'none was begun'}. "
        f"Alarms raised: {len(alarms)}.")
    pdf.heading("Neutral current")
    pdf.picture(charts.neutral_chart(comparison, feeder.limits.neutral_a))
    pdf.heading("Phase currents without switching")
    pdf.picture(charts.phase_chart(comparison, comparison.before_series, feeder.limits.phase_current_a))
    pdf.heading("Phase currents as they were")
    pdf.picture(charts.phase_chart(comparison, comparison.after_series, feeder.limits.phase_current_a))
    pdf.heading("Voltage unbalance at the transformer")
    pdf.picture(charts.vuf_chart(comparison, feeder.limits.vuf_percent))
    pdf.heading("How long the neutral carried how much")
    pdf.picture(charts.duration_chart({"without switching": comparison.before_series.neutral_a,
                                       "as it was": comparison.after_series.neutral_a}))
    pdf.heading("House voltages, lowest to highest")
    pdf.picture(charts.voltage_chart(
        comparison, feeder.transformer.nominal_voltage, feeder.limits.voltage_band_percent))
    _houses_most_switched(pdf, comparison.switches_of)
    _switch_log(pdf, switches)
    _alarm_list(pdf, alarms)
    pdf.heading("Method and data")
    pdf.text(METHOD)
    pdf.text(f"{comparison.covered_percent:.1f} % of the house-minutes were measured; a silent house counts as its "
             f"last reading for up to ten minutes, then as nothing. Nominal voltage "
             f"{feeder.transformer.nominal_voltage:g} V phase to neutral. Record: {chain}.")
    return pdf


def _about(feeder: Feeder) -> str:
    place = ", ".join(part for part in (feeder.district, feeder.region) if part)
    return (f"{f'{place}. ' if place else ''}{len(feeder.houses)} houses, transformer {feeder.transformer.kva:g} kVA "
            f"{feeder.transformer.impedance_percent:g} %.")


def _houses_most_switched(pdf: _Document, switches_of: Mapping[str, int]) -> None:
    busiest = sorted(((count, house) for house, count in switches_of.items() if count), key=lambda x: (-x[0], x[1]))
    if busiest:
        pdf.heading("Houses most affected")
        pdf.text(", ".join(f"{house} {count}" for count, house in busiest[:24]) + " (switches)")


def _switch_log(pdf: _Document, switches: Sequence[SwitchView]) -> None:
    pdf.heading("Switch log")
    if not switches:
        pdf.text("No switch was begun in this period.")
        return
    listed: list[tuple[str, ...]] = [("Time", "Id", "By", "House", "Move", "Ended", "Neutral A", "Reason")]
    for view in switches[:_MOST_ROWS]:
        change = "" if view.neutral_before_a is None or view.neutral_after_a is None else (
            f"{view.neutral_before_a:.0f} > {view.neutral_after_a:.0f}")
        ended = f"{view.state}, undone" if view.undone_by else view.state
        listed.append((f"{local(view.at):%d %b %H:%M}", view.id, view.origin, view.house,
                       f"{view.from_phase} > {view.to_phase}", ended, change, view.reason))
    pdf.table(listed, widths=(18, 13, 10, 10, 10, 16, 13, 63))
    if len(switches) > _MOST_ROWS:
        pdf.text(f"{len(switches) - _MOST_ROWS} more are in the log: smartphase log")


def _alarm_list(pdf: _Document, alarms: Sequence[AlarmView]) -> None:
    pdf.heading("Alarms")
    if not alarms:
        pdf.text("No alarm was raised in this period.")
        return
    listed: list[tuple[str, ...]] = [("Raised", "Pr.", "State", "Gone", "What")]
    for alarm in alarms[:_MOST_ROWS]:
        gone = f"{local(alarm.cleared_at):%H:%M}" if alarm.cleared_at else ""
        listed.append((f"{local(alarm.raised_at):%d %b %H:%M}", str(alarm.priority), alarm.state, gone,
                       f"{alarm.house + ': ' if alarm.house and alarm.house not in alarm.text else ''}{alarm.text}"))
    pdf.table(listed, widths=(18, 6, 14, 10, 100))


class _Document:
    """A4 pages with the few things that a report is made of."""

    def __init__(self, title: str, subtitle: str) -> None:
        from fpdf import FPDF
        from matplotlib import get_data_path

        class Pages(FPDF):
            def footer(self) -> None:
                self.set_y(-12)
                self.set_font("Sans", size=7)
                self.set_text_color(*_GREY)
                self.cell(0, 5, f"SmartPhase   {title}   page {self.page_no()} of {{nb}}", align="C")

        fonts = Path(get_data_path()) / "fonts" / "ttf"
        self._pdf: Any = Pages(format="A4")
        self._pdf.add_font("Sans", "", fonts / "DejaVuSans.ttf")
        self._pdf.add_font("Sans", "B", fonts / "DejaVuSans-Bold.ttf")
        self._pdf.set_margins(_MARGIN, _MARGIN)
        self._pdf.set_auto_page_break(True, margin=16)
        self._pdf.set_title(title)
        self._pdf.add_page()
        self._write(title, 16, bold=True)
        self._write(subtitle, 9, colour=_GREY)

    def heading(self, text: str) -> None:
        """A heading that keeps company with what follows."""
        if self._pdf.will_page_break(30):
            self._pdf.add_page()
        self._pdf.ln(2.5)
        self._write(text, 11, bold=True)

    def text(self, text: str, size: float = 9) -> None:
        self._write(text, size)

    def picture(self, png: bytes) -> None:
        """A picture over the whole width."""
        from PIL import Image

        wide, high = Image.open(io.BytesIO(png)).size
        width = self._pdf.epw
        if self._pdf.will_page_break(width * high / wide):
            self._pdf.add_page()
        self._pdf.image(io.BytesIO(png), w=width)

    def table(self, listed: Sequence[tuple[str, ...]], first: float = 0.3, widths: tuple[float, ...] = ()) -> None:
        """A table with a heading row; `first` is the share of the first column where no `widths` are given."""
        from fpdf.fonts import FontFace

        columns = len(listed[0])
        shares: tuple[float, ...] = widths or (first * 100, *[(1 - first) * 100 / max(columns - 1, 1)] * (columns - 1))
        align = ("LEFT",) * columns if widths else ("LEFT", *("RIGHT",) * (columns - 1))
        self._pdf.set_font("Sans", size=7 if widths else 8)
        self._pdf.set_text_color(*_INK)
        with self._pdf.table(col_widths=shares, text_align=align, line_height=4.2, borders_layout="HORIZONTAL_LINES",
                             headings_style=FontFace(emphasis="BOLD"), padding=0.4) as table:
            for row in listed:
                table.row(row)

    def output(self) -> bytes:
        return bytes(self._pdf.output())

    def _write(self, text: str, size: float, bold: bool = False, colour: tuple[int, int, int] = _INK) -> None:
        self._pdf.set_font("Sans", "B" if bold else "", size)
        self._pdf.set_text_color(*colour)
        self._pdf.multi_cell(0, size * 0.5, text, new_x="LMARGIN", new_y="NEXT", align="L")


def _save(path: Path, pdf: _Document) -> None:
    try:
        path.write_bytes(pdf.output())
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}; choose a file that you may write") from error
