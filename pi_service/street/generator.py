"""Makes a Kerala street: a feeder folder with its houses, lines and days of load and sun, from a seed.

    python -m pi_service.street.generator --out data/feeders/kerala_street --seed 130

What the load of 60 houses adds up to, over many seeds (tested in tests/street/test_generator.py), beside the
measured European cases in brackets:

- mean 5.2 to 7.2 kWh a house and day (8.3 to 8.7); single houses 1 to 20, rising with what is owned;
- one-minute peak of a house, mean 1.5 to 2.5 kW (4.9 to 5.2: electric showers and cookers are rarer here);
- coincidence factor, the street's peak over the sum of the houses', 0.22 to 0.37 (0.15 to 0.18): more, because
  the air conditioners all start in the same two hours;
- after-diversity peak 0.45 to 0.75 kW a house (0.78 to 0.89), mostly between 18:30 and 23:00;
- a bump from 6 to 9 above the hours around it, and the highest hours of the day from 19 to 23.

Not here: how a house spends its day (`appliances`) and what the sun does (`sky`).
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from balancer.decision import FloatArray
from balancer.feeder import PHASES
from pi_service.street.appliances import Household, household_day, make_household
from pi_service.street.sky import clouds, roof_kw

LATITUDE, LONGITUDE = 10.5276, 76.2144
HOUSES, POLES = 60, 24
POLES_OF_BRANCH = ((1, 12), (13, 21), (22, 24))       # two ways from the transformer; a spur from P16
SPUR_FROM = 16
DAY_OF_YEAR = 74                                      # mid-March: hot, dry, clear mornings

# 3x70+16+54.6 mm2 aluminium LT aerial bunched cable; resistances at 50 degC.
PHASE_R = 0.443 * (1 + 0.00403 * 30)
NEUTRAL_R = 0.630 * (1 + 0.0036 * 30)
ABC_X = 0.10
# Service: 4x16 mm2 aluminium.
SERVICE_R = 1.91 * (1 + 0.00403 * 30)

FEEDER_TOML = """\
# A made-up street in Thrissur; regenerate with
#   python -m pi_service.street.generator --out data/feeders/kerala_street --seed {seed}
# Lines (lines.csv): LT aerial bunched cable 3x70+16+54.6 mm2. Phase cores 70 mm2 aluminium 0.443 ohm/km at
# 20 degC (IEC 60228 class 2), messenger and neutral 54.6 mm2 aluminium alloy 0.630 ohm/km (NF C 33-209), both at
# 50 degC here; reactance 0.10 ohm/km, the usual figure for a twisted bunch. Services: 16 mm2 aluminium,
# 1.91 ohm/km at 20 degC (IEC 60228). r0 = r1 + 3 rn, x0 = x1 + 3 xn.
[feeder]
id = "KL-TSR-0142"
name = "Ayyanthole street"
region = "Central"
district = "Thrissur"
latitude = {latitude}
longitude = {longitude}

[transformer]                  # 11 kV / 433 V, 100 kVA, Dyn11
bus = "TX"
kva = 100
impedance_percent = 4.5
resistance_percent = 1.76
nominal_voltage = 240.0        # phase to neutral: Kerala declares 240/415 V
source_short_circuit_a = 5000  # at 11 kV

[limits]
phase_current_a = 133.0        # 100 kVA at 433 V
voltage_band_percent = 6.0
vuf_percent = 2.0
neutral_a = 40.0
"""

HOUSE_NAMES = (
    "Thekkedath", "Puthenveedu", "Kizhakkethil", "Vadakkumpuram", "Padinjarekkara", "Chirayil", "Mullassery",
    "Kunnath", "Parambil", "Manakkal", "Thottathil", "Cherukara", "Pallath", "Edathil", "Ambalathil", "Valiyaveettil",
    "Nellikkal", "Kalarikkal", "Poovathingal", "Moolayil",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a house stands and how it was connected. `along` is 0..1 down the street."""

    house_id: str
    pole: str
    name: str
    phase: int
    along: float
    service_m: float
    pv_kwp: float
    switchable: bool
    critical: bool
    power_factor: float


@dataclass(frozen=True, slots=True)
class Street:
    """A street: its places, households and, house by minute, load and sun in kW."""

    places: tuple[Place, ...]
    households: tuple[Household, ...]
    load_kw: FloatArray
    pv_kw: FloatArray
    monthly_kwh: FloatArray


def make_street(seed: int, days: int = 1) -> Street:
    """Draw a street and live `days` days in it; the same seed gives the same street."""
    layout, people, weather = (np.random.default_rng([seed, part]) for part in (1, 2, 3))
    places = _places(layout)
    households = tuple(make_household(people) for _ in places)
    load = np.concatenate([np.array([household_day(home, people) for home in households]) for _ in range(days)], 1)
    pv = np.concatenate([_sun(places, weather, day) for day in range(days)], axis=1)
    month = np.array([np.mean([household_day(home, people).sum() for _ in range(10)]) for home in households]) / 60
    return Street(places, households, load, pv, month * 30)


