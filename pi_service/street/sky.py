"""The sun and the one sky over a street: what a roof could make each minute.

Clear sky: the sun's elevation (declination after Cooper 1969) and Haurwitz' global irradiance (1945),
`1098 sin(h) exp(-0.057 / sin(h))` W/m2. Clouds: one sequence of clear and clouded spells for the whole street,
more of them after noon, whose edge reaches the far poles up to two minutes later. Not here: what an inverter
makes after it tripped (`plant`).
"""

from __future__ import annotations

import numpy as np

from balancer.decision import FloatArray

DAY_MIN = 1440
CLOUD_DELAY_MIN = 2.0
PERFORMANCE = 0.80
"""AC energy over what the modules' rating promises: heat, dust, wiring, inverter."""


def clear_sky_w_m2(day_of_year: int, latitude: float, minute_of_day: FloatArray) -> FloatArray:
    """Global horizontal irradiance without clouds, W/m2, at minutes of the solar day."""
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day_of_year) / 365)
    hour_angle = (minute_of_day - 720) / 720 * np.pi
    place = np.radians(latitude)
    sine = np.sin(place) * np.sin(declination) + np.cos(place) * np.cos(declination) * np.cos(hour_angle)
    up = np.maximum(sine, 1e-3)
    return np.where(sine > 0, 1098 * up * np.exp(-0.057 / up), 0.0)


def clouds(rng: np.random.Generator) -> FloatArray:
    """One day's share of the clear sky's light that comes through, (1440,), 0..1; edges last about two minutes."""
    light = np.empty(DAY_MIN)
    at, clear = 0, True
    while at < DAY_MIN:
        afternoon = 1.0 if at > 780 else 0.4
        mean = 16 / (0.5 + afternoon) if clear else 7 * (0.5 + afternoon)
        spell = max(1, round(-mean * np.log1p(-rng.random())))
        light[at:at + spell] = 0.94 + 0.06 * rng.random() if clear else 0.25 + 0.45 * rng.random()
        at, clear = at + spell, not clear
    edge = np.array([0.25, 0.5, 0.25])
    return np.convolve(np.pad(light, 1, mode="edge"), edge, mode="valid")


def roof_kw(
    light: FloatArray, kwp: float, place_on_street: float, facing_min: float, soiling: float, day_of_year: int,
    latitude: float,
) -> FloatArray:
    """What one roof could make, kW, (1440,).

    `place_on_street` 0..1 delays the clouds; `facing_min` moves the roof's noon (east before, west after);
    `soiling` scales it.
    """
    minute = np.arange(DAY_MIN, dtype=np.float64)
    sun = clear_sky_w_m2(day_of_year, latitude, minute + 0.5 - facing_min)
    sun = np.where(clear_sky_w_m2(day_of_year, latitude, minute + 0.5) > 0, sun, 0.0)
    seen = np.interp(minute - CLOUD_DELAY_MIN * place_on_street, minute, light)
    return np.minimum(kwp, kwp * PERFORMANCE * soiling * seen * sun / 1000)
