"""telemetry.db: batches, roll-ups, retention, arrays; and power cuts, damage and disks that refuse."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from balancer.feeder import Feeder
from pi_service.feeder_state import Held
from pi_service.store.database import StoreError
from pi_service.store.telemetry import TelemetrySettings, TelemetryStore
from pi_service.store.telemetry_reader import TelemetryReader

START = 1_750_012_200.0     # a local midnight, whole minutes and quarters
REPO = Path(__file__).resolve().parents[2]


class Recorder:
    """A store and a shorthand for what goes into it."""

    def __init__(self, path: Path, feeder: Feeder, field: Any, **settings: object) -> None:
        self.path, self.feeder, self.field = path, feeder, field
        self.store = TelemetryStore(path, feeder, START, TelemetrySettings(**settings))

    def house(self, at: float, house: str = "H001", phase: int = 0, sealed: bool = True, **values: object) -> None:
        reading = self.field.reading(house, ts=at, **values)
        self.store.add_reading(self.feeder.houses[self.feeder.house_ids.index(house)],
                               Held(reading, at, 0.0, False, sealed), phase)

    def meter(self, at: float, sealed: bool = True, **values: object) -> None:
        self.store.add_meter(Held(self.field.meter(ts=at, **values), at, 0.0, False, sealed))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            return db.execute(sql).fetchall()


@pytest.fixture
def make(tmp_path: Path, feeder: Feeder, field: Any) -> Any:
    return lambda **settings: Recorder(tmp_path / "telemetry.db", feeder, field, **settings)


@pytest.fixture
def recorder(make: Any) -> Recorder:
    return make()


# ---------------------------------------------------------------- batches


def test_a_reading_is_kept_as_net_power_and_on_the_confirmed_phase(recorder: Recorder) -> None:
    recorder.house(START, power=-1.5, reactive_power=0.2, solar_injection=2.0, phase=2)
    recorder.house(START, "H002", sealed=False, voltage=230.0, current=10.0)
    recorder.store.commit(START)
    (first, second) = recorder.rows("SELECT house, phase, good, voltage_v, net_kw, net_kvar, solar_kw FROM reading")
    assert first == (1, 2, 1, 230.0, -1.5, 0.2, 2.0)
    assert second[:5] == (2, 0, 0, 230.0, 2.3)


def test_ticks_commit_when_the_batch_is_due_and_not_before(recorder: Recorder) -> None:
    recorder.house(START)
    recorder.store.tick(START + 9)
    assert recorder.rows("SELECT count(*) FROM reading") == [(0,)]
    recorder.store.tick(START + 10)
    assert recorder.rows("SELECT count(*) FROM reading") == [(1,)]
    assert recorder.store.written == 1


def test_closing_writes_what_waits(recorder: Recorder) -> None:
    recorder.house(START)
    recorder.store.close()
    assert recorder.rows("SELECT count(*) FROM reading") == [(1,)]


def test_reopening_goes_on_with_the_same_houses(recorder: Recorder, make: Any) -> None:
    recorder.house(START, "H005")
    recorder.store.close()
    again = make()
    again.house(START + 1, "H005")
    again.store.close()
    assert again.rows("SELECT DISTINCT house FROM reading") == [(5,)]


# ---------------------------------------------------------------- roll-ups


def test_a_minute_is_the_mean_of_its_readings_and_the_last_phase(recorder: Recorder) -> None:
    for second, kw, phase in ((0, 1.0, 0), (20, 2.0, 0), (40, 6.0, 1)):
        recorder.house(START + second, power=kw, phase=phase, voltage=230.0 + second)
    recorder.house(START + 60, power=59.0)
    recorder.store.tick(START + 60)
    (minute,) = recorder.rows("SELECT at, phase, good, readings, net_kw, voltage_v FROM house_minute")
    assert minute == (START, 1, 1, 3, pytest.approx(3.0), pytest.approx(250.0))


def test_sealed_readings_of_a_minute_are_not_mixed_with_plain_ones(recorder: Recorder) -> None:
    recorder.house(START, power=1.0)
    recorder.house(START + 1, power=50.0, sealed=False)
    recorder.house(START, "H002", power=4.0, sealed=False)
    recorder.store.tick(START + 60)
    assert recorder.rows("SELECT house, good, readings, net_kw FROM house_minute ORDER BY house") == [
        (1, 1, 1, 1.0), (2, 0, 1, 4.0)]


def test_a_reading_that_comes_late_has_its_minute_and_quarter_rolled_again(recorder: Recorder) -> None:
    for minute in range(31):
        recorder.house(START + minute * 60, power=2.0)
        recorder.store.tick(START + minute * 60)
    recorder.house(START + 61, power=4.0)
    recorder.store.tick(START + 31 * 60)
    assert recorder.rows(f"SELECT readings, net_kw FROM house_minute WHERE at = {START + 60}") == [(2, 3.0)]
    (quarter,) = recorder.rows(f"SELECT readings, net_kw FROM house_quarter WHERE at = {START}")
    assert quarter == (16, pytest.approx((15 * 2 + 4) / 16))
    assert recorder.rows("SELECT count(*) FROM house_quarter") == [(2,)]


def test_a_quarter_weighs_its_minutes_by_their_readings(recorder: Recorder) -> None:
    for second in range(9):
        recorder.house(START + second, power=1.0)
    recorder.house(START + 60, power=11.0)
    recorder.store.tick(START + 900)
    assert recorder.rows("SELECT readings, net_kw FROM house_quarter") == [(10, pytest.approx(2.0))]


def test_the_feeders_minute_has_means_and_the_highest_neutral(recorder: Recorder) -> None:
    recorder.meter(START, current=(10.0, 20.0, 30.0), neutral_current=10.0, power=(1.0, 2.0, 3.0))
    recorder.meter(START + 30, current=(20.0, 20.0, 30.0), neutral_current=30.0, power=(1.0, 2.0, 5.0))
    recorder.store.tick(START + 60)
    (minute,) = recorder.store.feeder_minutes(START, START + 3600)
    assert (minute.at, minute.current_a, minute.power_kw, minute.neutral_a) == (START, (15.0, 20.0, 30.0), 7.0, 20.0)
    assert minute.vuf_percent == pytest.approx(0.0, abs=1e-6)
    assert recorder.rows("SELECT neutral_a_max FROM feeder_minute") == [(30.0,)]


def test_a_dead_phase_has_no_vuf_and_does_not_spoil_the_minute(recorder: Recorder) -> None:
    recorder.meter(START, line_voltage=(0.0, 0.0, 0.0))
    recorder.meter(START + 60, line_voltage=(0.0, 0.0, 0.0))
    recorder.meter(START + 61, line_voltage=(410.0, 416.0, 420.0))
    recorder.store.tick(START + 120)
    first, second = recorder.store.feeder_minutes(START, START + 3600)
    assert first.vuf_percent is None
    assert second.vuf_percent == pytest.approx(1.41, abs=0.02)


def test_roll_ups_go_on_after_a_cut_between_readings_and_roll_up(recorder: Recorder, make: Any) -> None:
    for second in range(0, 180, 10):
        recorder.house(START + second)
    recorder.store.commit(START + 170)
    recorder.store._connection.close()      # as a power cut leaves it: readings there, nothing rolled
    again = make()
    again.store.tick(START + 600)
    assert again.rows("SELECT at - 1750012200, readings FROM house_minute") == [(0, 6), (60, 6), (120, 6)]


def test_a_clock_set_back_rolls_the_earlier_minutes_too(recorder: Recorder) -> None:
    recorder.house(START + 7200)
    recorder.store.tick(START + 7260)
    recorder.house(START)
    recorder.store.tick(START + 60)
    recorder.house(START + 60)
    recorder.store.tick(START + 120)
    assert recorder.rows("SELECT at - 1750012200 FROM house_minute ORDER BY at") == [(0,), (60,), (7200,)]


# ---------------------------------------------------------------- retention


def test_each_table_is_kept_for_its_own_time(make: Any) -> None:
    recorder = make(keep_readings_days=1, keep_minutes_days=3, keep_quarters_days=7)
    for day in range(10):
        recorder.house(START + day * 86_400)
        recorder.meter(START + day * 86_400)
        recorder.store.roll_up(START + day * 86_400 + 900)
    counted = {table: recorder.rows(f"SELECT count(*) FROM {table}")[0][0] for table in (
        "reading", "meter_reading", "house_minute", "feeder_minute", "house_quarter", "feeder_quarter")}
    assert counted == {"reading": 1, "meter_reading": 1, "house_minute": 3, "feeder_minute": 3,
                       "house_quarter": 7, "feeder_quarter": 7}


def test_a_clock_far_ahead_deletes_a_slice_a_minute_not_everything(make: Any) -> None:
    recorder = make(purge_rows=100)
    for second in range(1000):
        recorder.house(START + second)
    recorder.store.roll_up(START + 1000)
    recorder.store.roll_up(START + 40 * 365 * 86_400)
    assert recorder.rows("SELECT count(*) FROM reading") == [(900,)]


def test_after_a_silence_longer_than_the_retention_roll_ups_go_on(make: Any) -> None:
    recorder = make(keep_readings_days=1)
    for second in range(200):
        recorder.house(START + second)
    recorder.store.roll_up(START + 240)
    later = START + 5 * 86_400
    recorder.store.roll_up(later)
    recorder.house(later + 1, power=7.0)
    recorder.store.roll_up(later + 60)
    assert recorder.rows(f"SELECT net_kw FROM house_minute WHERE at = {later}") == [(7.0,)]


def test_a_late_reading_of_a_purged_minute_does_not_replace_the_minute(make: Any) -> None:
    recorder = make(keep_readings_days=1)
    recorder.house(START, power=2.0)
    recorder.store.roll_up(START + 60)
    recorder.store.roll_up(START + 2 * 86_400)
    recorder.house(START + 1, power=50.0)
    recorder.store.roll_up(START + 2 * 86_400 + 60)
    assert recorder.rows("SELECT readings, net_kw FROM house_minute") == [(1, 2.0)]


# ---------------------------------------------------------------- reading it


def test_house_minutes_are_arrays_in_the_order_that_was_asked_for(recorder: Recorder) -> None:
    recorder.house(START, "H001", power=1.0, solar_injection=0.5, phase=1)
    recorder.house(START + 60, "H003", power=3.0, sealed=False, phase=2)
    recorder.store.tick(START + 180)
    minutes = recorder.store.house_minutes(START, START + 180, houses=("H003", "H001", "H777"))
    assert minutes.net_kw.shape == (3, 3)
    np.testing.assert_array_equal(minutes.minutes, START + np.array([0, 60, 120]))
    np.testing.assert_array_equal(minutes.net_kw[:2], [[np.nan, 3.0, np.nan], [1.0, np.nan, np.nan]])
    assert minutes.phase.tolist() == [[-1, 2, -1], [1, -1, -1], [-1, -1, -1]]
    assert minutes.good.tolist() == [[False] * 3, [True, False, False], [False] * 3]
    assert recorder.store.house_minutes(START, START + 60).houses == recorder.feeder.house_ids


def test_an_empty_span_gives_empty_arrays(recorder: Recorder) -> None:
    assert recorder.store.house_minutes(START, START).net_kw.shape == (9, 0)
    assert np.isnan(recorder.store.house_minutes(START, START + 120).net_kw).all()
    assert recorder.store.span() is None


def test_gaps_are_filled_from_the_past_as_far_as_asked_and_stay_marked(recorder: Recorder) -> None:
    for minute in (1, 2, 6):
        recorder.house(START + minute * 60, power=float(minute), phase=minute % 3)
    recorder.store.tick(START + 600)
    held = recorder.store.house_minutes(START, START + 480, houses=("H001",)).held(2)
    np.testing.assert_array_equal(held.net_kw[0], [np.nan, 1, 2, 2, 2, np.nan, 6, 6])
    assert held.phase[0].tolist() == [-1, 1, 2, 2, 2, -1, 0, 0]
    assert held.good[0].tolist() == [False, True, True, False, False, False, True, False]


def test_the_neutrals_last_hour_has_a_place_for_every_minute(recorder: Recorder) -> None:
    for minute in (0, 1, 3):
        recorder.meter(START + minute * 60, neutral_current=float(minute))
    recorder.store.tick(START + 300)
    assert recorder.store.neutral_history(START + 310, minutes=6) == (None, 0.0, 1.0, None, 3.0, None)


def test_a_console_reads_beside_the_writer(recorder: Recorder) -> None:
    recorder.house(START)
    recorder.store.tick(START + 60)
    reader = TelemetryReader.open_readonly(recorder.path)
    assert reader.span() == (START, START + 60)
    recorder.house(START + 60)
    recorder.store.tick(START + 120)
    assert reader.span() == (START, START + 120)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM reading")
    reader.close()


def test_a_missing_file_a_strangers_and_a_newer_one_are_refused_in_one_line(tmp_path: Path, recorder: Recorder,
                                                                           feeder: Feeder) -> None:
    recorder.store.close()
    with pytest.raises(StoreError, match="there is no such database"):
        TelemetryReader.open_readonly(tmp_path / "none.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE notes (text)")
    with pytest.raises(StoreError, match="not a SmartPhase telemetry database"):
        TelemetryStore(tmp_path / "other.db", feeder, START)
    with contextlib.closing(sqlite3.connect(recorder.path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    for opened in (lambda: TelemetryStore(recorder.path, feeder, START),
                   lambda: TelemetryReader.open_readonly(recorder.path)):
        with pytest.raises(StoreError, match="newer SmartPhase") as caught:
            opened()
        assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- cuts, damage, disks that refuse

WRITER = """
import sys
from pathlib import Path
from balancer.feeder_folder import read_feeder
from pi_service.contract import Reading
from pi_service.feeder_state import Held
from pi_service.store.telemetry import TelemetryStore
feeder = read_feeder(Path(sys.argv[2]))
store = TelemetryStore(Path(sys.argv[1]), feeder, 0.0)
for batch in range(1, 10**9):
    for number in range(50):
        at = batch * 60.0 + number
        reading = Reading("H001", "R", 230.0, 4.0, 0.0, power=float(batch))
        store.add_reading(feeder.houses[0], Held(reading, at, 0.0, False, True), 0)
    store.roll_up(batch * 60.0 + 59)
    assert not store.fault, store.fault
    print(batch, flush=True)
