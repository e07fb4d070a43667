"""What the street's sensors read of the truth: rms values with a seeded relative error, rounded as a node does.

An error multiplies, so that nothing stays nothing. The meter's is smaller: its class decides what VUF reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from balancer.decision import FloatArray
from pi_service.contract import MeterReading
from pi_service.street.plant import Truth

FREQUENCY_HZ = 50.0
FREQUENCY_SPREAD_HZ = 0.02


@dataclass(frozen=True, slots=True)
class SensorErrors:
    """Standard deviations, relative: of a node's V, I and P, and of the transformer's meter."""

    house: float = 0.002
    meter: float = 0.0005


class Sensors:
    """All sensors of a street; the n-th reading of a seed is always the same."""

    def __init__(self, seed: int, errors: SensorErrors = SensorErrors()) -> None:
        self._errors = errors
        self._rng = np.random.default_rng([seed, 77])

    def houses(self, truth: Truth) -> list[dict[str, float]]:
        """What each house's node measures, by the contract's names; in the feeder's order."""
        error = 1 + self._errors.house * self._rng.standard_normal((4, len(truth.phase)))
        voltage = np.abs(truth.flow.house_voltage) * error[0]
        load = truth.load_kw * error[1]
        reactive = truth.load_kvar * error[2]
        solar = truth.pv_kw * error[3]
        current = np.hypot(load, reactive) * 1000 / np.maximum(voltage, 1.0)
        columns = (voltage.round(1), current.round(3), solar.round(4), (load - solar).round(4), reactive.round(4))
        frequency = round(FREQUENCY_HZ + FREQUENCY_SPREAD_HZ * float(self._rng.standard_normal()), 2)
        return [
            {"voltage": v, "current": i, "solar_injection": s, "power": p, "reactive_power": q,
             "frequency": frequency}
            for v, i, s, p, q in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def meter(self, truth: Truth, seq: int, boot: int, ts: float) -> MeterReading:
        """What the three-phase meter at the transformer measures, neutral CT included."""
        error = 1 + self._errors.meter * self._rng.standard_normal(16)
        voltage = truth.flow.transformer_voltage
        line = voltage - np.roll(voltage, -1)                          # R-Y, Y-B, B-R
        power = truth.phase_power_kva
        return MeterReading(
            voltage=_triple(np.abs(voltage) * error[0:3]),
            line_voltage=_triple(np.abs(line) * error[3:6]),
            current=_triple(np.abs(truth.flow.phase_current) * error[6:9]),
            power=_triple(power.real * error[9:12]),
            reactive_power=_triple(power.imag * error[12:15]),
            neutral_current=round(float(truth.flow.neutral_current_a * error[15]), 3),
            frequency=FREQUENCY_HZ, seq=seq, boot=boot, ts=ts,
        )


def _triple(values: FloatArray) -> tuple[float, float, float]:
    first, second, third = values.round(3).tolist()
    return first, second, third
