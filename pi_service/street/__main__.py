"""The live street as a process of its own, for `make demo`: every house a connection to the broker.

    python -m pi_service.street --site DIR --feeder DIR --port 1883 --speed 60
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

from balancer.errors import SmartPhaseError
from balancer.feeder_folder import read_feeder, read_profiles
from pi_service.clock import ScaledClock
from pi_service.site import read_nodes
from pi_service.street.faults import parse_fault
from pi_service.street.house import NodeSettings
from pi_service.street.live import LiveStreet, Place
from pi_service.street.street import StreetSettings


def main(argv: list[str] | None = None) -> int:
    """Run the street until SIGTERM or Ctrl-C. Exit 0, or 1 with one line."""
    options = _parser().parse_args(argv)
    failed = False
    try:
        asyncio.run(_run(options))
    except* SmartPhaseError as errors:
        print(f"street: {errors.exceptions[0]}", file=sys.stderr)
        failed = True
    return int(failed)


async def _run(options: argparse.Namespace) -> None:
    feeder = read_feeder(options.feeder)
    wall = time.time()
    clock = ScaledClock(options.wall_start or wall, options.plant_start or wall, options.speed)
    live = LiveStreet(
        feeder, read_profiles(options.feeder, feeder), read_nodes(options.site), clock,
        Place(options.host, options.port),
        StreetSettings(seed=options.seed, reconnect_s=options.reconnect, nodes=NodeSettings(speed=options.speed)),
        tuple(parse_fault(text) for text in options.fault))
    task = asyncio.ensure_future(live.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pi_service.street", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, required=True, help="folder with the site's keys")
    parser.add_argument("--feeder", type=Path, required=True, help="feeder folder")
    parser.add_argument("--host", default="127.0.0.1", help="the broker's host")
    parser.add_argument("--port", type=int, default=1883, help="the broker's port")
    parser.add_argument("--wall-start", type=float, help="Unix s at which the plant's calendar stood at --plant-start")
    parser.add_argument("--plant-start", type=float, help="Unix s of the plant's calendar then")
    parser.add_argument("--speed", type=float, default=1.0, help="plant seconds a second")
    parser.add_argument("--seed", type=int, default=0, help="of sensors and boards")
    parser.add_argument("--reconnect", type=float, default=300.0, help="plant s that PV stays off after a switch")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME[:SUBJECT]@HH:MM[,for=MIN]",
                        help="a fault to inject, as node-dead:H007@09:30; may be given more than once")
    return parser


if __name__ == "__main__":
    sys.exit(main())