"""


def test_kill_9_in_the_middle_of_commits_loses_nothing_that_was_committed(tmp_path: Path, feeder: Feeder,
                                                                          small_feeder_dir: Path) -> None:
    path = tmp_path / "telemetry.db"
    for cut_after in (1, 7, 20):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(small_feeder_dir)], cwd=REPO,
                                   stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        done = 0
        while done < cut_after:
            done = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        done = int(rest[-1]) if rest else done
        process.wait()
        store = TelemetryStore(path, feeder, done * 60.0)
        store.roll_up((done + 2) * 60.0)
        ((rows,),) = store._connection.execute("SELECT count(*) FROM reading").fetchall()
        assert store.replaced is None
        assert rows % 50 == 0, "a batch is there or not, never in part"
        assert rows // 50 in (done, done + 1)
        assert store._connection.execute("SELECT DISTINCT readings FROM house_minute").fetchall() == [(50,)]
        assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        store.close()
        path.unlink()


def filled(recorder: Recorder, minutes: int = 240) -> None:
    for minute in range(minutes):
        for house in recorder.feeder.house_ids:
            recorder.house(START + minute * 60, house, power=1.0)
        recorder.meter(START + minute * 60)
    recorder.store.roll_up(START + minutes * 60)


def damage(path: Path, table: str) -> None:
    """Overwrite the first page of a table with noise."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((page,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
        ((size,),) = db.execute("PRAGMA page_size").fetchall()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


