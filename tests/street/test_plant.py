"""The plant keeps its energy together, and a house that is switched loses what it must lose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from balancer.decision import IntArray
from balancer.feeder import Feeder
from balancer.feeder_folder import Profiles, read_feeder, read_profiles
from balancer.network import Network
from pi_service.street.plant import OPEN, Ledger, Plant
from pi_service.street.sensors import SensorErrors, Sensors

RECONNECT_S = 300.0


@pytest.fixture
def feeder(kerala_street: Path) -> Feeder:
    return read_feeder(kerala_street)


@pytest.fixture
def profiles(kerala_street: Path, feeder: Feeder) -> Profiles:
    return read_profiles(kerala_street, feeder)


@pytest.fixture
def plant(feeder: Feeder, profiles: Profiles) -> Plant:
    return Plant(feeder, profiles, Network(feeder), RECONNECT_S)


@pytest.fixture
def at_start(feeder: Feeder) -> IntArray:
    return np.array([house.phase for house in feeder.houses], dtype=np.int64)


def sunny_house(feeder: Feeder) -> int:
    return next(index for index, house in enumerate(feeder.houses) if house.pv_kwp > 0)


@pytest.mark.parametrize("minute", [0, 435, 720, 1240])
def test_what_the_transformer_delivers_is_what_houses_and_lines_take(
    plant: Plant, at_start: IntArray, minute: int,
) -> None:
    plant.set_minute(minute)
    truth = plant.solve(0.0, at_start)
    taken = truth.load_kw.sum() - truth.pv_kw.sum() + float(truth.flow.line_loss_kw)
    assert truth.phase_power_kva.real.sum() == pytest.approx(taken, abs=1e-4)


def test_moving_a_house_moves_its_power_from_phase_to_phase(plant: Plant, at_start: IntArray) -> None:
    plant.set_minute(1230)
    before = plant.solve(0.0, at_start)
    house = int(before.load_kw.argmax())
    moved = at_start.copy()
    moved[house] = (at_start[house] + 1) % 3
    after = plant.solve(1.0, moved)
    shift = after.phase_power_kva.real - before.phase_power_kva.real
    assert shift[at_start[house]] == pytest.approx(-before.load_kw[house], rel=0.1)
    assert shift[moved[house]] == pytest.approx(before.load_kw[house], rel=0.1)


def test_a_switched_house_makes_nothing_until_its_inverter_is_back(
    plant: Plant, feeder: Feeder, at_start: IntArray,
) -> None:
    house = sunny_house(feeder)
    plant.set_minute(720)
    assert plant.solve(0.0, at_start).pv_kw[house] > 0
    moved = at_start.copy()
    moved[house] = (at_start[house] + 1) % 3
    for now, makes in ((10.0, False), (309.0, False), (310.0, True)):
        truth = plant.solve(now, moved)
        assert bool(truth.pv_kw[house] > 0) is makes, now
        assert truth.pv_available_kw[house] > 0


def test_an_interruption_that_ends_on_the_same_phase_trips_the_inverter_too(
    plant: Plant, feeder: Feeder, at_start: IntArray,
) -> None:
    house = sunny_house(feeder)
    plant.set_minute(720)
    blinked = np.zeros(len(at_start), dtype=bool)
    blinked[house] = True
    truth = plant.solve(5.0, at_start, blinked)
    assert truth.pv_kw[house] == 0
    assert (truth.pv_kw > 0).sum() == (truth.pv_available_kw > 0).sum() - 1


def test_an_open_house_takes_nothing_and_its_inverter_waits_for_the_supply(
    plant: Plant, feeder: Feeder, at_start: IntArray,
) -> None:
    house = sunny_house(feeder)
    plant.set_minute(720)
    away = at_start.copy()
    away[house] = OPEN
    truth = plant.solve(0.0, away)
    assert (truth.load_kw[house], truth.pv_kw[house], abs(truth.flow.house_voltage[house])) == (0, 0, 0)
    plant.solve(1000.0, away)
    assert plant.solve(1001.0, at_start).pv_kw[house] == 0
    assert plant.solve(1301.0, at_start).pv_kw[house] > 0


def test_the_ledger_keeps_the_phase_held_longest_and_means_over_the_minute(
    plant: Plant, feeder: Feeder, at_start: IntArray,
) -> None:
    house = sunny_house(feeder)
    moved = at_start.copy()
    moved[house] = (at_start[house] + 1) % 3
    plant.set_minute(720)
    ledger = Ledger(at_start)
    whole = plant.solve(0.0, at_start)
    ledger.add(whole, 15.0)
    ledger.add(plant.solve(15.0, moved), 45.0)
    ledger.close()
    assert ledger.phase[0][house] == moved[house]
    assert ledger.pv_kw[0][house] == pytest.approx(whole.pv_kw[house] / 4)
    assert ledger.pv_available_kw[0][house] == pytest.approx(whole.pv_kw[house])
    assert ledger.switches.tolist() == [int(index == house) for index in range(len(at_start))]


def test_the_ledger_says_open_where_a_house_hung_on_nothing(plant: Plant, at_start: IntArray) -> None:
    away = at_start.copy()
    away[3] = OPEN
    ledger = Ledger(at_start)
    ledger.add(plant.solve(0.0, away), 60.0)
    ledger.close()
    assert ledger.phase[0][3] == OPEN
    assert ledger.switches.sum() == 0


def test_sensors_err_by_as_much_as_they_are_set_to_and_repeat_with_the_seed(
    plant: Plant, at_start: IntArray,
) -> None:
    plant.set_minute(1230)
    truth = plant.solve(0.0, at_start)
    errors = SensorErrors(house=0.01, meter=0.0)
    readings = [reading for _ in range(40) for reading in Sensors(1, errors).houses(truth)]
    one, same = Sensors(1, errors), Sensors(1, errors)
    assert one.houses(truth) == same.houses(truth)
    assert one.houses(truth) != Sensors(2, errors).houses(truth)
    volts = np.array([reading["voltage"] for reading in readings[:60]]) / np.abs(truth.flow.house_voltage)
    assert 0.005 < volts.std() < 0.02
    meter = one.meter(truth, 1, 1, 0.0)
    assert meter.neutral_current == pytest.approx(float(truth.flow.neutral_current_a), abs=1e-3)
    assert meter.power == pytest.approx(tuple(truth.phase_power_kva.real), abs=1e-3)


def test_what_a_node_reports_adds_up_to_what_the_meter_sees(plant: Plant, at_start: IntArray) -> None:
    plant.set_minute(720)
    truth = plant.solve(0.0, at_start)
    sensors = Sensors(0, SensorErrors(0.0, 0.0))
    reported = sum(reading["power"] for reading in sensors.houses(truth))
    meter = sensors.meter(truth, 1, 1, 0.0)
    assert sum(meter.power) == pytest.approx(reported + float(truth.flow.line_loss_kw), abs=0.01)
