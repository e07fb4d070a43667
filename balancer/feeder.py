"""What a low-voltage feeder is: its transformer, lines, houses and limits.

Not here: how currents flow (`network`), what is measured now (`decision.Observation`), or reading the
folder that describes it (`feeder_folder`).
"""

from __future__ import annotations

from dataclasses import dataclass

PHASES = ("R", "Y", "B")
"""The phases in order; index 0, 1, 2 in every array."""


@dataclass(frozen=True, slots=True)
class Transformer:
    """The distribution transformer, seen from its LV side.

    Attributes:
        bus: name of the LV bus that the lines start from.
        kva: rated power, kVA.
        impedance_percent: short-circuit impedance, % of rated.
        resistance_percent: its resistive part, % of rated.
        nominal_voltage: phase to neutral, V.
        source_short_circuit_a: three-phase fault current of the supply at 11 kV, A.
    """

    bus: str
    kva: float
    impedance_percent: float
    resistance_percent: float
    nominal_voltage: float
    source_short_circuit_a: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What must hold: A a phase, % around nominal, % negative over positive sequence, A in the neutral."""

    phase_current_a: float
    voltage_band_percent: float
    vuf_percent: float
    neutral_a: float


@dataclass(frozen=True, slots=True)
class House:
    """A customer on one phase. `phase` is 0, 1, 2 for R, Y, B as connected when the folder was written.

    `pv_kwp` is the solar rating (kWp, 0 for none), `monthly_kwh` the utility's bill, `power_factor` the
    load's (lagging; PV runs at unity).
    """

    house_id: str
    bus: str
    phase: int
    pv_kwp: float
    monthly_kwh: float
    switchable: bool
    critical: bool
    power_factor: float
    pole: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line section between two buses; positive- and zero-sequence impedances in ohm/km, length in m."""

    from_bus: str
    to_bus: str
    length_m: float
    r1_ohm_per_km: float
    x1_ohm_per_km: float
    r0_ohm_per_km: float
    x0_ohm_per_km: float


@dataclass(frozen=True, slots=True)
class Feeder:
    """One feeder. Houses keep the order of houses.csv: that order is axis 0 of every per-house array."""

    feeder_id: str
    name: str
    region: str
    district: str
    latitude: float
    longitude: float
    transformer: Transformer
    limits: Limits
    houses: tuple[House, ...]
    lines: tuple[Line, ...]

    @property
    def house_ids(self) -> tuple[str, ...]:
        return tuple(house.house_id for house in self.houses)
