"""What may not move, and why: every rule that a move must pass, with the figures that say so.

The one implementation: the planner, a person's preview and the check before a command is sent all ask here.
`standing_veto` holds what needs no power flow, `check` adds what the move would do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from balancer.decision import FloatArray, Interlock, Move, Observation
from balancer.feeder import PHASES, Feeder
from balancer.network import Flow, FlowError, Network

_SLACK = 1e-6
_WORSE_V = 0.2      # what a house that is outside the band already may lose by another's move: meter noise

_ALSO_WHILE_PV_IS_OFF = ("ampacity", "voltage")     # what wires and appliances feel at once; the rest is an average


@dataclass(frozen=True, slots=True)
class HardLimits:
    """Limits that a site sets; the electrical ones are the feeder's own.

    `max_switches_per_day` counts a house's switches since local midnight.
    """

    max_switches_per_day: int = 2


def standing_vetoes(feeder: Feeder, observation: Observation, limits: HardLimits) -> tuple[str, ...]:
    """(n,) why each house may not move now whatever the target, "" where it may."""
    return tuple(
        next((f"{lock.name}: {lock.detail}" for lock in standing_interlocks(feeder, observation, index, limits)
              if not lock.ok), "")
        for index in range(len(feeder.houses))
    )


def standing_interlocks(
    feeder: Feeder, observation: Observation, house: int, limits: HardLimits
) -> tuple[Interlock, ...]:
    """The rules about the house itself, each with its verdict."""
    about = feeder.houses[house]
    switches = int(observation.switches_today[house])
    phase = int(observation.phase[house])
    blocked = observation.blocked[house]
    good = bool(observation.good[house])
    return (
        Interlock("switch", about.switchable, "has a phase switch" if about.switchable else "has no phase switch"),
        Interlock("critical", not about.critical, "critical customer" if about.critical else "not critical"),
        Interlock("phase", phase >= 0, f"on {PHASES[phase]}" if phase >= 0 else "its phase is not known"),
        Interlock("data", good, "fresh and sealed" if good else "not good enough to decide on"),
        Interlock("budget", switches < limits.max_switches_per_day,
                  f"{switches} of {limits.max_switches_per_day} switches today"),
        Interlock("service", not blocked, blocked or "no tag, dwell or lock"),
    )


def check(
    network: Network, observation: Observation, move: Move, limits: HardLimits
) -> tuple[Interlock, ...]:
    """Every rule for one move, each with its verdict; all must hold. The power flow is that of the observation."""
    feeder = network.feeder
    locks = standing_interlocks(feeder, observation, move.house, limits)
    differs = move.to_phase != int(observation.phase[move.house])
    locks += (Interlock("target", differs, f"to {PHASES[move.to_phase]}" if differs else "it is there already"),)
    if not all(lock.ok for lock in locks):
        return locks
    try:
        before, after = flows(network, observation, move)
        settled = electrical_interlocks(feeder, before, after, move)
        if not observation.pv_kw[move.house] > 0:
            return (*locks, *settled)
        _, waiting = flows(network, _without_pv(observation, move.house), move)
    except FlowError as error:
        return (*locks, Interlock("power flow", False, str(error)))
    until_it_is_back = {lock.name: lock for lock in electrical_interlocks(feeder, before, waiting, move)}
    worse = {name: replace(lock, detail=f"{lock.detail}, while its PV is off")
             for name, lock in until_it_is_back.items() if name in _ALSO_WHILE_PV_IS_OFF and not lock.ok}
    return (*locks, *(worse.get(lock.name, lock) if lock.ok else lock for lock in settled))


def _without_pv(observation: Observation, house: int) -> Observation:
    """The observation while that house's inverter waits after its switch: the phase carries its whole load."""
    pv = observation.pv_kw.copy()
    pv[house] = 0.0
    return replace(observation, pv_kw=pv)


def flows(network: Network, observation: Observation, move: Move) -> tuple[Flow, Flow]:
    """The power flow as it is and as it would be after the move. Raises FlowError."""
    net = np.nan_to_num(observation.load_kw) - np.nan_to_num(observation.pv_kw)
    reactive = np.nan_to_num(observation.load_kvar)
    moved = observation.phase.copy()
    moved[move.house] = move.to_phase
    return network.solve(observation.phase, net, reactive), network.solve(moved, net, reactive)


def electrical_interlocks(feeder: Feeder, before: Flow, after: Flow, move: Move) -> tuple[Interlock, ...]:
    """Nothing new may be overloaded or out of band; what is so already may only get better."""
    limits, nominal = feeder.limits, feeder.transformer.nominal_voltage
    current_before = abs(before.phase_current[move.to_phase])
    current_after = abs(after.phase_current[move.to_phase])
    ampacity = bool(current_after <= max(limits.phase_current_a, current_before) + _SLACK)
    band = nominal * limits.voltage_band_percent / 100
    outside_before, outside_after = (_outside_band(flow, nominal, band) for flow in (before, after))
    voltage_ok = bool((outside_after <= np.where(outside_before > 0, outside_before + _WORSE_V, _SLACK)).all())
    volts = np.abs(after.house_voltage[np.abs(after.house_voltage) > 0])
    neutral_ok = bool(after.neutral_current_a <= max(limits.neutral_a, float(before.neutral_current_a)) + _SLACK)
    vuf_ok = bool(after.vuf_transformer_percent
                  <= max(limits.vuf_percent, float(before.vuf_transformer_percent)) + _SLACK)
    return (
        Interlock("ampacity", ampacity,
                  f"{PHASES[move.to_phase]} {current_before:.1f} to {current_after:.1f} A, limit "
                  f"{limits.phase_current_a:g} A"),
        Interlock("voltage", voltage_ok,
                  f"houses at {volts.min():.1f} to {volts.max():.1f} V, band {nominal:g} V "
                  f"+-{limits.voltage_band_percent:g} %"),
        Interlock("neutral", neutral_ok, f"{float(before.neutral_current_a):.1f} to "
                                         f"{float(after.neutral_current_a):.1f} A, limit {limits.neutral_a:g} A"),
        Interlock("VUF", vuf_ok, f"{float(before.vuf_transformer_percent):.2f} to "
                                 f"{float(after.vuf_transformer_percent):.2f} %, limit {limits.vuf_percent:g} %"),
    )


def _outside_band(flow: Flow, nominal: float, band: float) -> FloatArray:
    """(n,) how far each house is outside nominal +- band, V; 0 inside and where it is open."""
    volts = np.abs(flow.house_voltage)
    return np.asarray(np.where(volts > 0, np.maximum(np.abs(volts - nominal) - band, 0.0), 0.0))
