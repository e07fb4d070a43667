"""Opening SQLite files: pragmas, migrations from `schema/*.sql`, read-only access, setting a broken file aside.

Not here: what is stored (`telemetry`, `audit`).
"""

from __future__ import annotations

import os
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Literal

from balancer.errors import SmartPhaseError

Kind = Literal["telemetry", "audit"]
_APPLICATION_ID = {"telemetry": 0x53505431, "audit": 0x53504131}     # "SPT1", "SPA1"
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class StoreError(SmartPhaseError):
    """A database that cannot be opened, read or written: names the file and what to do."""


class StoreBroken(StoreError):
    """The file is damaged: it must be set aside."""


def open_database(path: Path, kind: Kind, synchronous: Literal["NORMAL", "FULL"]) -> sqlite3.Connection:
    """Open for writing (WAL), creating and migrating as needed. One writer; autocommit, explicit BEGIN.

    Raises StoreBroken for a damaged file, StoreError for one of another program, a newer version, or a disk
    that cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: {error}; check the disk and the rights on {path.parent}") from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA secure_delete = ON")
        _migrate(connection, path, kind)
    except sqlite3.Error as error:
        connection.close()
        raise explained(error, path) from error
    except StoreError:
        connection.close()
        raise
    return connection


def open_readonly(path: Path, kind: Kind) -> sqlite3.Connection:
    """Open for reading beside a running daemon, or a file that nobody writes, even on a read-only disk.

    Raises StoreError (missing, another program's, newer) and StoreBroken (damaged).
    """
    if not path.exists():
        raise StoreError(f"{path}: there is no such database; is the daemon's data directory right?")
    at_rest = not Path(f"{path}-wal").exists() and not os.access(path.parent, os.W_OK)
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if at_rest else ''}",
                                     uri=True, isolation_level=None, timeout=10.0)
    except sqlite3.Error as error:
        raise explained(error, path) from error
    try:
        version = _version(connection, path, kind)
    except sqlite3.Error as error:
        connection.close()
        raise explained(error, path) from error
    if version != len(_migrations(kind)):
        connection.close()
        raise StoreError(f"{path}: version {version}, this program reads {len(_migrations(kind))}; start the "
                         "daemon of this version once to bring it up to date")
    return connection


def create(connection: sqlite3.Connection, kind: Kind) -> None:
    """Bring an empty database to the present schema."""
    _migrate(connection, Path(":memory:"), kind)


def set_aside(path: Path, at: float) -> Path:
    """Rename a broken database and its journal to `<name>.corrupt-<Unix s>`; returns the new path."""
    target = path.with_name(f"{path.name}.corrupt-{int(at)}")
    attempt = 1
    while target.exists():
        attempt += 1
        target = path.with_name(f"{path.name}.corrupt-{int(at)}-{attempt}")
    for suffix in ("", "-wal", "-shm"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.rename(f"{target}{suffix}")
    return target


def is_broken(error: sqlite3.Error) -> bool:
    """Whether an error means a damaged file, rather than a full disk, a lock or a missing right."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _BROKEN


def explained(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's error in one line with what to do."""
    said = " ".join(str(error).split())
    if is_broken(error):
        return StoreBroken(f"{path}: damaged ({said})")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    advice = {
        sqlite3.SQLITE_FULL: "free some space on the disk",
        sqlite3.SQLITE_READONLY: "the disk is read-only: check it and remount",
        sqlite3.SQLITE_CANTOPEN: f"check the rights on {path.parent}",
        sqlite3.SQLITE_BUSY: "another program holds it: stop the second daemon",
        sqlite3.SQLITE_CONSTRAINT: "another program wrote to it: stop the second daemon",
        sqlite3.SQLITE_IOERR: "the disk failed or is full: check it",
    }.get(code, "check the disk")
    return StoreError(f"{path}: {said}; {advice}")


def _migrations(kind: Kind) -> list[str]:
    """The migrations of a database in order; number n brings version n - 1 to n."""
    folder = resources.files("pi_service.store") / "schema"
    names = sorted(file.name for file in folder.iterdir() if file.name.startswith(f"{kind}_"))
    return [(folder / name).read_text(encoding="utf-8") for name in names]


def _version(connection: sqlite3.Connection, path: Path, kind: Kind) -> int:
    """The file's version, 0 for an empty one. Raises StoreError for another program's or a newer file."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if tables and owner != _APPLICATION_ID[kind]:
        raise StoreError(f"{path}: not a SmartPhase {kind} database; move it away or name another data directory")
    if version > len(_migrations(kind)):
        raise StoreError(f"{path}: version {version} was written by a newer SmartPhase; install that one")
    return version


def _migrate(connection: sqlite3.Connection, path: Path, kind: Kind) -> None:
    version = _version(connection, path, kind)
    for number, script in enumerate(_migrations(kind)[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {script}\nPRAGMA application_id = {_APPLICATION_ID[kind]};"
            f"PRAGMA user_version = {number}; COMMIT;"
        )
