"""How long one decision of the planner takes at 55, 200 and 1000 houses: look-ahead, effects and limits included.

    python tests/bench/decision.py

Prints JSON: milliseconds, mean / p50 / p99 / max over 100 evening minutes of a lopsided street, one process.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")     # as the daemon's unit has it: its arrays are small

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from balancer.decision import Observation
from balancer.feeder_folder import read_feeder
from balancer.planner import Planner
from balancer.study import DEFAULT_START
from tests.conftest import write_feeder

MINUTES = 100


def measure(houses: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        feeder = read_feeder(write_feeder(Path(folder) / "feeder", houses=houses, minutes=2))
    planner, rng = Planner(feeder), np.random.default_rng(houses)
    phase = np.array([house.phase for house in feeder.houses])
    spent = []
    for minute in range(MINUTES + 30):
        load = rng.exponential(0.9 * 55 / houses, houses)
        observation = Observation(
            at=DEFAULT_START + 18 * 3600 + 60 * minute, phase=phase, load_kw=load, load_kvar=0.3 * load,
            pv_kw=np.zeros(houses), good=np.ones(houses, bool), pv_tripped=np.zeros(houses, bool),
            switches_today=np.zeros(houses, int), blocked=("",) * houses,
            transformer_voltage_v=np.full(3, 238.0), phase_current_a=np.full(3, 50.0))
        planner.observe(observation)
        if minute >= 30:
            started = time.perf_counter()
            planner.decide(observation)
            spent.append(1000 * (time.perf_counter() - started))
    return {"mean_ms": round(float(np.mean(spent)), 2), "p50_ms": round(float(np.percentile(spent, 50)), 2),
            "p99_ms": round(float(np.percentile(spent, 99)), 2), "max_ms": round(max(spent), 2)}


if __name__ == "__main__":
    print(json.dumps({"bench": "decision", "minutes": MINUTES, "houses": {n: measure(n) for n in (55, 200, 1000)}}))
