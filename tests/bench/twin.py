"""The power flow: how long one step takes at 55, 200 and 1000 houses, and how far it is from OpenDSS.

    python tests/bench/twin.py [FEEDER_DIR]

Prints JSON: milliseconds a single solve (best of several rounds: what the code needs, not what the machine was
busy with), seconds for a day of 1440 minutes in one batch, and, on the feeder given (else on a synthetic street of
55 houses), the largest difference to OpenDSS with four wires over several minutes and phase assignments.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import timeit
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")     # as the daemon's unit has it: its arrays are small

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from balancer.feeder import Feeder
from balancer.feeder_folder import read_feeder
from balancer.network import Network
from tests.conftest import write_feeder

MINUTES = (30, 480, 745, 1170)
REFEREE = Path(__file__).resolve().parents[1] / "balancer" / "test_network.py"


def load_referee() -> ModuleType:
    """The OpenDSS model that the tests use."""
    spec = importlib.util.spec_from_file_location("referee", REFEREE)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{REFEREE} is missing: it holds the OpenDSS model")
    referee = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(referee)
    return referee


def speed(feeder: Feeder) -> dict[str, float]:
    """Random phases; 55 kW on the feeder however many houses it has."""
    houses, rng = len(feeder.houses), np.random.default_rng(0)
    network = Network(feeder)
    phase = rng.integers(0, 3, (houses, 1440))
    kw = rng.exponential(55 / houses, (houses, 1440))
    kvar = 0.3 * kw
    one = phase[:, 0].copy(), kw[:, 0].copy(), kvar[:, 0].copy()
    single = min(timeit.repeat(lambda: network.solve(*one), number=50, repeat=7)) / 50
    day = min(timeit.repeat(lambda: network.solve_batch(phase, kw, kvar), number=1, repeat=3))
    return {"single_ms": round(single * 1000, 3), "day_of_1440_s": round(day, 3)}


def accuracy(referee: ModuleType, folder: Path | None, pattern: Path) -> dict[str, float | str | int]:
    """Largest difference to OpenDSS: published phases, and random ones with houses open; mixed power factors."""
    off = {"neutral_ma": 0.0, "vuf_points": 0.0, "house_voltage_v": 0.0, "line_loss_percent": 0.0}
    for minute in MINUTES:
        for phases in ("published", "random"):
            instant = referee._instant(folder, pattern, minute, phases)
            ours, theirs = Network(instant[0]).solve(*instant[1:]), referee._solve_in_opendss(*instant)
            turn = ours.transformer_voltage[0] / abs(ours.transformer_voltage[0])
            found = {
                "neutral_ma": 1000 * abs(float(ours.neutral_current_a) - theirs["neutral_a"]),
                "vuf_points": abs(float(ours.vuf_transformer_percent) - theirs["vuf_percent"]),
                "house_voltage_v": float(np.abs(ours.house_voltages / turn - theirs["house_volts"]).max()),
                "line_loss_percent": 100 * abs(float(ours.line_loss_kw) / theirs["line_loss_kw"] - 1),
            }
            off = {name: max(off[name], found[name]) for name in off}
    where = str(folder) if folder else "synthetic"
    return {"feeder": where, "instants": 2 * len(MINUTES), **{name: round(x, 6) for name, x in off.items()}}


def main() -> None:
    referee = load_referee()
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as scratch:
        pattern = write_feeder(Path(scratch) / "street")
        street = read_feeder(pattern)
        print(json.dumps({
            "speed": {str(n): speed(referee._branched(street, n, per_bus=1)) for n in (55, 200, 1000)},
            "against_opendss": accuracy(referee, folder, pattern),
        }, indent=1))


if __name__ == "__main__":
    main()
