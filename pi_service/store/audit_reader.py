"""Questions to audit.db: switches, modes, tags, alarms, requests, decisions, as they stand and as they came.

Everything is asked from the one chained table. For consoles beside a running daemon (`open_readonly`), and the
base of the writer. Spans are [since, until), Unix s.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pi_service.contract import FINAL_STATES, AlarmView, Mode, SwitchView, TagKind
from pi_service.store import database

V = TypeVar("V")
LETTERS = {"S": "switch", "A": "alarm", "T": "tag", "C": "command"}
LAST_NUMBER = 999_999
_COLUMNS = "id, at, kind, ref, house, body, salvaged, hash"


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row: its number, time (Unix s), kind, the id of what it is about, the house, its JSON body, its hash."""

    id: int
    at: float
    kind: str
    ref: str
    house: str
    body: dict[str, Any]
    salvaged: int
    hash: str


class ModeRecord(msgspec.Struct, frozen=True):
    """The mode as it was last set."""

    mode: Mode
    by: str
    reason: str
    at: float


class TagRecord(msgspec.Struct, frozen=True):
    """A tag on a house, or on the feeder where `house` is "". `cleared_by` "" while it stands."""

    id: str
    house: str
    kind: TagKind
    by: str
    reason: str
    at: float
    cleared_by: str = ""
    cleared_at: float | None = None


