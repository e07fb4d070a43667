"""`smartphase log`, `smartphase audit verify`, `smartphase why`: what happened, from the audit log."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from balancer.errors import SmartPhaseError
from smartphase_tui.commands.common import audit_log, moment, site_config, table

audit_app = typer.Typer(help="The audit log.", rich_markup_mode=None)

Site = Annotated[Path | None, typer.Option(help="The site's folder or smartphased.toml.")]


def log(
    site: Site = None,
    since: Annotated[str | None, typer.Option(help="From, as 2026-04-15T14:30 (India's time).")] = None,
    until: Annotated[str | None, typer.Option(help="To, likewise.")] = None,
    house: Annotated[str, typer.Option(help="One house only.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=100_000)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines.")] = False,
) -> None:
    """The switch log, newest first.

    example: smartphase log --site /etc/smartphase --house H023
    """
    import msgspec

    from pi_service.clock import local

    start = moment(since, "--since") if since else -math.inf
    end = moment(until, "--until") if until else math.inf
    with audit_log(site) as audit:
        views = [v for v in audit.switches(None, start, end) if not house or v.house == house][:limit]
    if as_json:
        for view in views:
            print(json.dumps(msgspec.to_builtins(view)))
        return
    rows = [("time", "id", "who", "house", "move", "ended", "neutral", "why")]
    for v in views:
        change = "" if v.neutral_before_a is None or v.neutral_after_a is None else (
            f"{v.neutral_before_a:.0f}>{v.neutral_after_a:.0f} A")
        state = f"{v.state} (undone by {v.undone_by})" if v.undone_by else v.state
        rows.append((f"{local(v.at):%Y-%m-%d %H:%M:%S}", v.id, v.origin, v.house, f"{v.from_phase}>{v.to_phase}",
                     state, change, v.reason))
    print(table(rows) if views else "no switch in this period")


@audit_app.command("verify")
def verify(
    site: Site = None,
    file: Annotated[Path | None, typer.Option(help="An audit.db, instead of the site's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False,
) -> None:
    """Check every row of the audit log against its chain. Exit status 1 where one was changed.

    example: smartphase audit verify --site /etc/smartphase
    """
    from dataclasses import asdict

    from pi_service.config import load_config
    from pi_service.store.chain import verify as check

    path = file or Path(load_config(site_config(site)).site.data) / "audit.db"
    result = check(path)
    if as_json:
        print(json.dumps({"file": str(path), **asdict(result)}))
    elif result.ok:
        print(f"{path}: {result.rows} rows, chain intact, head {result.head[:16]}")
    if not result.ok:
        if not as_json:
            raise SmartPhaseError(f"{path}: {result.reason} ({result.rows} rows before it stand)")
        raise typer.Exit(1)


def why(
    house: Annotated[str, typer.Argument(help="The house, as H023.")],
    site: Site = None,
    limit: Annotated[int, typer.Option(help="At most so many lines.", min=1, max=10_000)] = 40,
) -> None:
    """Why a house was moved or not: its switches, and the decisions in which it was weighed.

    example: smartphase why H023
    """
    from pi_service.clock import local

    lines: list[str] = []
    with audit_log(site) as audit:
        for row in audit.rows(kinds=("switch", "decision"), limit=None):
            if row.kind == "switch" and row.house == house:
                view = row.body["view"]
                lines.append(f"{local(row.at):%d %H:%M:%S} {view['id']} {view['from_phase']}>{view['to_phase']} by "
                             f"{view['origin']} {view['state']}: {row.body.get('proof') or view.get('reason', '')}")
            elif row.kind == "decision":
                lines += [f"{local(row.at):%d %H:%M:%S} weighed: {one['move']} brings {one['gain']:.0f} A2h, costs "
                          f"{one['price']:.0f}{', vetoed: ' + one['veto'] if one['veto'] else ''}"
                          for one in row.body["best"] if one["move"].startswith(house + " ")]
            if len(lines) >= limit:
                break
    print("\n".join(lines[:limit]) or f"nothing is recorded about {house}")
