"""`smartphase site init` and `smartphase doctor`: make a site, and say what is wrong with one."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from balancer.errors import SmartPhaseError
from smartphase_tui.commands.common import UsageError, site_config

site_app = typer.Typer(help="A site: keys, operators, configuration.", rich_markup_mode=None)


@site_app.command("init")
def init(
    folder: Annotated[Path, typer.Argument(help="Where the site is made.", metavar="DIR")],
    feeder: Annotated[Path, typer.Option(help="The feeder folder.")],
    operator: Annotated[list[str] | None, typer.Option(
        help="NAME=ROLE (viewer, operator, engineer, field, admin); may be given again.")] = None,
) -> None:
    """Make a site: keys of every node, operators with their keys, and smartphased.toml. Keeps what exists.

    example: smartphase site init /etc/smartphase --feeder feeders/KL-TSR-0142 --operator anil=operator
    """
    from pi_service.seal import Role
    from pi_service.site import create_site

    roles: dict[str, Role] = {}
    for text in operator or ["admin=admin"]:
        name, _, role = text.partition("=")
        if not name.isidentifier() or role not in get_args(Role):
            raise UsageError(f"--operator {text!r}: write NAME=ROLE with a role of {', '.join(get_args(Role))}")
        roles[name] = cast(Role, role)
    config = create_site(folder, feeder, roles)
    print(f"{folder}: site for {Path(config.site.feeder).name}, operators {', '.join(roles)}")
    print(f"hand each operator their {folder}/operators/NAME.pem and delete it there; start smartphased --config "
          f"{folder}/smartphased.toml")


def doctor(
    site: Annotated[Path | None, typer.Option(help="The site's folder or smartphased.toml.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False,
) -> None:
    """Say what is wrong with a site, and how to mend it. Exit status 1 where something is.

    example: smartphase doctor --site /etc/smartphase
    """
    found = list(_examine(site_config(site)))
    if as_json:
        print(json.dumps([{"ok": ok, "what": what, "mend": mend} for ok, what, mend in found]))
    else:
        for ok, what, mend in found:
            print(f"{'ok  ' if ok else 'BAD '} {what}{'' if ok else ': ' + mend}")
    if not all(ok for ok, _, _ in found):
        raise typer.Exit(1)


def _examine(path: Path) -> Iterator[tuple[bool, str, str]]:
    """(sound, what was looked at, how to mend it)."""
    from pi_service.config import load_config
    from pi_service.seal import METER
    from pi_service.site import load_site
    from pi_service.store.chain import verify

    try:
        config = load_config(path)
        site = load_site(config)
    except SmartPhaseError as error:
        yield False, f"site {path.parent}", str(error)
        return
    yield True, f"feeder {site.feeder.feeder_id}, {len(site.feeder.houses)} houses", ""
    keyed = {node.house for node in site.nodes}
    missing = [name for name in (*site.feeder.house_ids, METER) if name not in keyed]
    yield not missing, "every house and the meter have keys", f"{', '.join(missing[:5])} have none: site init again"
    nodes = Path(config.site.dir) / "nodes.json"
    private = not stat.S_IMODE(os.stat(nodes).st_mode) & 0o077
    yield private, f"{nodes} is readable by its owner only", f"chmod 600 {nodes}"
    left = sorted((Path(config.site.dir) / "operators").glob("*.pem"))
    yield not left, "no operator's private key lies here", (
        f"{len(left)} do ({left[0].name if left else ''}): hand them over and delete them (a demo keeps them)")
    broker = config.broker
    yield _reaches(broker.host, broker.port), f"broker {broker.host}:{broker.port} answers", (
        "start it, or correct [broker] in smartphased.toml")
    local = config.broker.host in ("127.0.0.1", "localhost", "::1")
    yield config.broker.tls or local, "the broker is local or asked by TLS", "set [broker] tls, ca, certificate, key"
    audit = Path(config.site.data) / "audit.db"
    if audit.exists():
        result = verify(audit)
        yield result.ok, f"audit log, {result.rows} rows", f"{result.reason}; keep a copy and find out who wrote"
    free = os.statvfs(config.site.dir)
    megabytes = free.f_bavail * free.f_frsize // 2**20
    yield megabytes > 200, f"{megabytes} MB free", "make room: telemetry needs it"


def _reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True