class AuditReader:
    """Questions to audit.db. All raise store.database.StoreError where the file cannot be read."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    @classmethod
    def open_readonly(cls, path: Path) -> AuditReader:
        """Open beside a running daemon. Raises store.database.StoreError."""
        return AuditReader(database.open_readonly(path, "audit"), path)

    # ---------------------------------------------------------------- switches

    def switches(self, limit: int | None = 50, since: float = -math.inf,
                 until: float = math.inf) -> tuple[SwitchView, ...]:
        """Switches as they stand, newest first, that were proposed within the span; `undone_by` filled in."""
        undone = self._undone()
        return tuple(
            msgspec.structs.replace(view, undone_by=undone.get(view.id, view.undone_by))
            for view in self._latest("switch", "view", SwitchView, limit, since, until))

    def switch(self, switch_id: str) -> SwitchView | None:
        """The switch as it stands, None where there is no such id."""
        row = self.last("switch", ref=switch_id)
        if row is None:
            return None
        view = msgspec.convert(row.body["view"], SwitchView)
        return msgspec.structs.replace(view, undone_by=self._undone().get(switch_id, view.undone_by))

    def pending(self) -> tuple[SwitchView, ...]:
        """Switches that are not in a final state, oldest first: what a restart must ask the nodes about."""
        views = self._latest("switch", "view", SwitchView)
        return tuple(view for view in reversed(views) if view.state not in FINAL_STATES)

    def switches_since(self, since: float) -> dict[str, int]:
        """How many switches each house was commanded since `since` (local midnight: its budget), by house id."""
        rows = self._rows(
            "SELECT house, COUNT(DISTINCT json_extract(body, '$.switch')) FROM audit WHERE kind = 'command' "
            "AND at >= ? AND json_extract(body, '$.cmd') = 'switch' GROUP BY house ORDER BY house", (since,))
        return {house: int(count) for house, count in rows}

    def counter(self, house: str) -> int:
        """The next command counter of `house`: one above the highest that was ever written down."""
        rows = self._rows("SELECT MAX(json_extract(body, '$.counter')) FROM audit WHERE house = ? AND kind = 'command'",
                          (house,))
        return int(rows[0][0] or 0) + 1 if rows else 1

    # ---------------------------------------------------------------- modes, tags, alarms, requests

    def mode(self) -> ModeRecord | None:
        """The mode that was last set, None before the first."""
        row = self.last("mode")
        return None if row is None else msgspec.convert({**row.body, "at": row.at}, ModeRecord)

    def tags(self) -> tuple[TagRecord, ...]:
        """The tags that stand, oldest first."""
        every = self._latest("tag", "tag", TagRecord)
        return tuple(tag for tag in reversed(every) if not tag.cleared_by)

    def alarms(self, limit: int | None = 200, since: float = -math.inf,
               until: float = math.inf) -> tuple[AlarmView, ...]:
        """Alarms as they stand or ended, newest first, that were raised within the span."""
        return self._latest("alarm", "alarm", AlarmView, limit, since, until)

    def standing_alarms(self) -> tuple[AlarmView, ...]:
        """Alarms that are not CLEARED, oldest first: what `Alarms` starts from after a restart."""
        return tuple(alarm for alarm in reversed(self.alarms(None)) if alarm.state != "CLEARED")

    def request_seen(self, request_id: str) -> bool:
        """Whether a request of this id was already answered: a second one is a replay."""
        return bool(self._rows("SELECT 1 FROM audit WHERE kind = 'request' AND ref = ? LIMIT 1", (request_id,)))

    # ---------------------------------------------------------------- rows

    def rows(self, since: float = -math.inf, until: float = math.inf, kinds: Sequence[str] = (), house: str = "",
             ref: str = "", limit: int | None = 200, newest_first: bool = True) -> tuple[AuditRow, ...]:
        """Rows of the span, narrowed by kinds, house and ref where they are given."""
        where, values = ["at >= ?", "at < ?"], [since, until]
        parameters: list[object] = list(values)
        if kinds:
            where.append(f"kind IN ({','.join('?' * len(kinds))})")
            parameters += kinds
        for column, value in (("house", house), ("ref", ref)):
            if value:
                where.append(f"{column} = ?")
                parameters.append(value)
        parameters.append(-1 if limit is None else limit)
        order = "DESC" if newest_first else "ASC"
        return tuple(map(_row, self._rows(
            f"SELECT {_COLUMNS} FROM audit WHERE {' AND '.join(where)} ORDER BY id {order} LIMIT ?",
            tuple(parameters))))

    def last(self, kind: str, ref: str = "", house: str = "") -> AuditRow | None:
        """The newest row of a kind, of one `ref` or one `house` where given."""
        found = self.rows(kinds=(kind,), ref=ref, house=house, limit=1)
        return found[0] if found else None

    def next_id(self, letter: str) -> str:
        """The next free id of a switch ("S"), alarm ("A"), tag ("T") or command ("C"): S000001, S000002, ..."""
        rows = self._rows("SELECT MAX(ref) FROM audit WHERE kind = ?", (LETTERS[letter],))
        number = int(rows[0][0][1:]) + 1 if rows and rows[0][0] else 1
        if number > LAST_NUMBER:
            raise database.StoreError(f"{self._path}: the ids of {LETTERS[letter]}s are used up; archive the log")
        return f"{letter}{number:06d}"

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the last row: print it where it can be compared later."""
        rows = self._rows("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1", ())
        return (int(rows[0][0]), str(rows[0][1])) if rows else (0, "")

    def close(self) -> None:
        self._connection.close()

    # ---------------------------------------------------------------- inside

    def _undone(self) -> dict[str, str]:
        """By switch id: the id of the switch that took it back, where one did."""
        rows = self._rows(
            "SELECT json_extract(body, '$.view.undo_of') AS old, MAX(ref) FROM audit INDEXED BY audit_undo "
            "WHERE kind = 'switch' AND json_extract(body, '$.view.undo_of') IS NOT NULL "
            "AND json_extract(body, '$.view.state') = 'VERIFIED' GROUP BY old", ())
        return {str(old): str(new) for old, new in rows}

    def _latest(self, kind: str, key: str, view: type[V], limit: int | None = None, since: float = -math.inf,
                until: float = math.inf) -> tuple[V, ...]:
        """The newest body[key] of each ref of a kind whose first row lies in the span; newest ref first."""
        rows = self._rows(
            "SELECT body FROM audit WHERE id IN (SELECT MAX(id) FROM audit WHERE kind = ? GROUP BY ref "
            "HAVING MIN(at) >= ? AND MIN(at) < ? ORDER BY ref DESC LIMIT ?) ORDER BY ref DESC",
            (kind, since, until, -1 if limit is None else limit))
        return tuple(msgspec.convert(msgspec.json.decode(body)[key], view) for (body,) in rows)

    def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise database.explained(error, self._path) from error


def _row(columns: tuple[Any, ...]) -> AuditRow:
    number, at, kind, ref, house, body, salvaged, row_hash = columns
    return AuditRow(number, at, kind, ref, house, msgspec.json.decode(body), salvaged, row_hash)
