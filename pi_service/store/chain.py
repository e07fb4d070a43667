"""The hash chain of audit.db: each row's hash covers its content and the hash before it; and its verification.

hash = sha256(previous hash, newline, canonical JSON of at, body, house, id, kind, ref, salvaged), hex. The first
row's previous hash is 64 zeros. The head (number and hash of the last row) is also kept in a file beside the
database, written after every commit, so that a tail that was cut is found; when the log is closed that file also
takes the sha256 of the whole database, so that any byte changed at rest is found.

What this is worth: it finds accidents, edits of the database and cut tails. It does not stop who can write both
files and recompute the chain, nor who adds well-chained rows to a log that was not closed (its head file may lag
after a power cut); against that, compare with a head that is elsewhere (`AuditReader.head`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pi_service.store import database
from pi_service.store.database import StoreError

GENESIS = "0" * 64
_NO_DIGEST = "-" * 64
COLUMNS = "id, at, kind, ref, house, body, salvaged, previous, hash"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the chain as it stands in the file; `body` is its JSON text."""

    id: int
    at: float
    kind: str
    ref: str
    house: str
    body: str
    salvaged: int
    previous: str
    hash: str

    @property
    def intact(self) -> bool:
        """Whether the row's hash is that of its content."""
        return self.hash == row_hash(self)


@dataclass(frozen=True, slots=True)
class Head:
    """Number and hash of the last row; `digest` is the database file's sha256 where the log was closed."""

    height: int
    hash: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """`ok`: every row stands. Else `first_bad` is the first row that does not (None: no single one) and `reason`
    says in one line what is wrong. `rows` that stand before it; `head`: hash of the last of them."""

    ok: bool
    rows: int
    head: str
    first_bad: int | None = None
    reason: str = ""


def row_hash(row: Row) -> str:
    """The hash that `row` must carry, from its content and `previous`."""
    content = msgspec.json.encode({"at": row.at, "house": _exact(row.house), "id": row.id, "kind": _exact(row.kind),
                                   "ref": _exact(row.ref), "salvaged": row.salvaged}, order="sorted")
    canonical = b'%s\n{"body":%s,%s' % (_exact(row.previous).encode(), _bytes(row.body), content[1:])
    return hashlib.sha256(canonical).hexdigest()


def row_of(columns: tuple[int, float, str, str, str, str, int, str, str]) -> Row:
    return Row(*columns)


def verify(path: Path) -> VerifyResult:
    """Check the whole of an audit database against its chain, its schema, its indexes and its head file.

    Beside a running daemon too. Raises StoreError only where there is no such file.
    """
    if not path.exists():
        raise StoreError(f"{path}: there is no audit log here; name the daemon's data directory")
    head = read_head(path)
    at_rest = not (wal := Path(f"{path}-wal")).exists() or wal.stat().st_size == 0
    touched = bool(head and head.digest and at_rest and head.digest != file_digest(path))
    try:
        connection = database.open_readonly(path, "audit")
    except StoreError as error:
        return VerifyResult(False, 0, GENESIS, None, str(error))
    with contextlib.closing(connection):
        return _verify(connection, path, head, touched)


def _verify(connection: sqlite3.Connection, path: Path, head: Head | None, touched: bool) -> VerifyResult:
    last = GENESIS
    count = 0
    try:
        connection.execute("BEGIN")     # one state of the file for all that follows
        head = read_head(path) if head is not None and not head.digest else head
        for row in walk(connection):
            count += 1
            wrong = _wrong(row, count, last)
            if wrong or (head and count == head.height and row.hash != head.hash):
                return VerifyResult(False, count - 1, last, count, wrong or f"row {count} is not the one that the "
                                    f"head file names: the chain was rewritten")
            last = row.hash
        reason = _around(connection)
    except (sqlite3.Error, UnicodeError) as error:
        said = " ".join(str(error).split())
        return VerifyResult(False, count, last, count + 1, f"row {count + 1} cannot be read: {said}")
    if head is None and count:
        reason = f"{head_path(path).name} is missing beside the database: a tail may have been cut"
    elif head is not None and count < head.height:
        return VerifyResult(False, count, last, count + 1,
                            f"row {count + 1} is missing: the head file names {head.height} rows")
    elif not reason and touched:
        reason = "every row stands, but the file is not as it was closed: a byte outside the rows was changed"
    return VerifyResult(not reason, count, last, None, reason)


def _wrong(row: Row, number: int, previous: str) -> str:
    if row.id != number:
        return f"row {number} is missing: row {row.id} follows"
    if row.previous != previous:
        return f"row {number} does not name the hash of row {number - 1}"
    return "" if row.intact else f"row {number} ({row.kind} {row.ref}) was changed: its hash does not fit"


def _around(connection: sqlite3.Connection) -> str:
    """What is wrong beside the rows: the schema (a trigger taken away) or an index."""
    with contextlib.closing(sqlite3.connect(":memory:")) as pristine:
        database.create(pristine, "audit")
        query = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
        if connection.execute(query).fetchall() != pristine.execute(query).fetchall():
            return "the schema was changed: the triggers that keep the log append-only may be gone"
    found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    return "" if found == "ok" else f"the rows stand, but SQLite finds the file damaged: {' '.join(found.split())}"


def walk(connection: sqlite3.Connection) -> Iterator[Row]:
    """All rows in order, from the table itself and byte for byte."""
    connection.text_factory = _text
    yield from map(row_of, connection.execute(f"SELECT {COLUMNS} FROM audit NOT INDEXED ORDER BY id"))


# ---------------------------------------------------------------- the head file


def head_path(path: Path) -> Path:
    return path.with_suffix(".head")


def read_head(path: Path) -> Head | None:
    """The head kept beside the database at `path`; None where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        height, newest, digest = head_path(path).read_text(encoding="ascii").split()
        return Head(int(height), newest, "" if digest == _NO_DIGEST else digest)
    return None


def write_head(path: Path, head: Head) -> None:
    """Overwrite the head file in place, in one small write. Not synced: after a power cut it may be some rows
    behind the database (which is), never ahead of it."""
    record = f"{head.height:012d} {head.hash} {head.digest or _NO_DIGEST}\n".encode("ascii")
    descriptor = os.open(head_path(path), os.O_WRONLY | os.O_CREAT, 0o640)
    try:
        os.pwrite(descriptor, record, 0)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _exact(text: str) -> str:
    """The text's bytes as characters: JSON can carry them, and no two texts become the same."""
    return _bytes(text).decode("latin-1")
