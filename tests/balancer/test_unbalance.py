"""Unbalance formulas against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.phasor import ROT, house_current, phase_sums
from balancer.unbalance import (
    current_unbalance_percent,
    lvur_percent,
    negative_sequence_a,
    neutral_current_a,
    pvur_percent,
    vuf_from_line_voltages,
    vuf_percent,
)


def test_balanced_currents_leave_nothing_in_the_neutral():
    assert neutral_current_a(10 * ROT) == pytest.approx(0, abs=1e-12)
    assert negative_sequence_a(10 * ROT) == pytest.approx(0, abs=1e-12)


def test_one_loaded_phase_returns_all_its_current_in_the_neutral():
    assert neutral_current_a(np.array([30, 0, 0], complex)) == pytest.approx(30)
    assert negative_sequence_a(np.array([30, 0, 0], complex)) == pytest.approx(30)


def test_three_unequal_currents_give_the_hand_worked_neutral():
    # 40, 25, 10 A at unity power factor: sqrt(a2 + b2 + c2 - ab - bc - ca) = sqrt(675)
    assert neutral_current_a(np.array([40, 25, 10]) * ROT) == pytest.approx(math.sqrt(675))


def test_an_exporting_house_counts_against_its_own_phase():
    current = house_current([2.4, -1.2], [0, 0], 240.0)
    assert current == pytest.approx([10, -5])
    assert neutral_current_a(phase_sums(current, np.array([0, 0]))) == pytest.approx(5)


def test_vuf_of_one_phase_ten_percent_low_is_the_hand_worked_figure():
    # 0.9, 1, 1: |V2| = 0.1/3, V1 = 2.9/3: 3.448 %
    assert vuf_percent(np.array([0.9, 1, 1]) * ROT) == pytest.approx(100 * 0.1 / 2.9)


@given(st.tuples(*[st.floats(200, 260)] * 3), st.tuples(*[st.floats(-0.1, 0.1)] * 2))
def test_iec_line_voltage_form_agrees_with_the_phasor_form(size, turn):
    three = np.array([size[0], size[1] * np.exp(1j * turn[0]), size[2] * np.exp(1j * turn[1])]) * ROT
    lines = [abs(three[0] - three[1]), abs(three[1] - three[2]), abs(three[2] - three[0])]
    assert vuf_from_line_voltages(*lines) == pytest.approx(float(vuf_percent(three)), abs=1e-5)


def test_iec_form_of_equal_lines_is_zero_and_of_a_dead_meter_is_not_a_number():
    assert vuf_from_line_voltages(415, 415, 415) == pytest.approx(0, abs=1e-5)
    assert math.isnan(vuf_from_line_voltages(0, 0, 0))


def test_lvur_is_the_largest_deviation_from_the_mean_line_voltage():
    assert lvur_percent(420, 415, 410) == pytest.approx(100 * 5 / 415)       # NEMA MG 1's own kind of example


def test_pvur_is_the_same_on_phase_voltages():
    assert pvur_percent(230, 240, 250) == pytest.approx(100 * 10 / 240)


def test_current_unbalance_of_nothing_is_nothing():
    assert current_unbalance_percent([0, 0, 0]) == 0
    mean = 106.5667
    assert current_unbalance_percent([142.3, 81.0, 96.4]) == pytest.approx(100 * (142.3 - mean) / mean, abs=0.01)


def test_iec_form_of_a_flat_triangle_is_one_hundred_percent():
    # 2, 1, 1: beta = (16 + 1 + 1) / (4 + 1 + 1)^2 = 1/2, the inner root is zero
    assert vuf_from_line_voltages(2, 1, 1) == pytest.approx(100)


def test_iec_form_of_a_hand_worked_triangle():
    # 420, 415, 410 V: beta = 0.333462340101, root = 0.999612905..., worked with 30 digits
    assert vuf_from_line_voltages(420, 415, 410) == pytest.approx(1.391348556, abs=1e-8)


def test_three_lines_that_close_no_triangle_are_not_a_number():
    assert math.isnan(vuf_from_line_voltages(415, 100, 100))


def test_an_empty_neutral_may_hide_negative_sequence():
    # 10, -5, -5 A: the sum is zero; 3 I2 = 10 - 5 (a^2 + a) = 15
    three = np.array([10, -5 + 0j, -5 + 0j])
    assert neutral_current_a(three) == pytest.approx(0, abs=1e-12)
    assert negative_sequence_a(three) == pytest.approx(15)


def test_every_formula_takes_a_day_at_once():
    volts = np.array([[230.0, 240.0], [240.0, 240.0], [250.0, 240.0]])
    assert vuf_percent(volts * ROT[:, None])[1] == pytest.approx(0, abs=1e-12)
    assert pvur_percent(*volts) == pytest.approx([100 * 10 / 240, 0])
    assert current_unbalance_percent(volts) == pytest.approx([100 * 10 / 240, 0])
    assert negative_sequence_a(volts * ROT[:, None]).shape == neutral_current_a(volts * ROT[:, None]).shape == (2,)
