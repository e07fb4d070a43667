"""The feeder's power flow: four wires, radial, single-phase constant-power loads (the Z-path method).

Only buses with houses are kept. Two houses share the impedance of the stretch that both their paths run
through; with `Z1` the impedance of a phase conductor and `Zn = (Z0 - Z1) / 3` that of the neutral, the voltage
of phase p at house i is the transformer's less `sum_j Z1_ij I_jp` less `sum_jq Zn_ij I_jq`. The transformer is a
Dyn unit behind the 11 kV supply: its delta keeps zero sequence from the supply's impedance. The no-load voltage
is the nominal one. The neutral is earthed at the transformer only. Left out: capacitance, no-load losses (the
feeder folder does not give them), and the resistance of the 11 kV supply.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from balancer.decision import FloatArray, IntArray
from balancer.errors import SmartPhaseError
from balancer.feeder import Feeder
from balancer.phasor import ROT, ComplexArray
from balancer.unbalance import neutral_current_a, vuf_percent

_HIGH_VOLTAGE_V = 11_000.0
_MAX_ITERATIONS = 100
_TOLERANCE_V = 1e-6


class FlowError(SmartPhaseError):
    """The power flow has no solution: the load is beyond what the feeder can carry."""


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
        self.feeder = feeder
        nominal = feeder.transformer.nominal_voltage
        self.no_load_voltage: ComplexArray = nominal * ROT
        buses = sorted({house.bus for house in feeder.houses})
        bus_of = {bus: index for index, bus in enumerate(buses)}
        self._bus_of_house = np.array([bus_of[house.bus] for house in feeder.houses], dtype=np.int64)
        self._at_bus = np.zeros((len(buses), len(feeder.houses)))
        self._at_bus[self._bus_of_house, np.arange(len(feeder.houses))] = 1.0
        self._z_phase, self._z_neutral = _shared_path_impedances(feeder, buses)
        self._z_transformer = _transformer_impedance(feeder)

    def solve(self, phase: IntArray, p_kw: FloatArray, q_kvar: FloatArray) -> Flow:
        """Solve one instant. (n,) phase 0/1/2 or -1 (open), net import kW, kvar. Raises FlowError."""
        flow = self.solve_batch(phase[:, None], p_kw[:, None], q_kvar[:, None])
        return Flow(*(getattr(flow, name)[..., 0] for name in Flow.__dataclass_fields__))

    def solve_batch(self, phase: IntArray, p_kw: FloatArray, q_kvar: FloatArray) -> Flow:
        """Solve T instants at once. (n, T) each. Raises FlowError where one does not converge."""
        on_phase = phase[:, None, :] == np.arange(3)[None, :, None]                     # (n, 3, T)
        power = np.where(on_phase, ((p_kw + 1j * q_kvar) * 1000.0)[:, None, :], 0.0)   # VA
        power_at_bus = np.einsum("bn,npt->bpt", self._at_bus, power) if self._shares_buses else power[self._order]
        voltage = np.broadcast_to(self.no_load_voltage[None, :, None], power_at_bus.shape).copy()
        for _ in range(_MAX_ITERATIONS):
            current = np.conj(power_at_bus / voltage)                                   # (m, 3, T)
            total = current.sum(axis=0)
            terminal = self.no_load_voltage[:, None] - self._transformer_drop(total)
            updated = terminal[None] - self._line_drop(current)
            change = np.abs(updated - voltage).max(initial=0.0)
            voltage = updated
            if change < _TOLERANCE_V:
                break
            if not change < 1e6:
                raise FlowError("power flow: the voltage collapses; the load is beyond what the feeder can carry")
        else:
            raise FlowError(f"power flow: no convergence in {_MAX_ITERATIONS} steps; check the loads and impedances")
        return self._flow(phase, current, total, terminal, voltage)

    @property
    def _shares_buses(self) -> bool:
        return self._at_bus.shape[0] != self._at_bus.shape[1]

    @property
    def _order(self) -> IntArray:
        return np.argsort(self._bus_of_house)

    def _line_drop(self, current: ComplexArray) -> ComplexArray:
        own = (self._z_phase @ current.reshape(len(current), -1)).reshape(current.shape)
        neutral = self._z_neutral @ current.sum(axis=1)                                 # (m, T)
        return np.asarray(own + neutral[:, None, :])

    def _transformer_drop(self, total: ComplexArray) -> ComplexArray:
        z1, z0 = self._z_transformer
        return np.asarray(z1 * total + (z0 - z1) / 3 * total.sum(axis=0))

    def _flow(self, phase: IntArray, current: ComplexArray, total: ComplexArray, terminal: ComplexArray,
              voltage: ComplexArray) -> Flow:
        at_house = voltage[self._bus_of_house]
        own = np.take_along_axis(at_house, np.maximum(phase, 0)[:, None, :], axis=1)[:, 0, :]
        return Flow(
            house_voltages=at_house,
            house_voltage=np.where(phase >= 0, own, 0.0),
            transformer_voltage=terminal,
            phase_current=total,
            neutral_current_a=neutral_current_a(total),
            line_loss_kw=((terminal[None] - voltage) * np.conj(current)).real.sum(axis=(0, 1)) / 1000,
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


def _shared_path_impedances(feeder: Feeder, buses: list[str]) -> tuple[ComplexArray, ComplexArray]:
    """(m, m) impedance that the paths of two house buses have in common, ohm: of a phase, and of the neutral."""
    line_into = {line.to_bus: line for line in feeder.lines}
    paths: list[dict[str, None]] = []
    for bus in buses:
        path: dict[str, None] = {}
        at = bus
        while at != feeder.transformer.bus:
            path[at] = None
            at = line_into[at].from_bus
        paths.append(path)
    used = sorted({to_bus for path in paths for to_bus in path})
    column = {to_bus: index for index, to_bus in enumerate(used)}
    on_path = np.zeros((len(buses), len(used)))
    for row, path in enumerate(paths):
        on_path[row, [column[to_bus] for to_bus in path]] = 1.0
    z1, z0 = np.zeros(len(used), np.complex128), np.zeros(len(used), np.complex128)
    for to_bus, index in column.items():
        line = line_into[to_bus]
        z1[index] = complex(line.r1_ohm_per_km, line.x1_ohm_per_km) * line.length_m / 1000
        z0[index] = complex(line.r0_ohm_per_km, line.x0_ohm_per_km) * line.length_m / 1000
    zn = (z0 - z1) / 3
    return np.asarray((on_path * z1) @ on_path.T), np.asarray((on_path * zn) @ on_path.T)
