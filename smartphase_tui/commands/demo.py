"""`smartphase demo`: broker, street, daemon and control room in one go; `--headless` a whole day without a screen."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from balancer.errors import SmartPhaseError
from smartphase_tui.commands.common import Progress, UsageError, check_outputs, score_table, time_of_day, write_json

SCENARIOS = {"walkthrough": ("walkthrough", "09:00", 10.0, 1.0)}
"""By name: the feeder folder, when it begins, how fast it runs on a screen, how many hours it takes headless."""


def demo(
    feeder: Annotated[Path | None, typer.Option(help="Feeder folder; the Kerala street without it.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="A day in lockstep without a screen.")] = False,
    speed: Annotated[float | None, typer.Option(help="Plant s a second, on the screen.", min=0.1, max=600)] = None,
    hours: Annotated[float | None, typer.Option(help="Hours, headless; 24 without it.", min=0.02, max=720)] = None,
    start: Annotated[str | None, typer.Option(help="Time of day at the start; headless 00:00 without it.")] = None,
    seed: Annotated[int, typer.Option(help="Of sensors and boards: the same seed, the same day.")] = 0,
    fault: Annotated[list[str] | None, typer.Option(
        help="Inject a fault, as node-dead:H007@09:30; may be given again.")] = None,
    scenario: Annotated[str | None, typer.Option(help="A named story: walkthrough.")] = None,
    mode: Annotated[str, typer.Option(help="Mode at the start: AUTO or MANUAL.")] = "AUTO",
    operator: Annotated[str, typer.Option(help="Who sits at the screen: anil, devi, admin, guest.")] = "anil",
    state: Annotated[Path | None, typer.Option(help="Folder for site and databases; made afresh.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the headless day's figures here.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the headless day's PDF here.")] = None,
) -> None:
    """The whole of SmartPhase on a simulated street: broker, houses, daemon, control room.

    example: smartphase demo --headless --hours 24 --seed 0 --json day.json --report day.pdf
    """
    from pi_service.paths import data_dir, state_dir
    from pi_service.street.faults import FaultError, parse_fault

    if scenario is not None and scenario not in SCENARIOS:
        raise UsageError(f"scenario {scenario!r}: choose from {', '.join(SCENARIOS)}")
    story = SCENARIOS.get(scenario or "", ("kerala_street", "06:30", 60.0, 24.0))
    folder_name, story_start, story_speed, story_hours = story
    folder = feeder or data_dir() / "feeders" / folder_name
    faults = tuple(fault or ())
    for text in faults:
        try:
            parse_fault(text)
        except FaultError as error:
            raise UsageError(str(error)) from error
    check_outputs(json_file, report)
    if mode not in ("AUTO", "MANUAL"):
        raise UsageError(f"mode {mode!r}: choose AUTO or MANUAL")
    if headless:
        begin = time_of_day(start or (story_start if scenario else "00:00"), "--start")
        _headless(folder, begin, seed, hours or story_hours, faults, state, json_file, report)
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SmartPhaseError("this is no terminal, the control room needs one; add --headless for a day without it")
    _live(folder, state or state_dir() / "demo", time_of_day(start or story_start, "--start"), speed or story_speed,
          seed, faults, mode, operator)


def _live(folder: Path, state: Path, start_s: float, speed: float, seed: int, faults: tuple[str, ...], mode: str,
          operator: str) -> None:
    from balancer.feeder_folder import read_feeder
    from balancer.study import DEFAULT_START
    from pi_service.demo import DemoPlan, start_demo
    from pi_service.site import operator_role
    from smartphase_tui import app
    from smartphase_tui.settings import ConnectionSettings

    feeder = read_feeder(folder)
    plan = DemoPlan(str(state), str(folder.resolve()), DEFAULT_START + start_s, speed, seed, faults, mode)
    print(f"starting {feeder.name}: broker, daemon, {len(feeder.houses)} houses", file=sys.stderr)
    with start_demo(plan) as running:
        status = app.run(ConnectionSettings(
            host=running.host, port=running.port, feeder=feeder.feeder_id, operator=operator,
            role=operator_role(running.site, operator, feeder.feeder_id) or "viewer", site_dir=running.site,
            feeder_dir=folder, telemetry_db=running.data / "telemetry.db", audit_db=running.data / "audit.db",
            report_dir=Path.cwd()))
    if status:
        raise typer.Exit(status)


def _headless(folder: Path, start_s: float, seed: int, hours: float, faults: tuple[str, ...], state: Path | None,
              json_file: Path | None, report: Path | None) -> None:
    from balancer.study import DEFAULT_START
    from pi_service.demo import fresh_folder
    from pi_service.street.day import run_day
    from pi_service.street.faults import parse_fault

    if state is not None:
        fresh_folder(state)
    needs_folder = report is not None and state is None
    if needs_folder:
        from pi_service.paths import state_dir

        state = state_dir() / "day"
        fresh_folder(state)
    result = asyncio.run(run_day(
        folder, seed=seed, hours=hours, start=DEFAULT_START + start_s, faults=[parse_fault(text) for text in faults],
        site_dir=state, progress=Progress("simulated day")))
    feeder = result.feeder
    if json_file is not None:
        write_json(json_file, {
            "feeder": feeder.feeder_id, "seed": seed, "hours": hours, "faults": list(faults),
            "before": result.before, "after": result.after,
            "switch_log": list(result.switch_log),
            "switches": [_builtins(view) for view in result.switches],
            "alarms": [_builtins(alarm) for alarm in result.alarms],
            "counters": result.counters, "overlap_ms": result.overlap_ms, "broker": result.broker,
            "elapsed_s": round(result.elapsed_s, 1),
        })
    print(f"{feeder.name} ({feeder.feeder_id}), {hours:g} h, seed {seed}, {result.broker}, "
          f"{result.elapsed_s:.0f} s")
    print(score_table({"before": result.before, "after": result.after}))
    ends: dict[str, int] = {}
    for view in result.switches:
        ends[view.state] = ends.get(view.state, 0) + 1
    print("switches ended: " + (", ".join(f"{count} {end}" for end, count in sorted(ends.items())) or "none made"))
    print(f"two phases together: {result.overlap_ms} ms")
    for alarm in result.alarms:
        print(f"alarm {alarm.priority} {alarm.name} {alarm.house} {alarm.state}: {alarm.text}")
    if report is not None:
        from pi_service.report import report_from_files

        report_from_files(report, feeder, result.telemetry_db, result.audit_db, result.start,
                          result.start + hours * 3600)
        print(f"report: {report}")


def _builtins(view: object) -> object:
    import msgspec

    return msgspec.to_builtins(view)
