"""`smartphase report`: the period's report as a PDF, from the site's databases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smartphase_tui.commands.common import UsageError, check_outputs, moment, site_config


def report(
    start: Annotated[str, typer.Option("--from", help="From, as 2026-04-15 or 2026-04-15T06:00 (India's time).")],
    end: Annotated[str, typer.Option("--to", help="To, likewise; not included.")],
    out: Annotated[Path, typer.Option(help="The PDF to write.")],
    site: Annotated[Path | None, typer.Option(help="The site's folder or smartphased.toml.")] = None,
) -> None:
    """Write the report of a period.

    example: smartphase report --from 2026-04-15 --to 2026-04-16 --out day.pdf
    """
    from balancer.feeder_folder import read_feeder
    from pi_service.config import load_config
    from pi_service.report import report_from_files

    since, until = moment(start, "--from"), moment(end, "--to")
    if until <= since:
        raise UsageError(f"--to {end} is not after --from {start}")
    check_outputs(out)
    config = load_config(site_config(site))
    data, feeder = Path(config.site.data), read_feeder(Path(config.site.feeder))
    report_from_files(out, feeder, data / "telemetry.db", data / "audit.db", since, until)
    print(f"report: {out}")
