"""Phasors against numbers worked by hand."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest

from balancer.phasor import ROT, A, house_current, phase_sums, sequence


def test_the_three_phases_stand_at_0_minus_120_and_120_degrees():
    assert [math.degrees(cmath.phase(unit)) for unit in ROT] == pytest.approx([0, -120, 120])
    assert abs(A**3 - 1) < 1e-12


def test_a_kilowatt_at_240_volts_is_4_17_amperes_and_export_turns_it_round():
    assert house_current([1.0, -1.0], [0.0, 0.0], 240.0) == pytest.approx([4.1667, -4.1667], abs=1e-4)


def test_current_times_voltage_gives_the_power_back():
    current = house_current(1.5, 0.7, 232.0)
    assert 232.0 * complex(current).conjugate() == pytest.approx(1500 + 700j)


def test_lagging_power_factor_turns_the_current_back():
    current = complex(house_current(2.4, 2.4, 240.0))
    assert math.degrees(cmath.phase(current)) == pytest.approx(-45)


def test_an_open_house_draws_nothing():
    assert np.abs(phase_sums(np.array([10 + 0j, 20 + 0j]), np.array([-1, 1]))) == pytest.approx([0, 20, 0])


def test_sequence_components_rebuild_the_phases():
    three = np.array([230, 225 * np.exp(-2.1j), 241 * np.exp(2.0j)])
    zero, positive, negative = sequence(three)
    assert zero + positive + negative == pytest.approx(three[0])
    assert zero + A**2 * positive + A * negative == pytest.approx(three[1])


def test_sums_by_phase_stand_in_the_common_frame():
    currents = np.array([4 + 0j, 2 + 0j, 5 + 0j, 1 - 1j])
    r, y, b = phase_sums(currents, np.array([0, 0, 1, 2]))
    assert r == pytest.approx(6)
    assert y == pytest.approx(5 * cmath.exp(-2j * math.pi / 3))
    assert b == pytest.approx((1 - 1j) * cmath.exp(2j * math.pi / 3))


def test_a_day_is_summed_minute_by_minute():
    currents = np.array([[4 + 0j, 1], [2, 3]])
    sums = phase_sums(currents, np.array([[0, 1], [0, 1]]))
    assert np.abs(sums) == pytest.approx(np.array([[6, 0], [0, 4], [0, 0]]))


@pytest.mark.parametrize(("three", "zero", "positive", "negative"), [
    ([3, 0, 0], 1, 1, 1),
    ([1, A**2, A], 0, 1, 0),
    ([1, A, A**2], 0, 0, 1),
    ([1, 1, 1], 1, 0, 0),
])
def test_sequence_components_are_the_hand_worked_ones(three, zero, positive, negative):
    assert sequence(np.array(three, complex)) == pytest.approx((zero, positive, negative), abs=1e-12)
