"""Figures of the whole feeder with quality and age: currents, neutral, unbalance, VUF, power.

The transformer's meter is the truth. Without it the houses' readings are summed as phasors (quality U, losses
and unmetered loads missing). VUF comes from the meter or not at all: a house sensor's error is as large as the
VUF itself. Formulas: `balancer.phasor`, `balancer.unbalance`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from balancer.feeder import PHASES
from balancer.phasor import ComplexArray, house_current, phase_sums
from balancer.unbalance import current_unbalance_percent, neutral_current_a, vuf_from_line_voltages
from pi_service.contract import Measured, MeterReading, Quality
from pi_service.feeder_state import FeederState, net_power

Three = tuple[Measured, Measured, Measured]
LIVE_V = 20.0
"""Below this a house's supply is taken for dead, and its current for none."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The feeder at one instant. Triples are (R, Y, B). A value that cannot be had has quality B.

    `neutral_computed_a`: |phasor sum of all houses|, None unless every house's reading may be decided on;
    `neutral_mismatch_a`: how far the meter's neutral is from it (a wrong phase, a theft, a failing CT).
    """

    current_a: Three
    voltage_v: Three
    phase_power_kw: Three
    neutral_a: Measured
    vuf_percent: Measured
    unbalance_percent: Measured
    power_kw: Measured
    voltage_min_v: float | None
    voltage_max_v: float | None
    neutral_computed_a: float | None
    neutral_mismatch_a: float | None


@dataclass(frozen=True, slots=True)
class _Houses:
    """Sums over the fresh houses. `quality` B where none is; `complete`: each of them may be decided on."""

    current: ComplexArray
    power_kw: tuple[float, float, float]
    voltage_v: tuple[float | None, float | None, float | None]
    voltages: tuple[float, ...]
    quality: Quality
    age_s: float
    complete: bool


def figures(state: FeederState) -> Figures:
    """All figures of `state` now."""
    houses = _sum_houses(state)
    computed = float(neutral_current_a(houses.current)) if houses.complete else None
    meter = state.fresh_meter()
    latest = state.latest_meter() if state.meter_quality() != "B" else None
    shown = meter or latest
    low_high = (min(houses.voltages), max(houses.voltages)) if houses.voltages else (None, None)
    if shown is None:
        return _from_houses(state, houses, computed, low_high)
    reading, quality, age = shown.reading, state.meter_quality(), state.meter_age_s()
    mismatch = None if computed is None or meter is None else abs(reading.neutral_current - computed)
    return Figures(
        current_a=_three(reading.current, quality, age),
        voltage_v=_three(reading.voltage, quality, age),
        phase_power_kw=_three(reading.power, quality, age),
        neutral_a=_measured(reading.neutral_current, quality, age),
        vuf_percent=_measured(vuf_of(reading), quality, age),
        unbalance_percent=_measured(float(current_unbalance_percent(np.array(reading.current))), quality, age),
        power_kw=_measured(sum(reading.power), quality, age),
        voltage_min_v=low_high[0], voltage_max_v=low_high[1],
        neutral_computed_a=computed, neutral_mismatch_a=mismatch,
    )


def vuf_of(reading: MeterReading) -> float | None:
    """VUF in percent from the meter's line voltages (IEC 61000-4-30), None where they make no triangle."""
    vuf = float(vuf_from_line_voltages(*reading.line_voltage))
    return vuf if math.isfinite(vuf) else None


def _from_houses(state: FeederState, houses: _Houses, computed: float | None,
                 low_high: tuple[float | None, float | None]) -> Figures:
    quality, age = houses.quality, houses.age_s
    magnitudes = np.abs(houses.current)
    return Figures(
        current_a=_three(tuple(magnitudes.tolist()), quality, age),
        voltage_v=_three(houses.voltage_v, quality, age),
        phase_power_kw=_three(houses.power_kw, quality, age),
        neutral_a=_measured(float(neutral_current_a(houses.current)), quality, age),
        vuf_percent=_measured(None, "B", state.meter_age_s()),
        unbalance_percent=_measured(float(current_unbalance_percent(magnitudes)), quality, age),
        power_kw=_measured(sum(houses.power_kw), quality, age),
        voltage_min_v=low_high[0], voltage_max_v=low_high[1],
        neutral_computed_a=computed, neutral_mismatch_a=None,
    )


def _sum_houses(state: FeederState) -> _Houses:
    count = len(state.feeder.houses)
    current = np.zeros(count, dtype=np.complex128)
    phase = np.full(count, -1, dtype=np.int64)
    power, trusted, ages = [0.0, 0.0, 0.0], 0, []
    volts: list[list[float]] = [[], [], []]
    for index, house in enumerate(state.feeder.houses):
        held, where = state.shown(house.house_id), state.phase(house.house_id)
        if held is None:
            continue
        reading = held.reading
        where = where if where >= 0 or state.contact(house.house_id) else PHASES.index(reading.phase)
        trusted += state.usable(house.house_id) is held
        ages.append(state.age_s(house.house_id))
        if where < 0 or reading.voltage < LIVE_V:
            continue
        kw, kvar = net_power(house, reading)
        current[index], phase[index] = house_current(kw, kvar, reading.voltage), where
        power[where] += kw
        volts[where].append(reading.voltage)
    means = [sum(each) / len(each) if each else None for each in volts]
    return _Houses(
        phase_sums(current, phase), (power[0], power[1], power[2]), (means[0], means[1], means[2]),
        tuple(value for each in volts for value in each), "U" if ages else "B",
        max(ages) if ages else state.meter_age_s(), trusted == count,
    )


def _measured(value: float | None, quality: Quality, age_s: float) -> Measured:
    if quality == "B" or value is None:
        return Measured(None, "B", age_s)
    return Measured(value, quality, age_s)


def _three(values: tuple[float | None, ...], quality: Quality, age_s: float) -> Three:
    r, y, b = (_measured(value, quality, age_s) for value in values)
    return r, y, b
