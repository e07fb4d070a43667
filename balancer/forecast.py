"""What each house will draw and make over the next hours, from what a site honestly knows.

Load: the house's usual day (the utility's bill spread over a household's day, replaced by its own measured day
as days go by), plus how far it is off that now, which fades. PV: rating x clear sky x the sky that all PV
houses see now. A house whose inverter tripped is not the sky's: it counts as producing again when its
reconnect time is over. Never looks at the future. Not here: what to do about it (`planner`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from balancer.decision import FloatArray, Observation
from balancer.feeder import Feeder

QUARTERS = 96
_IST_S = 19_800
_DAY_S = 86_400
_DEFAULT_LATITUDE, _DEFAULT_LONGITUDE = 10.5, 76.2      # the middle of Kerala, where the folder does not tell

# A household's day, hour by hour, as a share of its mean: the shape of residential load with a morning and an
# evening peak (after the CEA load-shape studies of Indian households). Only the shape matters: bills scale it.
_HOURLY_SHAPE = np.array([0.65, 0.55, 0.50, 0.50, 0.55, 0.75, 1.05, 1.20, 1.10, 0.95, 0.90, 0.90,
                          0.95, 0.90, 0.85, 0.85, 0.95, 1.15, 1.55, 1.90, 1.90, 1.65, 1.30, 0.90])
_HABIT_DAYS = 4.0       # own history outweighs the bill after this many days
_FADE_S = 2700.0        # how long a house stays off its usual day
_SMOOTH_S = 300.0       # what "now" means for a load that jumps
_LONGEST_GAP_S = 3000.0  # a longer pause counts as this: what was before it is forgotten anyway
_SKY_SMOOTH_S = 300.0


@dataclass
class _Memory:
    """What is learnt; arrays are saved as they stand."""

    level_kw: FloatArray            # (n,) smoothed load
    usual_sum: FloatArray           # (n, 96) own load summed per quarter of the day
    usual_count: FloatArray         # (n, 96)
    pv_ratio: FloatArray            # (n,) own production over what the common sky gives
    sky: float                      # production over clear sky, of all PV houses together
    seen_at: float                  # time of the last observation; -inf before the first


class Forecast:
    """Learns from `observe` and answers `ahead`. Deterministic."""

    def __init__(self, feeder: Feeder) -> None:
        n = len(feeder.houses)
        self._kwp = np.array([house.pv_kwp for house in feeder.houses])
        bill_kw = np.array([house.monthly_kwh for house in feeder.houses]) / 30 / 24
        shape = np.repeat(_HOURLY_SHAPE / _HOURLY_SHAPE.mean(), 4)
        self._bill_day = bill_kw[:, None] * np.convolve(np.concatenate([shape[-2:], shape, shape[:2]]),
                                                         np.ones(5) / 5, "valid")[None, :]
        self._tan = np.tan(np.arccos([house.power_factor for house in feeder.houses]))
        located = math.isfinite(feeder.latitude)
        self._latitude = feeder.latitude if located else _DEFAULT_LATITUDE
        self._longitude = feeder.longitude if located else _DEFAULT_LONGITUDE
        self._memory = _Memory(bill_kw.copy(), np.zeros((n, QUARTERS)), np.zeros((n, QUARTERS)),
                               np.ones(n), 0.7, -math.inf)

    # ------------------------------------------------------------ learn

    def observe(self, observation: Observation) -> None:
        """Take one instant in; call it about once a minute. What is not good is not learnt."""
        memory = self._memory
        elapsed = min(max(observation.at - memory.seen_at, 0.0), _LONGEST_GAP_S)
        good = observation.good & np.isfinite(observation.load_kw)
        weight = 1 - math.exp(-elapsed / _SMOOTH_S)
        memory.level_kw[good] += weight * (observation.load_kw[good] - memory.level_kw[good])
        quarter = _quarter(observation.at)
        memory.usual_sum[good, quarter] += observation.load_kw[good] * min(elapsed, 60.0)
        memory.usual_count[good, quarter] += min(elapsed, 60.0)
        self._see_the_sky(observation, elapsed)
        memory.seen_at = observation.at

    def _see_the_sky(self, observation: Observation, elapsed: float) -> None:
        memory, clear = self._memory, self.clear_sky(observation.at)
        producing = (self._kwp > 0) & observation.good & ~observation.pv_tripped & np.isfinite(observation.pv_kw)
        if clear < 0.05 or not producing.any():
            return
        expected = self._kwp[producing] * clear
        seen = observation.pv_kw[producing]
        weight = 1 - math.exp(-elapsed / _SKY_SMOOTH_S)
        memory.sky += weight * (float(seen.sum() / expected.sum()) - memory.sky)
        if memory.sky > 0.1:
            own = seen / expected / memory.sky
            memory.pv_ratio[producing] += weight / 3 * (np.clip(own, 0, 2) - memory.pv_ratio[producing])

    # ------------------------------------------------------------ answer

    def usual_kw(self, at: FloatArray) -> FloatArray:
        """(n, K) load of the usual day at the instants `at` (K,), Unix s: bill and own history blended, kW."""
        quarter = ((at + _IST_S) % _DAY_S // 900).astype(int)
        memory = self._memory
        days = memory.usual_count / 900.0
        own = np.divide(memory.usual_sum, memory.usual_count, out=np.zeros_like(days), where=memory.usual_count > 0)
        trust = days / (days + _HABIT_DAYS)
        blended = trust * own + (1 - trust) * self._bill_day
        return np.asarray(blended[:, quarter])

    def ahead(self, observation: Observation, at: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Load (n, K) kW, reactive power kvar and PV kW at the instants `at` (K,), Unix s, from `observation` on."""
        usual = self.usual_kw(at)
        now = self.usual_kw(np.array([observation.at]))[:, 0]
        fade = np.exp(-(at - observation.at) / _FADE_S)
        load = np.maximum(usual + (self._memory.level_kw - now)[:, None] * fade[None, :], 0.0)
        reactive = load * self._tan[:, None]
        return load, reactive, self.pv_ahead(at)

    def pv_ahead(self, at: FloatArray) -> FloatArray:
        """(n, K) PV at the instants `at`, kW, under today's sky."""
        clear = np.array([self.clear_sky(float(t)) for t in at])
        memory = self._memory
        return np.asarray((self._kwp * memory.pv_ratio)[:, None] * clear[None, :] * memory.sky)

    def pv_usual(self, at: FloatArray, sky: float = 0.7) -> FloatArray:
        """(n, K) PV of a usual day at the instants `at`, kW: for plans made before the sun is up."""
        clear = np.array([self.clear_sky(float(t)) for t in at])
        return np.asarray(self._kwp[:, None] * clear[None, :] * sky)

    def clear_sky(self, at: float) -> float:
        """Share of its rating that a flat PV array makes under a clear sky: sine of the sun's height, 0 to 1.

        Declination after Cooper (1969), equation of time left out (at most 16 minutes).
        """
        day = (at + _IST_S) % (_DAY_S * 365.25) / _DAY_S
        declination = math.radians(23.45) * math.sin(2 * math.pi * (284 + day) / 365.25)
        solar_hour = (at / 3600 + self._longitude / 15) % 24
        height = (math.sin(math.radians(self._latitude)) * math.sin(declination)
                  + math.cos(math.radians(self._latitude)) * math.cos(declination)
                  * math.cos(math.radians(15 * (solar_hour - 12))))
        return max(height, 0.0)

    # ------------------------------------------------------------ keep

    def state(self) -> dict[str, FloatArray]:
        """What was learnt, as arrays, to be kept across a restart."""
        memory = self._memory
        return {"level_kw": memory.level_kw, "usual_sum": memory.usual_sum, "usual_count": memory.usual_count,
                "pv_ratio": memory.pv_ratio, "scalars": np.array([memory.sky, memory.seen_at])}

    def restore(self, state: dict[str, FloatArray]) -> None:
        """Take back what `state` gave. Ignored where the number of houses is another: learn anew."""
        if state["level_kw"].shape != self._memory.level_kw.shape:
            return
        sky, seen_at = (float(x) for x in state["scalars"])
        self._memory = _Memory(state["level_kw"].copy(), state["usual_sum"].copy(), state["usual_count"].copy(),
                               state["pv_ratio"].copy(), sky, seen_at)


def _quarter(at: float) -> int:
    return int((at + _IST_S) % _DAY_S // 900)
