"""audit.db: what was decided, asked, commanded, answered and raised; each row on disk before its side effect.

One append is one commit with synchronous=FULL: when `record_*` returns, a power cut does not take the row back.
A row that cannot be written raises StoreError, and the caller must not do what it wanted to log. A damaged file
is set aside and its intact rows are taken over into a fresh chain, marked `salvaged`, so that counters, tags and
pending switches survive. Not here: questions (`audit_reader`), the chain and its verification (`chain`).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from pi_service.contract import AlarmView, Mode, SwitchView
from pi_service.store import chain
from pi_service.store.audit_reader import AuditReader, TagRecord
from pi_service.store.chain import GENESIS, Head, Row, VerifyResult, verify
from pi_service.store.database import StoreBroken, StoreError, explained, open_database, set_aside

__all__ = ["AuditLog", "AuditReader", "VerifyResult", "verify"]
T = TypeVar("T")
_ENCODER = msgspec.json.Encoder(order="sorted")
_INSERT = "INSERT INTO audit VALUES (?,?,?,?,?,?,?,?,?)"


class AuditLog(AuditReader):
    """The one writer of audit.db.

    `replaced`: where a damaged file was put (None: none was found); `distrust`: "" or what was found wrong at the
    start with the chain's end (`verify` checks all of it).
    """

    def __init__(self, path: Path, at: float) -> None:
        self.replaced: Path | None = None
        self._cache: dict[tuple[object, ...], list[tuple[Any, ...]]] = {}
        self._at = at
        try:
            connection = open_database(path, "audit", "FULL")
        except StoreBroken:
            connection = self._renew(path, at)
        super().__init__(connection, path)
        self._height, self._head = self._repaired(lambda: self.head)
        self._head = self._head or GENESIS
        self.distrust = self._repaired(self._check_end)
        if not self.distrust:
            chain.write_head(path, Head(self._height, self._head))

    def append(self, kind: str, at: float, body: Mapping[str, object], ref: str = "", house: str = "") -> int:
        """Append a row and commit it to the disk; returns its number. Raises StoreError where that failed.

        `body` is anything that msgspec turns into JSON. A damaged file is replaced, then the row is written.
        """
        text = _ENCODER.encode(body).decode()
        self._at = at
        return self._repaired(lambda: self._append(kind, at, ref, house, text))

    # ---------------------------------------------------------------- typed rows

    def record_switch(self, at: float, view: SwitchView, **detail: object) -> int:
        """A transition: the switch as it now stands, with whatever evidence explains it."""
        return self.append("switch", at, {"view": view, **detail}, ref=view.id, house=view.house)

    def record_command(self, at: float, house: str, command_id: str, switch_id: str, cmd: Literal["switch", "query"],
                       counter: int, **detail: object) -> int:
        """A command, before it is sent. Its `counter` is never given out again."""
        body = {"switch": switch_id, "cmd": cmd, "counter": counter, **detail}
        return self.append("command", at, body, ref=command_id, house=house)

    def record_mode(self, at: float, mode: Mode, by: str, reason: str) -> int:
        return self.append("mode", at, {"mode": mode, "by": by, "reason": reason})

    def record_tag(self, at: float, tag: TagRecord) -> int:
        """A tag as placed or, with `cleared_by` set, as cleared."""
        return self.append("tag", at, {"tag": tag}, ref=tag.id, house=tag.house)

    def record_alarm(self, at: float, alarm: AlarmView) -> int:
        return self.append("alarm", at, {"alarm": alarm}, ref=alarm.id, house=alarm.house)

    def record_request(self, at: float, request_id: str, operator: str, action: object, ok: bool, reason: str) -> int:
        """An operator's request and its answer; its id is refused from now on."""
        body = {"operator": operator, "action": action, "ok": ok, "reason": reason}
        return self.append("request", at, body, ref=request_id)

    def record_decision(self, at: float, body: Mapping[str, object], house: str = "") -> int:
        """What the planner said. Log changes, not every minute: a row lives as long as the log."""
        return self.append("decision", at, body, house=house)

    def record_system(self, at: float, what: str, **detail: object) -> int:
        """Start, stop, a database replaced, a reconciliation: what happened to the daemon itself."""
        return self.append("system", at, {"what": what, **detail})

    def close(self) -> None:
        """Fold the journal into the file, put the file's digest beside it, and close."""
        with contextlib.suppress(sqlite3.Error, OSError):
            busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy and not self.distrust:
                chain.write_head(self._path, Head(self._height, self._head, chain.file_digest(self._path)))
        super().close()

    # ---------------------------------------------------------------- inside

    def _append(self, kind: str, at: float, ref: str, house: str, text: str) -> int:
        with _transaction(self._connection):
            height, head = _insert(self._connection, self._height, self._head, at, kind, ref, house, text, 0)
        self._height, self._head = height, head     # only now: a commit may be refused
        self._cache.clear()
        if not self.distrust:
            with contextlib.suppress(OSError):      # the row is on disk; the head file may lag
                chain.write_head(self._path, Head(self._height, self._head))
        return self._height

    def _check_end(self) -> str:
        """What is wrong with the end of the chain: cheap, at every start."""
        kept = chain.read_head(self._path)
        if self._height == 0:
            return "" if kept is None or kept.height == 0 else f"the log is empty, {kept.height} rows are missing"
        last = chain.row_of(self._connection.execute(
            f"SELECT {chain.COLUMNS} FROM audit ORDER BY id DESC LIMIT 1").fetchone())
        if not last.intact:
            return f"row {last.id} was changed"
        if kept is None:
            return f"{chain.head_path(self._path).name} is missing"
        found = self._connection.execute("SELECT hash FROM audit WHERE id = ?", (kept.height,)).fetchone()
        return "" if found and found[0] == kept.hash else f"row {kept.height} is not the one of the head file"

    def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """As the reader's, remembered until the next row: screens ask the same once a second."""
        key = (sql, *parameters)
        if key not in self._cache:
            self._cache[key] = self._repaired(lambda: super(AuditLog, self)._rows(sql, parameters))
        return self._cache[key]

    def _repaired(self, work: Callable[[], T]) -> T:
        """Do `work`; where the file turns out damaged, take over what reads into a fresh one and do it again."""
        try:
            return work()
        except (sqlite3.Error, StoreError) as error:
            known = explained(error, self._path) if isinstance(error, sqlite3.Error) else error
            if not isinstance(known, StoreBroken):
                raise known from error
        self._connection.close()
        self._connection = self._renew(self._path, self._at)
        self._cache.clear()
        self._height, self._head = AuditReader(self._connection, self._path).head
        try:
            return work()
        except sqlite3.Error as error:
            raise explained(error, self._path) from error

    def _renew(self, path: Path, at: float) -> sqlite3.Connection:
        """Set the damaged file aside and start a fresh chain with every row of it that is intact."""
        kept = chain.read_head(path)
        self.replaced = set_aside(path, at)
        fresh = open_database(path, "audit", "FULL")
        rows = list(_intact_rows(self.replaced, kept))
        expected = max([row.id for row in rows] + [kept.height if kept else 0])
        body = {"what": "audit log replaced", "aside": self.replaced.name, "salvaged": len(rows),
                "lost": expected - len(rows), "height": kept.height if kept else 0, "head": kept.hash if kept else ""}
        with _transaction(fresh):
            height, head = _insert(fresh, 0, GENESIS, at, "system", "", "", _ENCODER.encode(body).decode(), 0)
            for row in rows:
                height, head = _insert(fresh, height, head, row.at, row.kind, row.ref, row.house, row.body, row.id)
        chain.write_head(path, Head(height, head))
        return fresh


def _insert(db: sqlite3.Connection, height: int, head: str, at: float, kind: str, ref: str, house: str, body: str,
            salvaged: int) -> tuple[int, str]:
    row = Row(height + 1, float(at), kind, ref, house, body, salvaged, head, "")
    newest = chain.row_hash(row)
    db.execute(_INSERT, (row.id, row.at, kind, ref, house, body, salvaged, head, newest))
    return row.id, newest


def _intact_rows(path: Path, kept: Head | None) -> Iterator[Row]:
    """Rows of a damaged file that can be read and whose hash fits, one by one, past the holes."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as old:
        old.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        height = kept.height if kept else 0
        with contextlib.suppress(sqlite3.Error):
            height = max(height, old.execute("SELECT MAX(id) FROM audit").fetchone()[0] or 0)
        for number in range(1, height + 1):
            with contextlib.suppress(sqlite3.Error):
                found = old.execute(f"SELECT {chain.COLUMNS} FROM audit WHERE id = ?", (number,)).fetchone()
                if found and chain.row_of(found).intact:
                    yield chain.row_of(found)


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
