"""`smartphase study DIR`: what SmartPhase would do on a feeder, policies side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from balancer.errors import SmartPhaseError
from smartphase_tui.commands.common import Progress, UsageError, check_outputs, score_table, write_json


def _progress(policy: str) -> Callable[[str, int, int], None]:
    line = Progress(f"study {policy}")
    return lambda _, done, total: line(done, total)


def study(
    folder: Annotated[Path, typer.Argument(help="Feeder folder.", metavar="DIR")],
    policy: Annotated[list[str] | None, typer.Option(
        help="none, seed_rule, static, smartphase, oracle; may be given again. All without it.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    plan: Annotated[Path | None, typer.Option(help="Write the smartphase policy's phases and PV here (.npz).")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a PDF here.")] = None,
) -> None:
    """Replay a feeder's days under each policy and set the results side by side.

    static and oracle know the day beforehand; smartphase does not.

    example: smartphase study data/feeders/kerala_street --json study.json --report study.pdf
    """
    import numpy as np

    from balancer.feeder_folder import read_feeder, read_profiles
    from balancer.study import POLICIES, run_policy

    for name in policy or ():
        if name not in POLICIES:
            raise UsageError(f"--policy {name!r}: choose from {', '.join(POLICIES)}")
    check_outputs(json_file, plan, report)
    feeder = read_feeder(folder)
    profiles = read_profiles(folder, feeder)
    names = list(policy or POLICIES)
    if plan is not None and "smartphase" not in names:
        names.append("smartphase")
    runs = {}
    for name in names:
        runs[name] = run_policy(feeder, profiles, name, progress=_progress(name))
    scores = {name: run.score for name, run in runs.items()}
    print(f"{feeder.name} ({feeder.feeder_id}), {len(feeder.houses)} houses, {profiles.minutes} minutes, "
          f"transformer {feeder.transformer.kva:g} kVA")
    print(score_table(scores))
    if json_file is not None:
        write_json(json_file, {"feeder": feeder.feeder_id, "policies": scores})
    if plan is not None:
        try:
            np.savez_compressed(plan, phase=runs["smartphase"].phase, pv_kw=runs["smartphase"].pv_kw)
        except OSError as error:
            raise SmartPhaseError(f"{plan}: {error.strerror}; choose a file that you may write") from error
    if report is not None:
        from pi_service.report import study_report

        study_report(report, feeder, profiles, runs)
        print(f"report: {report}")