def test_a_damaged_page_is_met_by_a_fresh_file_that_keeps_the_old_roll_ups(recorder: Recorder, make: Any) -> None:
    filled(recorder)
    recorder.store.close()
    damage(recorder.path, "reading")
    again = make()
    again.house(START + 20_000)
    assert again.store.roll_up(START + 20_060)
    assert again.store.replaced is not None
    assert again.store.replaced.name.startswith("telemetry.db.corrupt-")
    assert again.store.replaced.exists()
    assert again.store.fault == ""
    assert len(again.store.feeder_minutes(START, START + 86_400)) == 240
    assert np.isfinite(again.store.house_minutes(START, START + 240 * 60).net_kw).all()
    assert again.rows("SELECT count(*) FROM reading") == [(1,)], "the batch that met the damage is not lost"


def test_a_file_that_is_no_database_any_more_is_set_aside_at_the_start(recorder: Recorder, make: Any) -> None:
    filled(recorder, 2)
    recorder.store.close()
    recorder.path.write_bytes(b"\x00garbage" * 4096)
    again = make()
    again.house(START)
    assert again.store.commit(START)
    assert again.store.replaced is not None
    assert len(list(recorder.path.parent.glob("*.corrupt-*"))) == 1


def test_damage_met_while_a_screen_asks_answers_nothing_and_goes_on(recorder: Recorder, make: Any) -> None:
    filled(recorder)
    recorder.store.close()
    damage(recorder.path, "feeder_minute")
    again = make()
    assert again.store.neutral_history(START + 240 * 60) == (None,) * 60
    assert again.store.replaced is not None
    again.meter(START + 20_000)
    assert again.store.commit(START + 20_000)


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
from balancer.feeder_folder import read_feeder
from pi_service.contract import Reading
from pi_service.feeder_state import Held
from pi_service.store.telemetry import TelemetrySettings, TelemetryStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
feeder = read_feeder(Path(sys.argv[2]))
store = TelemetryStore(Path(sys.argv[1]), feeder, 0.0, TelemetrySettings(pending_rows=5000))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
def feed(count):
    for number in range(count):
        reading = Reading("H001", "R", 230.0, 4.0, 0.0)
        store.add_reading(feeder.houses[0], Held(reading, float(number), 0.0, False, True), 0)
