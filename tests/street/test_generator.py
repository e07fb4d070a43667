"""The made-up Kerala street behaves like a street, and its folder is the one that the command writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from balancer.decision import FloatArray
from balancer.feeder_folder import read_feeder, read_profiles
from balancer.network import Network
from pi_service.street.generator import Street, main, make_street
from pi_service.street.sky import clear_sky_w_m2, clouds

SEEDS = range(1, 13)


@pytest.fixture(scope="module")
def streets() -> list[Street]:
    return [make_street(seed) for seed in SEEDS]


def coincidence(load_kw: FloatArray) -> float:
    return float(load_kw.sum(axis=0).max() / load_kw.max(axis=1).sum())


def hourly(street: Street) -> FloatArray:
    return np.asarray(street.load_kw.sum(axis=0).reshape(24, 60).mean(axis=1))


def test_a_house_uses_between_5_and_7_kwh_a_day_on_average(streets: list[Street]) -> None:
    for street in streets:
        assert 5.2 < street.load_kw.mean() * 24 < 7.2
        daily = street.load_kw.mean(axis=1) * 24
        assert daily.min() > 1
        assert daily.max() < 20


def test_who_owns_more_uses_more(streets: list[Street]) -> None:
    comfort = np.concatenate([[home.comfort for home in street.households] for street in streets])
    daily = np.concatenate([street.load_kw.mean(axis=1) * 24 for street in streets])
    assert daily[comfort > 0.75].mean() > 1.5 * daily[comfort < 0.25].mean()


def test_a_house_peaks_at_about_two_kilowatts(streets: list[Street]) -> None:
    for street in streets:
        assert 1.5 < street.load_kw.max(axis=1).mean() < 2.5


def test_the_evening_is_the_peak_and_the_morning_has_a_bump(streets: list[Street]) -> None:
    day = np.mean([hourly(street) for street in streets], axis=0)
    assert 19 <= day.argmax() <= 22
    assert day[6:9].mean() > 1.3 * day[4:6].mean()
    assert day[6:9].mean() > 1.5 * day[9:11].mean()


def test_coincidence_is_in_the_stated_range_and_of_the_measured_order(
    streets: list[Street], measured_cases: list[Path],
) -> None:
    ours = [coincidence(street.load_kw) for street in streets]
    assert min(ours) > 0.22
    assert max(ours) < 0.37
    measured = [coincidence(read_profiles(case, read_feeder(case)).load_kw) for case in measured_cases]
    assert np.mean(measured) < np.mean(ours) < 2.2 * np.mean(measured)


def test_peak_after_diversity_is_about_two_thirds_of_a_kilowatt(streets: list[Street]) -> None:
    for street in streets:
        assert 0.45 < street.load_kw.sum(axis=0).max() / 60 < 0.75


def test_one_sky_covers_the_street(streets: list[Street]) -> None:
    for street in streets:
        solar = np.array([place.pv_kwp > 0 for place in street.places])
        per_kwp = street.pv_kw[solar] / street.pv_kw[solar].max(axis=1, keepdims=True)
        together = np.corrcoef(per_kwp[:, 480:960])
        assert together.min() > 0.75
        assert solar.sum() == 30


def test_a_kilowatt_peak_makes_between_3_and_6_kwh_a_day(streets: list[Street]) -> None:
    for street in streets:
        kwp = np.array([place.pv_kwp for place in street.places])
        made = street.pv_kw.sum(axis=1)[kwp > 0] / 60 / kwp[kwp > 0]
        assert made.min() > 3
        assert made.max() < 6
        assert (street.pv_kw <= kwp[:, None]).all()


def test_the_sun_stands_overhead_in_kochi_in_april_and_not_at_night() -> None:
    noon = clear_sky_w_m2(100, 10.0, np.array([720.0]))
    assert noon == pytest.approx(1098 * np.exp(-0.057), rel=0.01)
    assert clear_sky_w_m2(100, 10.0, np.array([0.0, 1439.0])).max() == 0


def test_clouds_move_in_spells_not_in_noise() -> None:
    light = clouds(np.random.default_rng(4))
    assert light.shape == (1440,)
    assert 0.2 < light.min() < 0.7
    assert light.max() <= 1.0
    assert np.abs(np.diff(light)).mean() < 0.05


def test_solar_roofs_stand_in_clusters(streets: list[Street]) -> None:
    runs = []
    for street in streets:
        solar = np.array([place.pv_kwp > 0 for place in street.places]).astype(int)
        runs.append(30 / max(1, int((np.diff(solar) == 1).sum() + solar[0])))
    assert np.mean(runs) > 3          # thrown at random, a run would have two roofs


def test_the_same_seed_gives_the_same_street_and_another_seed_another() -> None:
    one, same, other = make_street(5), make_street(5), make_street(6)
    assert (one.load_kw == same.load_kw).all()
    assert one.places == same.places
    assert not (one.load_kw == other.load_kw).all()


def test_the_shipped_street_is_what_the_command_writes(kerala_street: Path, tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path)]) == 0
    for file in sorted(kerala_street.iterdir()):
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
    assert len(list(tmp_path.iterdir())) == len(list(kerala_street.iterdir()))


def test_the_shipped_street_is_unbalanced_enough_to_be_worth_balancing(kerala_street: Path) -> None:
    feeder = read_feeder(kerala_street)
    profiles = read_profiles(kerala_street, feeder)
    assert feeder.feeder_id == "KL-TSR-0142"
    assert len(feeder.houses) == 60
    assert sum(house.critical for house in feeder.houses) == 2
    assert sum(not house.switchable for house in feeder.houses) == 3
    assert all(house.pole and house.name for house in feeder.houses)
    phase = np.array([[house.phase] for house in feeder.houses]).repeat(1440, axis=1)
    angle = np.arccos([house.power_factor for house in feeder.houses])
    flow = Network(feeder).solve_batch(
        phase, profiles.load_kw - profiles.pv_kw, profiles.load_kw * np.tan(angle)[:, None])
    assert flow.neutral_current_a.mean() > 25
    assert np.abs(flow.phase_current).max() > feeder.limits.phase_current_a


def test_more_days_follow_one_another(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--days", "2", "--seed", "3"]) == 0
    profiles = read_profiles(tmp_path, read_feeder(tmp_path))
    assert profiles.load_kw.shape == (60, 2880)
    assert not np.array_equal(profiles.load_kw[:, :1440], profiles.load_kw[:, 1440:])
