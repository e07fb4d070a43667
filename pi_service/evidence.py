"""Whether the meters prove a switch: the contact feedback, and the power that left one phase for the other.

The node's own word is not evidence. Its contact feedback is one witness; the transformer's meter, which the node
cannot touch, is the other. Power adds up over the houses of a phase, currents do not (each has its own power
factor), so it is power that is compared. A house whose PV tripped draws more after the switch than before.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import msgspec

from balancer.feeder import PHASES
from pi_service.contract import SwitchView
from pi_service.feeder_state import FeederState, net_power

_TOO_SMALL_KW = 0.4
"""A house that draws less cannot be told from its neighbours' kettles at the meter."""


class Before(msgspec.Struct, frozen=True):
    """What was seen just before a switch: the house's net power (kW), the meter's phases (kW) and neutral (A).

    `others_kw`: what all other houses report, summed by phase, so that their changes are not taken for the switch.
    """

    house_kw: float | None
    phase_kw: tuple[float, float, float] | None
    neutral_a: float | None
    others_kw: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Verdict(Enum):
    PROVEN = "proven"
    DISPROVEN = "disproven"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdict and the words for the log."""

    verdict: Verdict
    words: str


def seen_now(state: FeederState, house: str) -> Before:
    """What the state shows of a house and the feeder now."""
    held, meter = state.usable(house), state.fresh_meter()
    own: float | None = None
    others = [0.0, 0.0, 0.0]
    for about in state.feeder.houses:
        shown, phase = state.usable(about.house_id), state.phase(about.house_id)
        if about.house_id == house:
            own = net_power(about, held.reading)[0] if held else None
        elif shown is not None and phase >= 0:
            others[phase] += net_power(about, shown.reading)[0]
    return Before(
        house_kw=own,
        phase_kw=meter.reading.power if meter else None,
        neutral_a=meter.reading.neutral_current if meter else None,
        others_kw=(others[0], others[1], others[2]),
    )


def judge(state: FeederState, view: SwitchView, before: Before | None, acked_at: float, over: bool,
          returning: bool = False) -> Proof:
    """Judge what a node answered at plant time `acked_at`; `over`: no further waiting.

    The claim is that the house moved to its new phase or, `returning`, that it is on its old one (again). PROVEN
    needs the contact feedback of a reading that came after the answer, and the power at the meter where the house is
    large enough to be seen and the feeder has a meter.
    """
    claimed = view.from_phase if returning else view.to_phase
    held, meter = state.usable(view.house), state.fresh_meter()
    if held is None or held.at <= acked_at:
        return Proof(Verdict.DISPROVEN, "no reading from the house since its answer") if over else _WAIT
    if held.reading.relay is None:
        return Proof(Verdict.DISPROVEN, "the node sends no contact feedback") if over else _WAIT
    if held.reading.relay != claimed:
        return Proof(Verdict.DISPROVEN, f"the node says {claimed}, its contacts say {held.reading.relay}")
    seen = seen_now(state, view.house)
    if before is None or before.phase_kw is None or before.house_kw is None:
        return Proof(Verdict.PROVEN, "by contact feedback; no meter reading from before the switch")
    if meter is None or seen.phase_kw is None or seen.house_kw is None or meter.at <= acked_at:
        return Proof(Verdict.PROVEN, "by contact feedback; the meter is silent") if over else _WAIT
    if abs(seen.house_kw) < _TOO_SMALL_KW:
        return Proof(Verdict.PROVEN, f"by contact feedback; {seen.house_kw:.2f} kW is too little to see at the meter")
    without = [tuple(kw - other for kw, other in zip(one, others, strict=True)) for one, others in (
        (before.phase_kw, before.others_kw), (seen.phase_kw, seen.others_kw))]
    moved, words = _moved(view, before.house_kw, without[0], seen.house_kw, without[1])
    if moved is None and over:
        return Proof(Verdict.PROVEN, f"by contact feedback; {words}")
    if moved is None:
        return _WAIT
    return Proof(Verdict.PROVEN if moved is not returning else Verdict.DISPROVEN, words)


def _moved(
    view: SwitchView, house_before: float, phase_before: tuple[float, ...], house_after: float,
    phase_after: tuple[float, ...],
) -> tuple[bool | None, str]:
    """Which story fits the meter, less all other houses, better: that the house moved, or that it stayed.

    None where the meter cannot tell.
    """
    source, target = PHASES.index(view.from_phase), PHASES.index(view.to_phase)
    left = phase_after[source] - phase_before[source]
    came = phase_after[target] - phase_before[target]
    moved = abs(left + house_before) + abs(came - house_after)
    stayed = abs(left - (house_after - house_before)) + abs(came)
    size = abs(house_after)     # what tells the two stories apart: where its present power appears
    words = f"meter: {view.from_phase} {left:+.2f} kW, {view.to_phase} {came:+.2f} kW, house {house_after:.2f} kW"
    if moved + size / 2 <= stayed:
        return True, words
    if stayed + size / 2 <= moved:
        return False, f"the power is on {view.from_phase}; {words}"
    return None, f"not clear at the meter: {words}"


_WAIT = Proof(Verdict.OPEN, "")