feed(20_000)
assert not store.commit(1.0)
assert store.fault and "disk" in store.fault and chr(10) not in store.fault, store.fault
assert store.lost == 15_000 and store.written == 0, (store.lost, store.written)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert store.commit(2.0)
assert store.fault == "" and store.written == 5000 and store.replaced is None
store.close()
"""


def test_a_full_disk_is_said_the_batch_waits_and_is_written_when_there_is_room(tmp_path: Path,
                                                                               small_feeder_dir: Path) -> None:
    """The surrogate is a limit on file size: the kernel refuses the write as a full disk does."""
    done = subprocess.run([sys.executable, "-c", DISK_FULL, str(tmp_path / "telemetry.db"), str(small_feeder_dir)],
                          cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_disk_remounted_read_only_is_said_and_nothing_raises(recorder: Recorder) -> None:
    recorder.store._connection.execute("PRAGMA query_only = ON")
    recorder.house(START)
    recorder.store.tick(START + 10)
    assert recorder.store.fault
    recorder.store.roll_up(START + 60)
    recorder.store._connection.execute("PRAGMA query_only = OFF")
    recorder.store.tick(START + 120)
    assert recorder.store.fault == ""
    assert recorder.rows("SELECT count(*) FROM reading") == [(1,)]


def test_a_backup_in_one_go_beside_the_writer_is_whole(recorder: Recorder, tmp_path: Path) -> None:
    filled(recorder, 10)
    with contextlib.closing(sqlite3.connect(recorder.path)) as source, \
            contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        source.backup(copy, pages=-1)
    filled(recorder, 11)
    reader = TelemetryReader.open_readonly(tmp_path / "copy.db")
    assert len(reader.feeder_minutes(START, START + 86_400)) == 10
    reader.close()
