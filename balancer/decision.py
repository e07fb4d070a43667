"""What the planner is given and what it answers: observation in, decision with its reasons out.

Plain data, no behaviour: every room (planner, constraints, controller, screens) speaks of a move in these words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of the feeder at one instant. n is the number of houses, in the feeder's order.

    Attributes:
        at: Unix time, s (UTC). Local time is `at` + 5 h 30 min (India has one zone, no daylight saving).
        phase: (n,) 0/1/2 for R/Y/B as confirmed by the node, -1 where it is not known or open.
        load_kw: (n,) consumption of the house without its PV, kW; nan where unknown.
        load_kvar: (n,) reactive power of the house (inductive positive), kvar; nan where unknown.
        pv_kw: (n,) production, kW >= 0; nan where unknown.
        good: (n,) the values are good enough to decide a switch on (sealed, fresh, in range).
        pv_tripped: (n,) the inverter is off after a switch: its zero is not the sky's.
        switches_today: (n,) switches since local midnight.
        blocked: (n,) why the service vetoes a move of this house now (tag, dwell, offline, lock, in flight),
            "" where it does not.
        transformer_voltage_v: (3,) rms phase to neutral at the transformer's LV terminals; nan where unknown.
        phase_current_a: (3,) rms at the transformer; nan where unknown.
    """

    at: float
    phase: IntArray
    load_kw: FloatArray
    load_kvar: FloatArray
    pv_kw: FloatArray
    good: BoolArray
    pv_tripped: BoolArray
    switches_today: IntArray
    blocked: tuple[str, ...]
    transformer_voltage_v: FloatArray
    phase_current_a: FloatArray


@dataclass(frozen=True, slots=True)
class Interlock:
    """One rule that a move must pass: its short name, whether it holds, and the figures that say so."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What a move is predicted to do now (power flow on the observation), before and after.

    Amperes, percent, volts; `phase_current_a` is (R, Y, B). `value` is the planner's gain in the joint
    objective over its horizon (A^2 h), net of the price of the switch and of the PV lost (kWh).
    """

    neutral_before_a: float
    neutral_after_a: float
    vuf_before_percent: float
    vuf_after_percent: float
    phase_current_before_a: tuple[float, float, float]
    phase_current_after_a: tuple[float, float, float]
    voltage_min_v: float
    voltage_max_v: float
    loss_change_kw: float
    pv_lost_kwh: float
    value: float


@dataclass(frozen=True, slots=True)
class Move:
    """Put `house` (index) from one phase to another (0/1/2)."""

    house: int
    from_phase: int
    to_phase: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """One move that was looked at: its gain net of its price, what it would do, and the rule that forbids it.

    `gain` is in the joint objective (A^2 h over the horizon), `price` what the switch and its lost PV cost on the
    same scale; `veto` is "" where no rule forbids. `effect` is worked out for the moves that come near to being
    made, None for the rest.
    """

    move: Move
    gain: float
    price: float
    effect: Effect | None
    veto: str


class Kind(StrEnum):
    """Which layer of the planner spoke."""

    HOLD = "hold"
    START_UP = "start-up"
    LOOK_AHEAD = "look-ahead"
    EMERGENCY = "emergency"


@dataclass(frozen=True, slots=True)
class Decision:
    """The ordered moves worth making now (each safe on its own), why, and every candidate's fate."""

    at: float
    kind: Kind
    reason: str
    moves: tuple[Move, ...]
    effects: tuple[Effect, ...]
    candidates: tuple[Candidate, ...]
