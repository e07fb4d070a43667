"""Before and after: the period as it was, beside the same readings on the phases that the houses had at its start.

"Before" is computed, not remembered: every house's measured power, minute by minute, on the phase it had when the
period began, through the feeder's power flow. No forecast takes part. What it cannot know is said: the PV that a
switch lost is estimated from the other PV houses of the same minute, and a silent house counts as its last reading
for up to ten minutes, then as nothing.
"""

from __future__ import annotations

import msgspec
import numpy as np

from balancer.decision import FloatArray, IntArray
from balancer.errors import SmartPhaseError
from balancer.feeder import PHASES, Feeder
from balancer.network import Flow, Network
from balancer.score import score_flow
from pi_service.contract import SwitchView
from pi_service.store.audit_reader import AuditReader
from pi_service.store.telemetry_reader import TelemetryReader

GAP_MINUTES = 10
_TRIP_MINUTES = 10
_SUN = 0.02        # kW a kWp: with less there is nothing to lose
_BACK = 0.9        # of what it should make: the inverter is back


class NothingMeasured(SmartPhaseError):
    """The period holds no minute that could be compared."""


class Series(msgspec.Struct, frozen=True):
    """One minute series of the feeder; phases are (R, Y, B)."""

    neutral_a: tuple[float, ...]
    vuf_percent: tuple[float, ...]
    phase_a: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    voltage_min_v: tuple[float, ...]
    voltage_max_v: tuple[float, ...]


class Comparison(msgspec.Struct, frozen=True):
    """A period before and after. `minutes`: Unix s of each; scores carry the keys of a scored day.

    `covered_percent`: share of house-minutes that were measured. `switches_of`: verified switches by house.
    """

    feeder: str
    since: float
    until: float
    minutes: tuple[int, ...]
    before: dict[str, float]
    after: dict[str, float]
    before_series: Series
    after_series: Series
    covered_percent: float
    switches_of: dict[str, int]


def compare(feeder: Feeder, telemetry: TelemetryReader, audit: AuditReader, since: float, until: float) -> Comparison:
    """Compare [since, until), Unix s. Raises NothingMeasured."""
    first_kept, last_kept = telemetry.span() or (since, since)
    since, until = max(since, first_kept), min(until, last_kept)
    raw = telemetry.house_minutes(since, until, feeder.house_ids)
    if not raw.minutes.size or not np.isfinite(raw.net_kw).any():
        raise NothingMeasured("nothing was measured in this period; choose one in which the daemon ran")
    kept = np.flatnonzero(np.isfinite(raw.net_kw).any(axis=0))
    first, last = int(kept[0]), int(kept[-1]) + 1
    filled = raw.held(GAP_MINUTES)
    window = slice(first, last)
    net, kvar, solar = (np.nan_to_num(x[:, window]) for x in (filled.net_kw, filled.net_kvar, filled.solar_kw))
    phase_after = _known_phases(feeder, filled.phase[:, window])
    minutes = raw.minutes[window]
    switches = [v for v in audit.switches(limit=None, since=since, until=until) if v.state == "VERIFIED"]
    phase_before = np.repeat(_at_start(feeder, phase_after[:, 0], switches)[:, None], phase_after.shape[1], axis=1)
    available = _undisturbed_solar(feeder, solar, minutes, switches)
    network = Network(feeder)
    after = network.solve_batch(phase_after, net, kvar)
    before = network.solve_batch(phase_before, net + solar - available, kvar)
    count = np.array([sum(v.house == house for v in switches) for house in feeder.house_ids])
    return Comparison(
        feeder=feeder.feeder_id, since=float(minutes[0]), until=float(minutes[-1]) + 60.0,
        minutes=tuple(int(m) for m in minutes),
        before=score_flow(before, available, available, np.zeros_like(count)),
        after=score_flow(after, solar, available, count),
        before_series=_series(before), after_series=_series(after),
        covered_percent=float(100 * np.isfinite(raw.net_kw[:, window]).mean()),
        switches_of={house: int(k) for house, k in zip(feeder.house_ids, count, strict=True) if k},
    )


def _at_start(feeder: Feeder, first_minute: IntArray, switches: list[SwitchView]) -> IntArray:
    """(n,) the phases before any switch of the period; the first minute may hold switches already."""
    start = first_minute.copy()
    for view in sorted(switches, key=lambda view: view.id, reverse=True):
        start[feeder.house_ids.index(view.house)] = PHASES.index(view.from_phase)
    return start


def _known_phases(feeder: Feeder, phase: IntArray) -> IntArray:
    """Gaps take the phase known before them; before the first, the folder's."""
    known = phase.copy()
    known[:, 0] = np.where(known[:, 0] < 0, [house.phase for house in feeder.houses], known[:, 0])
    steps = np.where(known >= 0, np.arange(known.shape[1]), 0)
    return np.take_along_axis(known, np.maximum.accumulate(steps, axis=1), axis=1)


def _undisturbed_solar(
    feeder: Feeder, solar: FloatArray, minutes: IntArray, switches: list[SwitchView]
) -> FloatArray:
    """(n, T) what PV would have made without the switches.

    A house whose inverter tripped follows its undisturbed peers, in the ratio that it had to them in the minute
    before, until it makes as much again; a period that begins with the switch takes the ratio of the ratings.
    """
    available = solar.copy()
    kwp = np.array([house.pv_kwp for house in feeder.houses])
    begins = [(feeder.house_ids.index(v.house), int(np.searchsorted(minutes, v.at - 60, side="right")))
              for v in switches]
    disturbed = np.zeros_like(solar, dtype=bool)
    for index, start in begins:
        disturbed[index, start:start + _TRIP_MINUTES] = True
    peers = (kwp > 0)[:, None] & ~disturbed
    rated = np.where(peers, kwp[:, None], 0.0).sum(axis=0)
    specific = np.where(peers, solar, 0.0).sum(axis=0) / np.where(rated > 0, rated, np.inf)      # kW a kWp
    for index, start in begins:
        ratio = kwp[index]
        if start > 0 and specific[start - 1] > _SUN:
            ratio = solar[index, start - 1] / specific[start - 1]
        for minute in range(start, min(start + _TRIP_MINUTES, len(minutes))):
            estimate = ratio * specific[minute]
            if minute > start and solar[index, minute] >= _BACK * estimate:
                break
            available[index, minute] = max(solar[index, minute], estimate)
    return available


def _series(flow: Flow) -> Series:
    volts = np.abs(flow.house_voltage)
    closed = np.where(volts > 0, volts, np.nan)
    currents = np.abs(flow.phase_current)
    return Series(
        neutral_a=_tuple(flow.neutral_current_a), vuf_percent=_tuple(flow.vuf_transformer_percent),
        phase_a=(_tuple(currents[0]), _tuple(currents[1]), _tuple(currents[2])),
        voltage_min_v=_tuple(np.nanmin(closed, axis=0)), voltage_max_v=_tuple(np.nanmax(closed, axis=0)),
    )


def _tuple(values: FloatArray) -> tuple[float, ...]:
    return tuple(round(float(x), 3) for x in values)
