"""What the commands share: finding the site's databases, times as people write them, progress, JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from balancer.errors import SmartPhaseError
from pi_service.clock import IST
from smartphase_tui.settings import ConnectionSettings

if TYPE_CHECKING:
    from pi_service.store.audit_reader import AuditReader
    from pi_service.store.telemetry_reader import TelemetryReader


class UsageError(SmartPhaseError):
    """A command was given something that it cannot take: exit status 2."""


def site_config(site: Path | None) -> Path:
    """The smartphased.toml that a command speaks of: of `--site`, of /etc, or of the last demo."""
    from pi_service.paths import state_dir

    places = [site] if site else [Path("/etc/smartphase"), state_dir() / "demo" / "site"]
    for place in places:
        path = place if place.suffix == ".toml" else place / "smartphased.toml"
        if path.exists():
            return path
    raise SmartPhaseError(f"no smartphased.toml in {' or '.join(map(str, places))}; name the site with --site DIR, "
                          "or see `smartphase demo`")


def of_site(settings: ConnectionSettings, path: Path, operator: str) -> ConnectionSettings:
    """The settings with what a site's smartphased.toml says of broker, feeder, databases and the operator's role."""
    from pi_service.config import load_config
    from pi_service.site import load_site, operator_role

    config = load_config(path)
    broker, data = config.broker, Path(config.site.data)
    feeder = load_site(config).feeder.feeder_id
    here = (data / "audit.db").exists()
    return replace(
        settings, host=broker.host, port=broker.port, tls_ca=Path(broker.ca) if broker.tls else None,
        username=broker.username, password=_password(broker.password_file), feeder=feeder,
        role=(operator_role(Path(config.site.dir), operator, feeder) if operator else None) or "viewer",
        site_dir=Path(config.site.dir), feeder_dir=Path(config.site.feeder),
        telemetry_db=data / "telemetry.db" if here else None, audit_db=data / "audit.db" if here else None)


def _password(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip() if file else ""
    except OSError as error:
        raise SmartPhaseError(f"{file}: {error.strerror}; correct broker.password_file") from error


@contextmanager
def audit_log(site: Path | None) -> Iterator[AuditReader]:
    """The site's audit log, read only."""
    from pi_service.config import load_config
    from pi_service.store.audit_reader import AuditReader

    reader = AuditReader.open_readonly(Path(load_config(site_config(site)).site.data) / "audit.db")
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def telemetry_log(site: Path | None) -> Iterator[TelemetryReader]:
    """The site's telemetry, read only."""
    from pi_service.config import load_config
    from pi_service.store.telemetry_reader import TelemetryReader

    reader = TelemetryReader.open_readonly(Path(load_config(site_config(site)).site.data) / "telemetry.db")
    try:
        yield reader
    finally:
        reader.close()


def moment(text: str, what: str) -> float:
    """An instant as people write it, in India's time: 2026-04-15, or 2026-04-15T14:30. Unix s."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=IST).timestamp()
    except ValueError as error:
        raise UsageError(f"{what} {text!r}: write it as 2026-04-15 or 2026-04-15T14:30") from error


def time_of_day(text: str, what: str) -> float:
    """Seconds after midnight of HH:MM."""
    try:
        at = datetime.strptime(text, "%H:%M")
    except ValueError as error:
        raise UsageError(f"{what} {text!r}: write it as HH:MM") from error
    return at.hour * 3600.0 + at.minute * 60.0


def check_outputs(*files: Path | None) -> None:
    """Before long work: may each of the files be written? Raises SmartPhaseError for one that may not."""
    for path in files:
        if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK) and not path.is_dir()):
            raise SmartPhaseError(f"{path}: cannot be written there; choose a file in a folder that you may write")


def write_json(path: Path, content: object) -> None:
    """Write JSON for a program; one line that says so where it cannot be written."""
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise SmartPhaseError(f"{path}: {error.strerror}; choose a file that you may write") from error


class Progress:
    """A line on stderr that counts up; silent where stderr is no terminal, but for every tenth."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._last = -1

    def __call__(self, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if sys.stderr.isatty():
            print(f"\r{self._what} {100 * done // max(total, 1):3d} %", end="\n" if done == total else "",
                  file=sys.stderr, flush=True)
        elif tenth != self._last:
            print(f"{self._what} {10 * tenth} %", file=sys.stderr, flush=True)
        self._last = tenth


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns aligned: the first to the left, the others to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join("  ".join(
        cell.ljust(width) if k == 0 else cell.rjust(width)
        for k, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows)


def score_table(scores: dict[str, dict[str, float]]) -> str:
    """Scored days side by side."""
    from pi_service.scorecard import rows

    return table(rows(scores))
