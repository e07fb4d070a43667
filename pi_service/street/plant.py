"""The electrical truth of the street: loads, sun, contacts, and the power flow that follows from them.

A house whose contacts open loses its supply at once and its PV until `reconnect_s` after the supply is back.
Nothing here is measured with an error (`meter`, `house` add that) and nothing is decided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from balancer.decision import BoolArray, FloatArray, IntArray
from balancer.feeder import Feeder
from balancer.feeder_folder import Profiles
from balancer.network import Flow, Network
from balancer.phasor import ComplexArray

OPEN = -1


@dataclass(frozen=True, slots=True)
class Truth:
    """The street at one instant; n houses.

    phase: (n,) 0/1/2, or -1 where the house hangs on nothing.
    load_kw, load_kvar, pv_kw: (n,) as consumed and made now; 0 where open.
    pv_available_kw: (n,) what the sun would allow.
    supply_v: (n, 3) rms of each phase at the house's bus.
    flow: the power flow; see `balancer.network.Flow`.
    """

    phase: IntArray
    load_kw: FloatArray
    load_kvar: FloatArray
    pv_kw: FloatArray
    pv_available_kw: FloatArray
    supply_v: FloatArray
    flow: Flow

    @property
    def phase_power_kva(self) -> ComplexArray:
        """(3,) complex kVA that each phase delivers at the transformer's LV terminals."""
        return np.asarray(self.flow.transformer_voltage * np.conj(self.flow.phase_current) / 1000)


class Plant:
    """The street's houses on their feeder. Set the minute, then `solve` whenever contacts or time moved."""

    def __init__(self, feeder: Feeder, profiles: Profiles, network: Network, reconnect_s: float) -> None:
        self.feeder = feeder
        self._profiles = profiles
        self._network = network
        self._reconnect_s = reconnect_s
        factor = np.array([house.power_factor for house in feeder.houses])
        self._kvar_per_kw: FloatArray = np.tan(np.arccos(factor))
        self._phase: IntArray = np.array([house.phase for house in feeder.houses], dtype=np.int64)
        self._inverter_on_at: FloatArray = np.full(len(feeder.houses), -np.inf)
        self._minute = 0

    @property
    def minutes(self) -> int:
        """How many minutes the profiles have."""
        return self._profiles.minutes

    def set_minute(self, minute: int) -> None:
        """Loads and sun are those of `minute` of the profiles; past their end they begin again."""
        self._minute = minute % self._profiles.minutes

    def solve(self, now: float, phase: IntArray, interrupted: BoolArray | None = None) -> Truth:
        """The street at `now` (Unix s) with the houses on `phase` (n,), -1 for open. Raises FlowError.

        A house that hangs on another phase than at the last call was without supply in between; `interrupted`
        (n,) names others that were.
        """
        off = (phase != self._phase) | (phase == OPEN)
        if interrupted is not None:
            off |= interrupted
        self._inverter_on_at[off] = now + self._reconnect_s
        self._phase = phase.copy()
        closed = phase != OPEN
        available = self._profiles.pv_kw[:, self._minute]
        load = np.where(closed, self._profiles.load_kw[:, self._minute], 0.0)
        made = np.where(closed & (now >= self._inverter_on_at), available, 0.0)
        reactive = load * self._kvar_per_kw
        flow = self._network.solve(phase, load - made, reactive)
        return Truth(self._phase, load, reactive, made, available, np.abs(flow.house_voltages), flow)


class Ledger:
    """What happened, minute by minute: the phase held longest, energies as means over the minute, switches.

    Fed with every solved instant and how long it held; `close` ends a minute.
    """

    def __init__(self, initial_phase: IntArray) -> None:
        n = len(initial_phase)
        self.phase: list[IntArray] = []
        self.load_kw: list[FloatArray] = []
        self.load_kvar: list[FloatArray] = []
        self.pv_kw: list[FloatArray] = []
        self.pv_available_kw: list[FloatArray] = []
        self.switches: IntArray = np.zeros(n, dtype=np.int64)
        self._last_closed = initial_phase.copy()
        self._rows = np.arange(n)
        self._held_s = np.zeros((n, 4))
        self._sums = np.zeros((4, n))
        self._seconds = 0.0

    def add(self, truth: Truth, seconds: float) -> None:
        """`truth` held for `seconds` > 0."""
        moved = (truth.phase != OPEN) & (truth.phase != self._last_closed)
        self.switches += moved
        self._last_closed = np.where(truth.phase == OPEN, self._last_closed, truth.phase)
        self._held_s[self._rows, truth.phase] += seconds          # -1, open, is the last column
        self._sums += seconds * np.array([truth.load_kw, truth.load_kvar, truth.pv_kw, truth.pv_available_kw])
        self._seconds += seconds

    def close(self) -> None:
        """End the minute."""
        longest = self._held_s.argmax(axis=1)
        self.phase.append(np.where(longest == 3, OPEN, longest))
        series = (self.load_kw, self.load_kvar, self.pv_kw, self.pv_available_kw)
        for values, total in zip(series, self._sums / self._seconds, strict=True):
            values.append(total)
        self._held_s[:] = 0.0
        self._sums[:] = 0.0
        self._seconds = 0.0