def _places(rng: np.random.Generator) -> tuple[Place, ...]:
    """Houses along the poles. Each new one was put on the linesman's usual phase, or on its neighbour's."""
    solar = _clusters(rng, HOUSES // 2)
    apart = _some(rng, 5)
    places: list[Place] = []
    phase = 0
    for index in range(HOUSES):
        pole = 1 + index * POLES // HOUSES
        if rng.random() < 0.5:
            phase = int(np.searchsorted((0.50, 0.78), rng.random()))
        role = apart.index(index) if index in apart else 9
        name = {0: "Health sub-centre", 1: "Oxygen at home", 2: "Three-phase mill office"}.get(
            role, HOUSE_NAMES[index % len(HOUSE_NAMES)])
        places.append(Place(
            house_id=f"H{index + 1:03d}", pole=f"P{pole:02d}", name=name, phase=phase,
            along=index / (HOUSES - 1), service_m=round(12 + 23 * float(rng.random()), 1),
            pv_kwp=(2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 4.0, 5.0)[int(rng.random() * 8)] if index in solar else 0.0,
            switchable=role not in (2, 3, 4), critical=role in (0, 1),
            power_factor=round(0.88 + 0.10 * float(rng.random()), 2)))
    return tuple(places)


def _clusters(rng: np.random.Generator, wanted: int) -> frozenset[int]:
    """Houses with solar: a roof is likelier beside a roof, as one contractor works along a lane."""
    roofs: set[int] = set()
    while len(roofs) < wanted:
        at = int(rng.random() * HOUSES)
        for neighbour in range(at, min(HOUSES, at + 3 + int(rng.random() * 5))):
            if len(roofs) < wanted:
                roofs.add(neighbour)
    return frozenset(roofs)


def _some(rng: np.random.Generator, count: int) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < count:
        pick = int(rng.random() * HOUSES)
        if pick not in chosen:
            chosen.append(pick)
    return chosen


def _sun(places: tuple[Place, ...], rng: np.random.Generator, day: int) -> FloatArray:
    light = clouds(rng)
    return np.array([
        roof_kw(light, place.pv_kwp, place.along, 40 * (rng.random() - 0.5), 0.9 + 0.1 * rng.random(),
                DAY_OF_YEAR + day, LATITUDE)
        for place in places
    ])


def write_street(street: Street, out: Path, seed: int) -> None:
    """Write the feeder folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "feeder.toml").write_text(
        FEEDER_TOML.format(seed=seed, latitude=LATITUDE, longitude=LONGITUDE), encoding="utf-8")
    _write_csv(out / "houses.csv", _house_rows(street))
    _write_csv(out / "lines.csv", _line_rows(street))
    solar = [index for index, place in enumerate(street.places) if place.pv_kwp > 0]
    _write_profile(out / "load_kw.csv", street, list(range(len(street.places))), street.load_kw)
    _write_profile(out / "pv_kw.csv", street, solar, street.pv_kw)


def _house_rows(street: Street) -> list[list[object]]:
    rows: list[list[object]] = [["house_id", "bus", "phase", "pv_kwp", "monthly_kwh", "switchable", "critical",
                                 "power_factor", "pole", "name"]]
    for place, monthly in zip(street.places, street.monthly_kwh, strict=True):
        rows.append([place.house_id, place.house_id, PHASES[place.phase], f"{place.pv_kwp:.2f}", round(float(monthly)),
                     int(place.switchable), int(place.critical), f"{place.power_factor:.2f}", place.pole, place.name])
    return rows


def _line_rows(street: Street) -> list[list[object]]:
    rows: list[list[object]] = [["from_bus", "to_bus", "length_m", "r1_ohm_per_km", "x1_ohm_per_km",
                                 "r0_ohm_per_km", "x0_ohm_per_km"]]
    cable = [f"{value:.3f}" for value in (PHASE_R, ABC_X, PHASE_R + 3 * NEUTRAL_R, 4 * ABC_X)]
    service = [f"{value:.3f}" for value in (SERVICE_R, ABC_X, 4 * SERVICE_R, 4 * ABC_X)]
    for branch, (first, last) in enumerate(POLES_OF_BRANCH):
        before = "TX" if branch < 2 else f"P{SPUR_FROM:02d}"
        for pole in range(first, last + 1):
            rows.append([before, f"P{pole:02d}", 30 + pole * 7 % 9, *cable])      # spans of 30 to 38 m
            before = f"P{pole:02d}"
    rows += [[place.pole, place.house_id, place.service_m, *service] for place in street.places]
    return rows


def _write_profile(path: Path, street: Street, houses: list[int], values: FloatArray) -> None:
    head: list[object] = ["minute", *(street.places[house].house_id for house in houses)]
    body: list[list[object]] = [
        [minute, *(f"{values[house, minute]:.3f}" for house in houses)] for minute in range(values.shape[1])]
    _write_csv(path, [head, *body])


def _write_csv(path: Path, rows: list[list[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def describe(street: Street) -> str:
    """The statistics of the module's docstring for one street, in one line."""
    load, total = street.load_kw, street.load_kw.sum(axis=0)
    peak = int(total.argmax()) % 1440
    return (f"{load.shape[0]} houses: {load.mean() * 24:.2f} kWh a house and day "
            f"({load.mean(axis=1).min() * 24:.1f} to {load.mean(axis=1).max() * 24:.1f}), "
            f"one-minute peak {load.max(axis=1).mean():.2f} kW a house, {total.max():.1f} kW together at "
            f"{peak // 60:02d}:{peak % 60:02d}, coincidence {total.max() / load.max(axis=1).sum():.2f}, "
            f"solar {street.pv_kw.sum() / 60 / max(1e-9, sum(p.pv_kwp for p in street.places)):.2f} kWh a kWp")


def main(argv: list[str] | None = None) -> int:
    """Command line: write the folder, say what is in it."""
    parser = argparse.ArgumentParser(prog="python -m pi_service.street.generator", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=130, help="the same seed gives the same street")
    parser.add_argument("--days", type=int, default=1, help="days of profiles, from mid-March")
    options = parser.parse_args(argv)
    if options.days < 1:
        parser.error("--days: at least 1")
    street = make_street(options.seed, options.days)
    write_street(street, options.out, options.seed)
    print(f"{options.out}: {describe(street)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
