"""Reading telemetry.db: the minutes of the feeder and of its houses, as lists or as arrays.

For consoles and reports beside a running daemon (`open_readonly`), and the base of the writer.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from balancer.decision import BoolArray, FloatArray, IntArray
from pi_service.contract import FeederMinute
from pi_service.store import database
from pi_service.store.rollup import MINUTE_S

N = TypeVar("N", bound=np.generic)


@dataclass(frozen=True, slots=True)
class HouseMinutes:
    """One-minute means, n houses x T minutes; nan (phase -1, good False) where a house was silent.

    `minutes` (T,) Unix s of each minute's start; `net_kw`, `net_kvar` import positive; `solar_kw` >= 0;
    `phase` 0/1/2 as confirmed at the minute's end; `voltage_v`, `current_a` rms; `good`: from sealed readings.
    """

    houses: tuple[str, ...]
    minutes: IntArray
    net_kw: FloatArray
    net_kvar: FloatArray
    solar_kw: FloatArray
    voltage_v: FloatArray
    current_a: FloatArray
    phase: IntArray
    good: BoolArray

    def held(self, minutes: int) -> HouseMinutes:
        """The same with gaps of at most `minutes` filled by the last value before them (`good` stays False)."""
        steps = np.arange(self.minutes.size)
        known = np.isfinite(self.net_kw)
        last = np.maximum.accumulate(np.where(known, steps, -1), axis=1)
        usable = (last >= 0) & (steps - last <= minutes)
        source = np.where(usable, last, steps)

        def fill(values: NDArray[N]) -> NDArray[N]:
            return np.take_along_axis(values, source, axis=1)

        return HouseMinutes(
            self.houses, self.minutes, net_kw=fill(self.net_kw), net_kvar=fill(self.net_kvar),
            solar_kw=fill(self.solar_kw), voltage_v=fill(self.voltage_v), current_a=fill(self.current_a),
            phase=fill(self.phase), good=self.good)


class TelemetryReader:
    """Questions to telemetry.db. Spans are [since, until), Unix s."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    @classmethod
    def open_readonly(cls, path: Path) -> TelemetryReader:
        """Open beside a running daemon. Raises store.database.StoreError."""
        return TelemetryReader(database.open_readonly(path, "telemetry"), path)

    @property
    def houses(self) -> tuple[str, ...]:
        """The houses that were ever recorded, in the feeder's order."""
        return tuple(name for (name,) in self._rows("SELECT name FROM house ORDER BY id", ()))

    def span(self) -> tuple[float, float] | None:
        """[since, until) of the recorded minutes, None where there is none."""
        for first, last in self._rows("SELECT MIN(at), MAX(at) FROM house_minute", ()):
            return None if first is None else (float(first), float(last) + MINUTE_S)
        return None

    def feeder_minutes(self, since: float, until: float, limit: int | None = None) -> list[FeederMinute]:
        """The feeder's minutes in order of time, at most `limit` of them (all without). Silent minutes are absent."""
        rows = self._rows(
            "SELECT at, r_a, y_a, b_a, r_v, y_v, b_v, kw, neutral_a, vuf_percent FROM feeder_minute "
            "WHERE at >= ? AND at < ? ORDER BY at LIMIT ?", (since, until, -1 if limit is None else limit))
        return [FeederMinute(float(at), (ra, ya, ba), (rv, yv, bv), kw, neutral, vuf)
                for at, ra, ya, ba, rv, yv, bv, kw, neutral, vuf in rows]

    def neutral_history(self, now: float, minutes: int = 60) -> tuple[float | None, ...]:
        """Neutral current of the last `minutes` whole minutes before `now`, A, oldest first; None where silent."""
        end = int(now // MINUTE_S) * MINUTE_S
        start = end - minutes * MINUTE_S
        known: dict[int, float] = dict(self._rows(
            "SELECT at, neutral_a FROM feeder_minute WHERE at >= ? AND at < ?", (start, end)))
        return tuple(known.get(at) for at in range(start, end, MINUTE_S))

    def house_minutes(self, since: float, until: float, houses: Sequence[str] | None = None) -> HouseMinutes:
        """The houses' minutes as arrays. `houses` sets the order of axis 0 (the recorded order without)."""
        names = tuple(self.houses if houses is None else houses)
        start = int(since // MINUTE_S) * MINUTE_S
        count = max(0, -int(-(until - start) // MINUTE_S))
        ids: dict[str, int] = dict(self._rows("SELECT name, id FROM house", ()))
        row_of = np.full(max(ids.values(), default=0) + 1, -1)
        for place, name in enumerate(names):
            if name in ids:
                row_of[ids[name]] = place
        data = np.array(self._rows(
            "SELECT at, house, net_kw, net_kvar, solar_kw, voltage_v, current_a, phase, good FROM house_minute "
            "WHERE at >= ? AND at < ?", (start, until)), dtype=np.float64).reshape(-1, 9)
        row = row_of[data[:, 1].astype(np.int64)]
        data, row = data[row >= 0], row[row >= 0]
        column = ((data[:, 0] - start) // MINUTE_S).astype(np.int64)
        filled = np.full((7, len(names), count), np.nan)
        filled[:, row, column] = data[:, 2:].T
        net, kvar, solar, volts, amps, phase, good = filled
        return HouseMinutes(names, start + MINUTE_S * np.arange(count), net, kvar, solar, volts, amps,
                            np.where(np.isnan(phase), -1, phase).astype(np.int64), good == 1.0)

    def close(self) -> None:
        self._connection.close()

    def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise database.explained(error, self._path) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing: BEGIN, then COMMIT, or ROLLBACK where anything failed."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
