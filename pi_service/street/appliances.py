"""One Kerala household's day, appliance by appliance, from a seed: what is owned, when it runs, what it draws.

Each house draws a `comfort` in 0..1; ownership rises with it. Powers, run times and windows are assumptions in
the range of name plates and habits, not measurements; what they add up to is stated in `generator` and tested.
Only `Generator.random` is used, whose stream numpy keeps, so that a seed gives the same street for years.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from balancer.decision import FloatArray

DAY_MIN = 1440
Window = tuple[float, float, float]
"""From hour, to hour, weight."""

MORNING: Window = (5.75, 9.25, 1.0)
LUNCH: Window = (11.5, 13.0, 0.5)
DINNER: Window = (18.5, 20.75, 1.1)


@dataclass(frozen=True, slots=True)
class Appliance:
    """A thing that is switched on now and then.

    `owned`: share of houses that have one; `rise`: how much that grows from the poorest to the best-off house.
    `kw`, `minutes`: range of its power and of one run; `runs`: mean runs a day; `windows`: when a run starts.
    `duty`, `cycle_min`: a thermostat keeps it on for that share of each cycle (1.0: always).
    """

    name: str
    owned: float
    rise: float
    kw: tuple[float, float]
    minutes: tuple[float, float]
    runs: float
    windows: tuple[Window, ...]
    duty: float = 1.0
    cycle_min: float = 1.0


APPLIANCES = (
    Appliance("television", .94, .1, (.06, .12), (40, 160), 2.2, ((6.5, 9, .3), (13, 16, .5), (18.5, 21.5, 1.6))),
    Appliance("mixer", .95, .1, (.45, .75), (2, 6), 1.8, (MORNING, LUNCH, DINNER)),
    Appliance("iron", .80, .3, (.75, 1.1), (8, 25), .6, ((6.5, 9, 1.0), (19, 22, .8)), .6, 4),
    Appliance("water pump", .75, .3, (.55, .95), (12, 30), 1.5, ((6, 8.5, 1.0), (16.5, 19, .7))),
    Appliance("induction cooker", .48, .4, (1.2, 2.0), (12, 35), 2.0, (MORNING, LUNCH, DINNER), .7, 4),
    Appliance("kettle", .40, .3, (1.1, 1.5), (3, 6), 1.5, ((6, 8, 1.0), (16, 17.5, .8), (20, 21, .3))),
    Appliance("microwave", .22, .5, (1.0, 1.3), (3, 8), 1.0, (LUNCH, DINNER)),
    Appliance("washing machine", .55, .6, (.3, .5), (35, 60), .6, ((7.5, 12, 1.0), (17, 20, .2)), .5, 8),
    Appliance("geyser", .24, .5, (1.8, 3.0), (6, 15), 1.2, ((5.5, 8.75, 1.0), (19, 21.5, .4))),
    Appliance("computer", .45, .6, (.06, .18), (50, 220), 1.2, ((9, 13, .8), (19, 22, 1.0))),
    Appliance("bedroom air conditioner", .24, .8, (.9, 1.4), (180, 420), .9, ((20.25, 23, 1.0),), .5, 14),
    Appliance("afternoon air conditioner", .12, .4, (.9, 1.4), (60, 180), .5, ((12.5, 15.5, 1.0),), .6, 14),
    Appliance("electric scooter", .15, .4, (.6, .75), (80, 200), .75, ((19, 22.5, 1.0), (9, 12, .1))),
)


@dataclass(frozen=True, slots=True)
class Household:
    """Who lives there: `comfort` 0..1, `rooms` with fan and light, and what is owned with its power in kW."""

    comfort: float
    rooms: int
    standby_kw: float
    fridge_kw: float
    owned: tuple[tuple[Appliance, float], ...]


def make_household(rng: np.random.Generator) -> Household:
    """Draw a household."""
    comfort = float(rng.random())
    owned = [
        (appliance, _between(rng, appliance.kw))
        for appliance in APPLIANCES
        if rng.random() < appliance.owned + appliance.rise * (comfort - 0.5)
    ]
    return Household(
        comfort=comfort,
        rooms=2 + int(rng.random() * 1.5 + comfort * 2.5),
        standby_kw=_between(rng, (.008, .045)),
        fridge_kw=_between(rng, (.09, .17)) if rng.random() < .88 + .2 * (comfort - 0.5) else 0.0,
        owned=tuple(owned),
    )


def household_day(household: Household, rng: np.random.Generator) -> FloatArray:
    """One day's mean kW of each minute, (1440,). What runs past midnight is put at the day's beginning."""
    load = np.full(DAY_MIN, household.standby_kw)
    if household.fridge_kw:
        load += household.fridge_kw * _thermostat(rng, DAY_MIN, .38, 40 + 25 * rng.random())
    _add_rooms(load, household, rng)
    for appliance, kw in household.owned:
        running = np.zeros(DAY_MIN)                       # two runs of one appliance do not add up
        for _ in range(_poisson(rng, appliance.runs)):
            minutes = int(_between(rng, appliance.minutes))
            on = np.ones(minutes) if appliance.duty >= 1 else _thermostat(
                rng, minutes, appliance.duty, appliance.cycle_min)
            at = (_start(rng, appliance.windows) + np.arange(minutes)) % DAY_MIN
            running[at] = np.maximum(running[at], on)
        load += kw * running
    return load


def _add_rooms(load: FloatArray, household: Household, rng: np.random.Generator) -> None:
    """Fans and lamps: lamps at dusk and before dawn, fans where people are, all night in the bedrooms."""
    for room in range(household.rooms):
        fan, lamp = _between(rng, (.045, .075)), _between(rng, (.009, .03))
        bedroom = room >= household.rooms // 2
        if bedroom:
            _run(load, fan, _around(rng, 21.9, .9), _around(rng, 30.0, .7))          # to six in the morning
            _run(load, lamp, _around(rng, 19.0, .8), _around(rng, 22.2, .6))
        else:
            _run(load, fan, _around(rng, 17.5, 1.5), _around(rng, 22.3, .7))
            _run(load, lamp, _around(rng, 18.4, .3), _around(rng, 22.5, .5))
            _run(load, lamp, _around(rng, 5.6, .4), _around(rng, 6.7, .3))
        if rng.random() < .55:
            _run(load, fan, _around(rng, 11.5, 1.5), _around(rng, 15.0, 1.2))
        if rng.random() < .4:
            _run(load, fan, _around(rng, 6.5, .5), _around(rng, 8.8, .6))


def _run(load: FloatArray, kw: float, from_hour: float, to_hour: float) -> None:
    load[np.arange(round(from_hour * 60), round(to_hour * 60)) % DAY_MIN] += kw


def _thermostat(rng: np.random.Generator, minutes: int, duty: float, cycle_min: float) -> FloatArray:
    """Share of each minute that a thermostat keeps its load on, (minutes,): a fixed cycle from a random point."""
    edges = np.arange(minutes + 1) + rng.random() * cycle_min
    on_time = np.floor(edges / cycle_min) * duty * cycle_min + np.minimum(edges % cycle_min, duty * cycle_min)
    return np.diff(on_time)


def _start(rng: np.random.Generator, windows: tuple[Window, ...]) -> int:
    """The minute a run starts: a window by its weight, then anywhere within."""
    pick = rng.random() * sum(weight for _, _, weight in windows)
    for begin, end, weight in windows:
        if pick < weight:
            return int(_between(rng, (begin, end)) * 60)
        pick -= weight
    return int(windows[-1][0] * 60)


def _poisson(rng: np.random.Generator, mean: float) -> int:
    count, left = 0, float(np.exp(-mean))
    product = float(rng.random())
    while product > left:
        count += 1
        product *= float(rng.random())
    return count


def _between(rng: np.random.Generator, low_high: tuple[float, float]) -> float:
    low, high = low_high
    return low + (high - low) * float(rng.random())


def _around(rng: np.random.Generator, centre: float, spread: float) -> float:
    return centre + spread * (2 * float(rng.random()) - 1)
