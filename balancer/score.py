"""What a day was worth: the figures by which a policy, a demo and a report are compared.

`vuf_percent_p95_worst_house` is the 95th percentile over the minutes of the worst house at each minute.
`loss_kwh` holds lines (phases and neutral) and the transformer's copper; iron losses are the same in every
policy and left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from balancer.decision import FloatArray, IntArray
from balancer.network import Flow, Network


def score_day(
    network: Network,
    phase: IntArray,
    load_kw: FloatArray,
    load_kvar: FloatArray,
    pv_kw: FloatArray,
    pv_available_kw: FloatArray,
    switches_per_house: IntArray,
    decision_ms: Sequence[float] = (),
) -> dict[str, float]:
    """Score T one-minute instants of n houses. (n, T) each; `switches_per_house` (n,). Raises FlowError.

    `pv_kw` is what was made, `pv_available_kw` what would have been made without switching.
    """
    flow = network.solve_batch(phase, load_kw - pv_kw, load_kvar)
    return score_flow(flow, pv_kw, pv_available_kw, switches_per_house, decision_ms)


def score_flow(
    flow: Flow, pv_kw: FloatArray, pv_available_kw: FloatArray, switches_per_house: IntArray,
    decision_ms: Sequence[float] = (),
) -> dict[str, float]:
    """Score a flow that is solved already; see `score_day`."""
    loss = float((flow.line_loss_kw + flow.transformer_loss_kw).sum() / 60)
    lost = float((pv_available_kw - pv_kw).sum() / 60)
    volts = np.abs(flow.house_voltage)
    closed = volts > 0
    return {
        "neutral_a_mean": float(flow.neutral_current_a.mean()),
        "neutral_a_p95": float(np.percentile(flow.neutral_current_a, 95)),
        "vuf_percent_p95_transformer": float(np.percentile(flow.vuf_transformer_percent, 95)),
        "vuf_percent_p95_worst_house": float(np.percentile(flow.vuf_house_percent.max(axis=0), 95)),
        "loss_kwh": loss,
        "pv_lost_kwh": lost,
        "energy_kwh": loss + lost,
        "voltage_v_max": float(volts[closed].max(initial=0.0)),
        "voltage_v_min": float(volts[closed].min(initial=np.inf)) if closed.any() else 0.0,
        "phase_a_max": float(np.abs(flow.phase_current).max()),
        "switches": int(switches_per_house.sum()),
        "max_switches_per_house": int(switches_per_house.max(initial=0)),
        "decision_ms_mean": float(np.mean(decision_ms)) if len(decision_ms) else 0.0,
        "decision_ms_p99": float(np.percentile(decision_ms, 99)) if len(decision_ms) else 0.0,
    }
