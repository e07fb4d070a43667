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


def test_the_loss_of_an_hour_is_the_hand_worked_one(small_feeder_dir):
    network = Network(read_feeder(small_feeder_dir))
    phase, load = np.zeros((9, 60), dtype=int), np.zeros((9, 60))
    load[0] = 2.4
    score = score_day(network, phase, load, 0 * load, 0 * load, 0 * load, np.zeros(9, dtype=int))
    # one house at the first pole: phase and neutral are (2 r1 + r0) / 3 over 35 m, the winding 1.76 % of 1.728 ohm
    ohm = (2 * 0.443 + 1.68) / 3 * 0.035 + 0.0176 * 3 * 240**2 / 100_000
    assert score["loss_kwh"] == pytest.approx(score["phase_a_max"] ** 2 * ohm / 1000)
    assert score["neutral_a_mean"] == pytest.approx(score["phase_a_max"])
    assert score["pv_lost_kwh"] == 0


def test_percentiles_are_over_the_minutes(small_feeder_dir):
    network = Network(read_feeder(small_feeder_dir))
    phase, load = np.zeros((9, 100), dtype=int), np.zeros((9, 100))
    load[8, :4] = 4.0
    quiet = score_day(network, phase, load, 0 * load, 0 * load, 0 * load, np.zeros(9, dtype=int))
    assert quiet["neutral_a_p95"] == 0 and quiet["vuf_percent_p95_worst_house"] < 1e-9
    load[8, :10] = 4.0
    busy = score_day(network, phase, load, 0 * load, 0 * load, 0 * load, np.zeros(9, dtype=int))
    assert busy["neutral_a_p95"] == pytest.approx(busy["phase_a_max"])
    assert busy["vuf_percent_p95_worst_house"] > busy["vuf_percent_p95_transformer"] > 0


def test_an_open_house_is_left_out_of_the_lowest_voltage(small_feeder_dir):
    network = Network(read_feeder(small_feeder_dir))
    phase = np.zeros((9, 5), dtype=int)
    phase[3, 2] = -1
    nothing = np.zeros((9, 5))
    score = score_day(network, phase, nothing, nothing, nothing, nothing, np.zeros(9, dtype=int))
    assert score["voltage_v_min"] == pytest.approx(240) and score["voltage_v_max"] == pytest.approx(240)


def test_a_day_without_a_decision_took_no_time_to_decide(small_feeder_dir):
    network = Network(read_feeder(small_feeder_dir))
    nothing = np.zeros((9, 2))
    score = score_day(network, nothing, nothing, nothing, nothing, nothing, np.zeros(9, dtype=int))
    assert score["decision_ms_mean"] == score["decision_ms_p99"] == score["switches"] == 0
