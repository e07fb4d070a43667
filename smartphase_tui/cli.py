"""The `smartphase` command. Every heavy import waits inside the command that needs it.

Exit status: 0 done, 1 failed, 2 wrong usage. An error is one line: what, where, what to do.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from balancer.errors import SmartPhaseError
from smartphase_tui.commands.common import UsageError, of_site, site_config
from smartphase_tui.commands.demo import demo
from smartphase_tui.commands.history import audit_app, log, why
from smartphase_tui.commands.report import report
from smartphase_tui.commands.site import doctor, site_app
from smartphase_tui.commands.study import study
from smartphase_tui.settings import ColourTier, ConnectionSettings, GlyphTier

app = typer.Typer(name="smartphase", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
for command in (demo, study, report, log, why, doctor):
    app.command()(command)
app.add_typer(audit_app, name="audit")
app.add_typer(site_app, name="site")


@app.callback(invoke_without_command=True)
def control_room(
    context: typer.Context,
    broker: Annotated[str | None, typer.Option(help="The broker, as HOST or HOST:PORT.")] = None,
    site: Annotated[Path | None, typer.Option(help="The site's folder: keys, and on the Pi its databases.")] = None,
    feeder: Annotated[str, typer.Option(help="The feeder's id; the first seen without it.")] = "",
    operator: Annotated[str, typer.Option(help="Who sits here; view-only without it.")] = "",
    key: Annotated[Path | None, typer.Option(help="The operator's private key (PEM); the site's without it.")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="The CA of the broker (PEM): TLS.")] = None,
    glyphs: Annotated[str, typer.Option(help="auto, ascii, cp437 or unicode.")] = "auto",
    colours: Annotated[str, typer.Option(help="auto, mono, 16 or truecolor.")] = "auto",
) -> None:
    """Watch and steer the phase balance of low-voltage feeders. Without a command: the control room.

    example: smartphase demo   |   smartphase --broker pi.local --operator anil --key anil.pem
    """
    if context.invoked_subcommand is not None:
        return
    from smartphase_tui import app as room

    settings = _settings(broker, site, feeder, operator, key, tls_ca, glyphs, colours)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SmartPhaseError("this is no terminal, the control room needs one; `smartphase log` and `report` do not")
    raise typer.Exit(room.run(settings))


def _settings(
    broker: str | None, site: Path | None, feeder: str, operator: str, key: Path | None, tls_ca: Path | None,
    glyphs: str, colours: str,
) -> ConnectionSettings:
    """Where to connect: what the options say, else what the site's own configuration says."""
    for name, value, kind in (("--glyphs", glyphs, GlyphTier), ("--colours", colours, ColourTier)):
        if value not in get_args(kind):
            raise UsageError(f"{name} {value!r}: choose from {', '.join(get_args(kind))}")
    settings = ConnectionSettings(glyphs=cast(GlyphTier, glyphs), colours=cast(ColourTier, colours))
    if broker is None or site is not None:
        settings = of_site(settings, site_config(site), operator)
    if broker is not None:
        host, _, given = broker.partition(":")
        if given and not given.isdigit():
            raise UsageError(f"--broker {broker!r}: write HOST or HOST:PORT")
        port = int(given) if given else (8883 if tls_ca or settings.tls_ca else 1883)
        settings = replace(settings, host=host, port=port)
    return replace(settings, tls_ca=tls_ca or settings.tls_ca, feeder=feeder or settings.feeder, operator=operator,
                   operator_key=key)


def main() -> int:
    """Entry point: runs the command, turns errors into one line and an exit status."""
    try:
        result = app(standalone_mode=False)
    except UsageError as error:
        print(f"smartphase: {error}", file=sys.stderr)
        return 2
    except SmartPhaseError as error:
        print(f"smartphase: {error}", file=sys.stderr)
        return 1
    except typer.TyperException as error:       # wrong options
        asked = getattr(getattr(error, "ctx", None), "command_path", "smartphase")
        print(f"smartphase: {error.format_message().rstrip('.')}; see {asked} --help", file=sys.stderr)
        return 2
    except BrokenPipeError:                     # who reads has seen enough: `smartphase log | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return 130
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
