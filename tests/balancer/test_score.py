"""The day's score: its keys are the contract, its figures can be worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from balancer.feeder_folder import read_feeder
from balancer.network import Network
from balancer.score import score_day

KEYS = {
    "neutral_a_mean", "neutral_a_p95", "vuf_percent_p95_transformer", "vuf_percent_p95_worst_house", "loss_kwh",
    "pv_lost_kwh", "energy_kwh", "voltage_v_max", "voltage_v_min", "phase_a_max", "switches",
    "max_switches_per_house", "decision_ms_mean", "decision_ms_p99",
}


def test_one_house_for_an_hour(small_feeder_dir):
    network = Network(read_feeder(small_feeder_dir))
    load = np.zeros((9, 60))
    load[0] = 2.4
    available = np.zeros((9, 60))
    available[3] = 1.0
    made = available.copy()
    made[3, :6] = 0.0
    made[3, 6:] = 1.0
    phase = np.repeat((np.arange(9) % 3)[:, None], 60, axis=1)
    score = score_day(network, phase, load, 0 * load, made, available, np.array([2, 0, 1] + [0] * 6), [1.0, 3.0])
    assert set(score) == KEYS
    assert score["pv_lost_kwh"] == pytest.approx(0.1)
    assert score["energy_kwh"] == pytest.approx(score["loss_kwh"] + 0.1)
    assert score["switches"] == 3 and score["max_switches_per_house"] == 2
    assert score["decision_ms_mean"] == pytest.approx(2.0)
    # 2.4 kW at some 239 V, less the 1 kW of a house on the same phase for 54 minutes of 60
    assert score["neutral_a_mean"] == pytest.approx((10.05 * 6 + 5.85 * 54) / 60, abs=0.05)
    assert score["voltage_v_max"] >= 240 > score["voltage_v_min"]
