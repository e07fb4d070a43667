"""Roll-ups of telemetry.db in SQL: which minutes changed, their means, retention, and what a damaged file keeps.

What is rolled is remembered by rowid, not by time: a reading that comes late has its minute rolled again, and
a power cut between a reading and its roll-up loses nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

MINUTE_S, QUARTER_S = 60, 900
_SALVAGED = ("feeder_minute", "feeder_quarter", "house_quarter", "house_minute")

# Means over a span, of the sealed rows where the span has any, each row with the weight of its readings.
# SQLite takes `phase` from the row that MAX(at) names: the last one of the span.
_HOUSES = """
    WITH span AS (SELECT *, {weight} AS weight FROM {source} WHERE at >= :start AND at < :end),
         best AS (SELECT house, MAX(good) AS good FROM span GROUP BY house)
    INSERT INTO {into}
    SELECT :start, house, phase, good, weight, voltage_v, current_a, net_kw, net_kvar, solar_kw FROM (
        SELECT house, phase, good, MAX(at), SUM(weight) AS weight, {means}
        FROM span JOIN best USING (house, good) GROUP BY house)
"""
_FEEDER = """
    WITH span AS (SELECT *, {weight} AS weight FROM {source} WHERE at >= :start AND at < :end),
         best AS (SELECT MAX(good) AS good FROM span)
    INSERT INTO {into}
    SELECT :start, good, SUM(weight), {means}, MAX({highest}), SUM(vuf_percent * weight) / SUM(
        CASE WHEN vuf_percent IS NULL THEN 0 ELSE weight END)
    FROM span JOIN best USING (good) GROUP BY good
"""
_HOUSE_COLUMNS = ("voltage_v", "current_a", "net_kw", "net_kvar", "solar_kw")
_PHASES = ("r_v", "y_v", "b_v", "r_a", "y_a", "b_a")
_RAW_FEEDER = (*_PHASES, "(r_kw + y_kw + b_kw)", "(r_kvar + y_kvar + b_kvar)", "neutral_a")
_MINUTE_FEEDER = (*_PHASES, "kw", "kvar", "neutral_a")


def _means(columns: tuple[str, ...]) -> str:
    return ", ".join(f"SUM({column} * weight) / SUM(weight) AS {column if column.isidentifier() else 'sum'}"
                     for column in columns)


_HOUSE_MINUTE = _HOUSES.format(weight="1", source="reading", into="house_minute", means=_means(_HOUSE_COLUMNS))
_HOUSE_QUARTER = _HOUSES.format(weight="readings", source="house_minute", into="house_quarter",
                                means=_means(_HOUSE_COLUMNS))
_FEEDER_MINUTE = _FEEDER.format(weight="1", source="meter_reading", into="feeder_minute", highest="neutral_a",
                                means=_means(_RAW_FEEDER))
_FEEDER_QUARTER = _FEEDER.format(weight="readings", source="feeder_minute", into="feeder_quarter",
                                 highest="neutral_a_max", means=_means(_MINUTE_FEEDER))


def roll_up(db: sqlite3.Connection, now: float, raw_since: float) -> None:
    """Bring the four roll-up tables up to `now` (Unix s); only whole minutes and quarters are written.

    Minutes before `raw_since` are left as they are: their readings may be purged in part. Within a transaction.
    """
    closed = int(now // MINUTE_S) * MINUTE_S
    for source, minute, minute_sql, quarter, quarter_sql in (
        ("reading", "house_minute", _HOUSE_MINUTE, "house_quarter", _HOUSE_QUARTER),
        ("meter_reading", "feeder_minute", _FEEDER_MINUTE, "feeder_quarter", _FEEDER_QUARTER),
    ):
        minutes = _changed_minutes(db, source, raw_since, closed)
        for start in minutes:
            _replace(db, minute, minute_sql, start, MINUTE_S)
        for start in _changed_quarters(db, minute, minutes, closed):
            _replace(db, quarter, quarter_sql, start, QUARTER_S)


def purge(db: sqlite3.Connection, table: str, before: float, limit: int) -> None:
    """Delete up to `limit` of the rows of `table` that are older than `before` (Unix s).

    The newest row stays: SQLite would give its number out again, and the roll-ups go by numbers.
    """
    db.execute(f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE at < ? "
               f"AND rowid < (SELECT MAX(rowid) FROM {table}) LIMIT ?)", (before, limit))


def salvage(broken: Path, fresh: sqlite3.Connection, minutes_since: float) -> None:
    """Copy into `fresh` what still reads of a damaged file: house names, the quarters, the feeder's minutes and
    the houses' minutes since `minutes_since`."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(broken)) as old:
        fresh.executemany("INSERT OR IGNORE INTO house VALUES (?,?)", old.execute("SELECT id, name FROM house"))
        for table in _SALVAGED:
            with contextlib.suppress(sqlite3.Error):
                since = minutes_since if table == "house_minute" else 0
                places = ",".join("?" * len(fresh.execute(f"PRAGMA table_info({table})").fetchall()))
                rows = old.execute(f"SELECT * FROM {table} WHERE at >= ?", (since,))
                while some := rows.fetchmany(1000):
                    fresh.executemany(f"INSERT INTO {table} VALUES ({places})", some)


def _changed_minutes(db: sqlite3.Connection, source: str, since: float, closed: int) -> list[int]:
    """Starts of the closed minutes that got readings since the last time; moves the mark on."""
    mark = _mark(db, source)
    minutes = db.execute(
        f"SELECT DISTINCT CAST(at / {MINUTE_S} AS INTEGER) * {MINUTE_S} AS start FROM {source} "
        "WHERE rowid > ? AND at >= ? AND at < ? ORDER BY start", (mark, since, closed)).fetchall()
    first_open = db.execute(f"SELECT MIN(rowid) - 1 FROM {source} WHERE rowid > ? AND at >= ?",
                            (mark, closed)).fetchone()[0]
    last = db.execute(f"SELECT MAX(rowid) FROM {source}").fetchone()[0]
    _set_mark(db, source, mark if last is None else last if first_open is None else first_open)
    return [start for (start,) in minutes]


def _changed_quarters(db: sqlite3.Connection, minute: str, minutes: list[int], closed: int) -> list[int]:
    """Starts of the closed quarters that are new or hold a changed minute; moves the mark on."""
    mark, end = _mark(db, minute), closed // QUARTER_S * QUARTER_S
    new = {start for (start,) in db.execute(
        f"SELECT DISTINCT at / {QUARTER_S} * {QUARTER_S} FROM {minute} WHERE at >= ? AND at < ?", (mark, end))}
    _set_mark(db, minute, max(mark, end))
    return sorted(new | {q for q in (start // QUARTER_S * QUARTER_S for start in minutes) if q < end})


def _replace(db: sqlite3.Connection, table: str, sql: str, start: int, length: int) -> None:
    db.execute(f"DELETE FROM {table} WHERE at = ?", (start,))
    db.execute(sql, {"start": start, "end": start + length})


def _mark(db: sqlite3.Connection, name: str) -> int:
    row = db.execute("SELECT value FROM mark WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def _set_mark(db: sqlite3.Connection, name: str, value: int) -> None:
    db.execute("INSERT INTO mark VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value))
