"""The impedance that the paths of two house buses share: what turns currents into line drops.

Only buses with houses are kept. Put in the order of a walk through the tree, the buses that a section feeds
stand side by side, `first` to `last`; sections in series that feed the same buses are one. From there a small
feeder goes by matrices of shared impedance, a large one by running sums along the walk: the same drops, but
work that grows with the buses and not with their square.
Not here: the fixed point, the transformer (`network`).
"""

from __future__ import annotations

import numpy as np

from balancer.decision import IntArray
from balancer.errors import FlowError
from balancer.feeder import Feeder, Line
from balancer.phasor import ComplexArray

_MATRIX_UP_TO = 128
"""Buses. Above this the running sums are faster for one instant (55: 0.02 against 0.2 ms; 1000: 9 against 0.3)."""

_Sections = dict[tuple[int, int], tuple[complex, complex]]


class Paths:
    """The lines of a radial feeder as an operator on the currents at its house buses.

    Attributes:
        buses: the m buses with houses, in the order of the walk: axis 0 of every array here.
    """

    def __init__(self, feeder: Feeder, matrix_up_to: int = _MATRIX_UP_TO) -> None:
        """Raises FlowError where the lines close a loop or a house's bus has no line to the transformer."""
        self.buses, sections = _walk(feeder)
        first, last = np.array(list(sections), dtype=np.int64).reshape(-1, 2).T
        self._z_phase, self._z_neutral = np.array(list(sections.values()), dtype=np.complex128).reshape(-1, 2).T
        self._by_matrix = len(self.buses) <= matrix_up_to
        if self._by_matrix:
            self._matrix_phase = _shared(len(self.buses), first, last, self._z_phase)
            self._matrix_neutral = _shared(len(self.buses), first, last, self._z_neutral)
        else:
            order = np.argsort(first, kind="stable")
            self._first, self._last = first[order], last[order]
            self._z_phase, self._z_neutral = self._z_phase[order], self._z_neutral[order]
            self._by_last = np.argsort(self._last, kind="stable")
            bus = np.arange(len(self.buses))
            self._opened = np.searchsorted(self._first, bus, side="right")
            self._closed = np.searchsorted(self._last[self._by_last], bus, side="right")

    def drop(self, current: ComplexArray) -> ComplexArray:
        """(m, 3, T) V lost between the transformer and each bus, phase against neutral, for (m, 3, T) A drawn there.

        A section drops Z1 I_phase + Zn (I_r + I_y + I_b), with Zn = (Z0 - Z1) / 3.
        """
        if self._by_matrix:
            own = (self._matrix_phase @ current.reshape(len(current), -1)).reshape(current.shape)
            neutral = self._matrix_neutral @ current.sum(axis=1)
            return np.asarray(own + neutral[:, None, :])
        upto = _running_sum(current)
        through = upto[self._last] - upto[self._first]
        drop = self._z_phase[:, None, None] * through
        drop += (self._z_neutral[:, None] * through.sum(axis=1))[:, None, :]
        opened = _running_sum(drop)[self._opened]
        return np.asarray(opened - _running_sum(drop[self._by_last])[self._closed])


def _walk(feeder: Feeder) -> tuple[tuple[str, ...], _Sections]:
    """House buses in the order of a walk from the transformer; (Z1, Zn), ohm, of the sections by what they feed."""
    lines_at: dict[str, list[Line]] = {}
    for section in feeder.lines:
        lines_at.setdefault(section.from_bus, []).append(section)
        lines_at.setdefault(section.to_bus, []).append(section)
    with_house = {house.bus for house in feeder.houses}
    position: dict[str, int] = {}
    sections: _Sections = {}
    entered: dict[str, int] = {}
    stack: list[tuple[str, Line | None, bool]] = [(feeder.transformer.bus, None, False)]
    while stack:
        bus, line, left = stack.pop()
        if left:
            _add(sections, (entered[bus], len(position)), line)
            continue
        if bus in entered:
            raise FlowError(f"power flow: a line into bus {bus!r} closes a loop; the feeder must be radial")
        entered[bus] = len(position)
        if bus in with_house:
            position[bus] = len(position)
        stack.append((bus, line, True))
        stack.extend((_other_end(next_line, bus), next_line, False)
                     for next_line in lines_at.get(bus, ()) if next_line is not line)
    for house in feeder.houses:
        if house.bus not in position:
            raise FlowError(f"power flow: house {house.house_id} is on bus {house.bus!r}, which no line reaches")
    return tuple(position), sections


def _other_end(line: Line, bus: str) -> str:
    return line.from_bus if line.to_bus == bus else line.to_bus


def _add(sections: _Sections, fed: tuple[int, int], line: Line | None) -> None:
    if line is None or fed[0] == fed[1]:
        return
    km = line.length_m / 1000
    z1 = complex(line.r1_ohm_per_km, line.x1_ohm_per_km) * km
    z0 = complex(line.r0_ohm_per_km, line.x0_ohm_per_km) * km
    phase, neutral = sections.get(fed, (0j, 0j))
    sections[fed] = (phase + z1, neutral + (z0 - z1) / 3)


def _shared(buses: int, first: IntArray, last: IntArray, impedance: ComplexArray) -> ComplexArray:
    """(m, m) ohm that the paths of two buses have in common."""
    shared = np.zeros((buses, buses), dtype=np.complex128)
    for start, stop, ohm in zip(first, last, impedance, strict=True):
        shared[start:stop, start:stop] += ohm
    return shared


def _running_sum(x: ComplexArray) -> ComplexArray:
    """(k + 1, ...): the sum of the rows above each row, and of all."""
    total = np.zeros((len(x) + 1, *x.shape[1:]), dtype=np.complex128)
    np.cumsum(x, axis=0, out=total[1:])
    return total
