"""The feeder's power flow: four wires, radial, single-phase constant-power loads (the Z-path method).

The voltage of phase p at a house is the transformer's less the drops of the lines that its path shares with every
other house's (`paths`), the phase conductor's by its own phase's current and the neutral's by the sum of the three.
The transformer is a Dyn unit behind the 11 kV supply: its delta keeps zero sequence from the supply's impedance.
The no-load voltage is the nominal one. The neutral is earthed at the transformer only. Left out: capacitance,
no-load losses (the feeder folder does not give them), and the resistance of the 11 kV supply.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from balancer.decision import FloatArray, IntArray
from balancer.errors import FlowError
from balancer.feeder import Feeder
from balancer.paths import Paths
from balancer.phasor import ROT, ComplexArray
from balancer.unbalance import neutral_current_a, vuf_percent

__all__ = ["Flow", "FlowError", "Network"]

_HIGH_VOLTAGE_V = 11_000.0
_MAX_ITERATIONS = 100
_TOLERANCE_V = 1e-6
_BLOCK = 80_000
"""House-instants solved at a time: a day of 55 houses; keeps a long batch of many houses in a small memory."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A solved instant, or T of them (then every array has T as its last axis). n houses, rms, SI.

    Attributes:
        house_voltages: (n, 3) complex, V, phase to neutral of R, Y, B at each house's bus.
        house_voltage: (n,) complex, V, on the house's own phase; 0 where it is open.
        transformer_voltage: (3,) complex, V, phase to neutral at the LV terminals.
        phase_current: (3,) complex, A, at the transformer, common frame.
        neutral_current_a: (), A.
        line_loss_kw, transformer_loss_kw: (), kW; the neutral's loss counts with the lines.
        vuf_transformer_percent: (); vuf_house_percent: (n,).
    """

    house_voltages: ComplexArray
    house_voltage: ComplexArray
    transformer_voltage: ComplexArray
    phase_current: ComplexArray
    neutral_current_a: FloatArray
    line_loss_kw: FloatArray
    transformer_loss_kw: FloatArray
    vuf_transformer_percent: FloatArray
    vuf_house_percent: FloatArray


class Network:
    """A feeder made ready for power flow; immutable, so it may be shared."""

    def __init__(self, feeder: Feeder) -> None:
        """Raises FlowError where the feeder is not radial or a house is not connected."""
        self.feeder = feeder
        self.no_load_voltage: ComplexArray = feeder.transformer.nominal_voltage * ROT
        self._paths = Paths(feeder)
        position = {bus: index for index, bus in enumerate(self._paths.buses)}
        self._bus_of_house = np.array([position[house.bus] for house in feeder.houses], dtype=np.int64)
        self._houses_by_bus = np.argsort(self._bus_of_house, kind="stable")
        self._first_at_bus = np.searchsorted(self._bus_of_house[self._houses_by_bus], np.arange(len(position)))
        self._z1, self._z0 = _transformer_impedance(feeder)

    def solve(self, phase: ArrayLike, p_kw: ArrayLike, q_kvar: ArrayLike) -> Flow:
        """Solve one instant. (n,) phase 0/1/2 or -1 (open: its power is not looked at), net import kW, kvar.

        Raises FlowError: see `solve_batch`.
        """
        flow = self.solve_batch(*(np.asarray(x)[..., None] for x in (phase, p_kw, q_kvar)))
        return Flow(*(getattr(flow, name)[..., 0] for name in Flow.__dataclass_fields__))

    def solve_batch(self, phase: ArrayLike, p_kw: ArrayLike, q_kvar: ArrayLike) -> Flow:
        """Solve T instants at once: minutes of a day, or candidates for one minute. (n, T) each.

        Raises FlowError, naming house and instant, where an array has another shape, a phase is none, a connected
        house's power is not finite, or an instant has no solution because the feeder cannot carry it.
        """
        where, power = self._checked(phase, p_kw, q_kvar)
        step = max(1, _BLOCK // len(where))
        flows = [self._solve(where[:, t:t + step], power[:, t:t + step], t) for t in range(0, where.shape[1], step)]
        if len(flows) == 1:
            return flows[0]
        return Flow(*(np.concatenate([getattr(flow, name) for flow in flows], axis=-1)
                      for name in Flow.__dataclass_fields__))

    def _checked(self, phase: ArrayLike, p_kw: ArrayLike, q_kvar: ArrayLike) -> tuple[IntArray, ComplexArray]:
        """(n, T) phases, and VA that are zero where a house is open."""
        where, p, q = np.asarray(phase), np.asarray(p_kw, float), np.asarray(q_kvar, float)
        houses = self.feeder.houses
        if not (where.shape == p.shape == q.shape and where.ndim == 2 and len(where) == len(houses) and where.size):
            raise FlowError(f"power flow: phase {where.shape}, kW {p.shape} and kvar {q.shape} must all have a row for "
                            f"each of the {len(houses)} houses and as many columns")
        is_open = where < 0
        p, q = np.where(is_open, 0.0, p), np.where(is_open, 0.0, q)
        wrong = np.argwhere((where < -1) | (where > 2) | ~np.isfinite(p) | ~np.isfinite(q))
        if wrong.size:
            house, instant = (int(x) for x in wrong[0])
            raise FlowError(f"power flow: house {houses[house].house_id}, instant {instant}: phase "
                            f"{where[house, instant]}, {p[house, instant]} kW, {q[house, instant]} kvar; give phase "
                            "-1 to 2 and finite powers")
        return where.astype(np.int64, copy=False), (p + 1j * q) * 1000.0

    def _solve(self, phase: IntArray, power: ComplexArray, first_instant: int) -> Flow:
        on_phase = phase[:, None, :] == np.arange(3)[None, :, None]                     # (n, 3, T)
        at_house = np.where(on_phase, power[:, None, :], 0.0)[self._houses_by_bus]
        shared = len(self._first_at_bus) < len(phase)
        at_bus = np.add.reduceat(at_house, self._first_at_bus, axis=0) if shared else at_house
        voltage = np.broadcast_to(self.no_load_voltage[None, :, None], at_bus.shape)
        with np.errstate(all="ignore"):                 # a diverging instant is named below, not warned of
            for _ in range(_MAX_ITERATIONS):
                current = np.conj(at_bus / voltage)                                     # (m, 3, T)
                total = current.sum(axis=0)
                terminal = self.no_load_voltage[:, None] - self._transformer_drop(total)
                drop = self._paths.drop(current)
                moved, voltage = voltage, terminal[None] - drop
                change = np.abs(voltage - moved)
                largest = change.max()
                if largest < _TOLERANCE_V:
                    return self._flow(phase, current, total, terminal, drop)
                if not largest < 1e6:
                    break
        raise self._no_solution(change, power, first_instant)

    def _transformer_drop(self, total: ComplexArray) -> ComplexArray:
        return np.asarray(self._z1 * total + (self._z0 - self._z1) / 3 * total.sum(axis=0))

    def _no_solution(self, change: FloatArray, power: ComplexArray, first_instant: int) -> FlowError:
        """Name the instant, the bus and its house that ran away farthest."""
        bus, _, instant = np.unravel_index(np.argmax(np.nan_to_num(change, nan=np.inf)), change.shape)
        house = self.feeder.houses[int(np.argmax(self._bus_of_house == bus))]
        kw = power[:, instant].real / 1000
        return FlowError(
            f"power flow: no solution at instant {first_instant + int(instant)}: the voltage collapses at house "
            f"{house.house_id} (bus {house.bus}) with {kw.sum():.0f} kW on the feeder; are the powers in kW?")

    def _flow(self, phase: IntArray, current: ComplexArray, total: ComplexArray, terminal: ComplexArray,
              drop: ComplexArray) -> Flow:
        at_house = (terminal[None] - drop)[self._bus_of_house]
        own = np.take_along_axis(at_house, np.maximum(phase, 0)[:, None, :], axis=1)[:, 0, :]
        return Flow(
            house_voltages=at_house,
            house_voltage=np.where(phase >= 0, own, 0.0),
            transformer_voltage=terminal,
            phase_current=total,
            neutral_current_a=neutral_current_a(total),
            line_loss_kw=(drop * np.conj(current)).real.sum(axis=(0, 1)) / 1000,
            transformer_loss_kw=((self.no_load_voltage[:, None] - terminal) * np.conj(total)).real.sum(axis=0) / 1000,
            vuf_transformer_percent=vuf_percent(terminal),
            vuf_house_percent=vuf_percent(np.moveaxis(at_house, 1, 0)),
        )


def _transformer_impedance(feeder: Feeder) -> tuple[complex, complex]:
    """Positive- and zero-sequence impedance behind the LV terminals, ohm."""
    unit = feeder.transformer
    base_ohm = (unit.nominal_voltage * np.sqrt(3)) ** 2 / (unit.kva * 1000)
    r, z = unit.resistance_percent / 100, unit.impedance_percent / 100
    own = base_ohm * complex(r, np.sqrt(max(z * z - r * r, 0.0)))
    ratio = unit.nominal_voltage * np.sqrt(3) / _HIGH_VOLTAGE_V
    source = 1j * _HIGH_VOLTAGE_V / np.sqrt(3) / unit.source_short_circuit_a * ratio**2
    return own + source, own
