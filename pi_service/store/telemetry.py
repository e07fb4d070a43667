"""telemetry.db: readings as they came, their roll-ups of 1 and 15 minutes, and how long each is kept.

The writer batches (an SD card wears by commits), never raises into the control loop (`fault` says what is
wrong, the batch waits, bounded) and replaces a damaged file by a fresh one with what could be read of the old
roll-ups. Readers use `TelemetryReader`, also beside a running daemon. Not here: decisions and switches (`audit`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from balancer.feeder import Feeder, House
from pi_service.contract import MeterReading, Reading
from pi_service.feeder_state import Held, net_power
from pi_service.figures import vuf_of
from pi_service.store import rollup
from pi_service.store.database import StoreBroken, StoreError, explained, is_broken, open_database, set_aside
from pi_service.store.telemetry_reader import TelemetryReader

T = TypeVar("T")
DAY_S = 86_400.0
_READING = "INSERT INTO reading VALUES (?,?,?,?,?,?,?,?,?)"
_METER = "INSERT INTO meter_reading VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """commit_s: how often a batch is written (plant s). keep_*_days: retention. pending_rows: the most that
    waits while the disk refuses; then the oldest is lost and counted. purge_rows: deleted at most a minute, so
    that neither a purge nor a clock that is far ahead empties the file in one go."""

    commit_s: float = 10.0
    keep_readings_days: float = 2.0
    keep_minutes_days: float = 92.0
    keep_quarters_days: float = 1830.0
    pending_rows: int = 100_000
    purge_rows: int = 20_000


class TelemetryStore(TelemetryReader):
    """The one writer of telemetry.db.

    `fault`: "" or, in one line, why nothing can be written now. `replaced`: where a damaged file was put, None
    where none was found since the start. `lost`: rows dropped while the disk refused. `written`: rows committed.
    """

    def __init__(self, path: Path, feeder: Feeder, at: float,
                 settings: TelemetrySettings = TelemetrySettings()) -> None:
        self.fault = ""
        self.replaced: Path | None = None
        self.lost = 0
        self.written = 0
        self._path, self._feeder, self._settings = path, feeder, settings
        self._readings: list[tuple[object, ...]] = []
        self._meter: list[tuple[object, ...]] = []
        self._committed_at, self._rolled_at = at, at
        try:
            connection = open_database(path, "telemetry", "NORMAL")
        except StoreBroken:
            connection = self._renew(at)
        super().__init__(connection, path)
        self._ids = self._run(self._name_houses, at) or {}

    def add_reading(self, house: House, held: Held[Reading], phase: int) -> None:
        """Keep a reading; `phase` is the house's confirmed one (0, 1, 2, or -1). Written with the batch."""
        reading = held.reading
        kw, kvar = net_power(house, reading)
        good = int(held.sealed and not held.doubtful)
        self._readings.append((held.at, self._ids.get(house.house_id, 0), phase, good, reading.voltage,
                               reading.current, kw, kvar, reading.solar_injection))

    def add_meter(self, held: Held[MeterReading]) -> None:
        """Keep a reading of the meter. Written with the batch."""
        reading = held.reading
        self._meter.append((held.at, int(held.sealed and not held.doubtful), *reading.voltage, *reading.current,
                            *reading.power, *reading.reactive_power, reading.neutral_current, vuf_of(reading)))

    def tick(self, now: float) -> None:
        """Commit, roll up and purge when each is due at plant time `now`. Raises nothing."""
        if now - self._rolled_at >= 60.0 or now < self._rolled_at or int(now // 60) != int(self._rolled_at // 60):
            self.roll_up(now)
        elif now - self._committed_at >= self._settings.commit_s or now < self._committed_at:
            self.commit(now)

    def commit(self, now: float) -> bool:
        """Write the batch now. False, with `fault` set, where the disk refuses."""
        self._committed_at = now
        return self._run(self._write, now) is not None

    def roll_up(self, now: float) -> bool:
        """Commit, then bring the 1- and 15-minute tables up to `now` and purge what is too old."""
        self._committed_at = self._rolled_at = now
        return self._run(lambda: self._write() and self._roll(now), now) is not None

    def close(self, now: float | None = None) -> None:
        """Commit and, where `now` is given, roll up; then close."""
        if now is None:
            self.commit(self._committed_at)
        else:
            self.roll_up(now)
        super().close()

    # ---------------------------------------------------------------- inside

    def _write(self) -> bool:
        rows = len(self._readings) + len(self._meter)
        with self._transaction() as db:
            db.executemany(_READING, self._readings)
            db.executemany(_METER, self._meter)
        self._readings, self._meter = [], []
        self.written += rows
        return True

    def _roll(self, now: float) -> bool:
        settings = self._settings
        with self._transaction() as db:
            rollup.roll_up(db, now, now - settings.keep_readings_days * DAY_S)
            for tables, days in (
                (("reading", "meter_reading"), settings.keep_readings_days),
                (("house_minute", "feeder_minute"), settings.keep_minutes_days),
                (("house_quarter", "feeder_quarter"), settings.keep_quarters_days),
            ):
                for table in tables:
                    rollup.purge(db, table, now - days * DAY_S, settings.purge_rows)
        return True

    def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """As the reader's, but a fault is kept in `fault` and answers nothing: the control loop goes on."""
        return self._run(lambda: self._connection.execute(sql, parameters).fetchall(), self._committed_at) or []

    def _run(self, work: Callable[[], T], now: float) -> T | None:
        """Do `work`; on a damaged file start a fresh one and do it again; on a refusing disk say so."""
        for _ in range(2):
            try:
                done = work()
            except sqlite3.Error as error:
                if not is_broken(error):
                    self.fault = str(explained(error, self._path))
                    break
                self._connection.close()
                try:
                    self._connection = self._renew(now)
                    self._ids = self._name_houses()
                except (StoreError, OSError, sqlite3.Error) as failure:
                    self.fault = str(failure)
                    break
            else:
                self.fault = ""
                return done
        self._shed()
        return None

    def _shed(self) -> None:
        for batch in (self._readings, self._meter):
            extra = len(batch) - self._settings.pending_rows
            if extra > 0:
                del batch[:extra]
                self.lost += extra

    def _name_houses(self) -> dict[str, int]:
        with self._transaction() as db:
            db.executemany("INSERT OR IGNORE INTO house (name) VALUES (?)",
                           [(name,) for name in self._feeder.house_ids])
        return {name: number for number, name in self._connection.execute("SELECT id, name FROM house")}

    def _renew(self, now: float) -> sqlite3.Connection:
        """Set the damaged file aside, open a fresh one and copy what reads of the old roll-ups."""
        self.replaced = set_aside(self._path, now)
        fresh = open_database(self._path, "telemetry", "NORMAL")
        rollup.salvage(self.replaced, fresh, now - 2 * DAY_S)
        return fresh
