"""audit.db: durable, ordered, append-only; any change is found and named; damage does not lose what is intact."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pi_service.contract import AlarmView, SwitchView
from pi_service.store import chain
from pi_service.store.audit import AuditLog, AuditReader, verify
from pi_service.store.audit_reader import TagRecord
from pi_service.store.database import StoreError

AT = 1_750_055_400.0
REPO = Path(__file__).resolve().parents[2]


def view(switch_id: str, state: str = "PROPOSED", house: str = "H001", at: float = AT, **more: Any) -> SwitchView:
    return msgspec.convert({"id": switch_id, "at": at, "origin": "AUTO", "house": house, "from_phase": "R",
                            "to_phase": "B", "state": state, **more}, SwitchView)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


@pytest.fixture
def log(path: Path) -> AuditLog:
    return AuditLog(path, AT)


def switch_once(log: AuditLog, house: str, at: float, until: str = "VERIFIED") -> str:
    """A switch through its usual states up to `until`; returns its id."""
    switch_id = log.next_id("S")
    for state in ("PROPOSED", "AUTHORISED", "SENT", "ACKED", "VERIFIED"):
        if state == "SENT":
            log.record_command(at, house, log.next_id("C"), switch_id, "switch", log.counter(house), target="B")
        log.record_switch(at, view(switch_id, state, house, at))
        if state == until:
            break
    return switch_id


def tamper(path: Path, sql: str, *parameters: object) -> None:
    """Change the file as someone with a SQLite shell and no scruples does: triggers dropped and put back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        triggers = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        db.execute(sql, parameters)
        for _, text in triggers:
            db.execute(text)


# ---------------------------------------------------------------- appending


def test_rows_are_numbered_chained_and_there_for_another_reader_at_once(log: AuditLog, path: Path) -> None:
    assert log.append("note", AT, {"b": 1, "a": "ä"}, ref="N1", house="H001") == 1
    assert log.append("note", AT + 1, {}) == 2
    reader = AuditReader.open_readonly(path)
    newest, first = reader.rows()
    assert (first.id, first.at, first.kind, first.ref, first.house, first.body) == (
        1, AT, "note", "N1", "H001", {"a": "ä", "b": 1})
    assert reader.head == (2, newest.hash)
    assert len({first.hash, newest.hash, chain.GENESIS}) == 3
    assert verify(path) == chain.VerifyResult(True, 2, newest.hash)


def test_the_same_rows_give_the_same_chain_in_every_run(tmp_path: Path) -> None:
    heads = []
    for name in ("a", "b"):
        log = AuditLog(tmp_path / name / "audit.db", AT)
        switch_once(log, "H001", AT)
        heads.append(log.head)
    assert heads[0] == heads[1]


@pytest.mark.parametrize("sql", [
    "UPDATE audit SET body = '{}' WHERE id = 1", "DELETE FROM audit WHERE id = 1", "DELETE FROM audit",
    "INSERT INTO audit VALUES (1, 0, 'x', '', '', '{}', 0, '', '')",
    "INSERT INTO audit VALUES (99, 0, 'x', '', '', '{}', 0, '', '')",
    "INSERT OR REPLACE INTO audit VALUES (1, 0, 'x', '', '', '{}', 0, '', '')",
])
def test_sqlite_itself_refuses_to_change_or_delete_a_row(log: AuditLog, path: Path, sql: str) -> None:
    for _ in range(3):
        log.append("note", AT, {})
    with contextlib.closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(sql)
    assert verify(path).ok


def test_a_second_daemon_on_the_same_log_is_refused_at_its_first_row(log: AuditLog, path: Path) -> None:
    second = AuditLog(path, AT)
    log.append("note", AT, {})
    with pytest.raises(StoreError, match="stop the second daemon"):
        second.append("note", AT, {})
    log.append("note", AT, {})
    assert verify(path).rows == 2


# ---------------------------------------------------------------- lookups


def test_a_switch_is_read_as_it_now_stands(log: AuditLog) -> None:
    first = switch_once(log, "H001", AT)
    second = switch_once(log, "H002", AT + 60, until="SENT")
    assert (first, second) == ("S000001", "S000002")
    assert [(switch.id, switch.state) for switch in log.switches()] == [(second, "SENT"), (first, "VERIFIED")]
    assert [switch.id for switch in log.switches(limit=1)] == [second]
    assert [switch.id for switch in log.switches(since=AT, until=AT + 60)] == [first]
    assert log.switch(first) == view(first, "VERIFIED")
    assert log.switch("S000009") is None
    assert [switch.id for switch in log.pending()] == [second]
    assert [row.body["view"]["state"] for row in reversed(log.rows(ref=first))] == [
        "PROPOSED", "AUTHORISED", "SENT", "ACKED", "VERIFIED"]


def test_a_switch_is_undone_by_the_verified_one_that_says_so(log: AuditLog) -> None:
    first = switch_once(log, "H001", AT)
    log.record_switch(AT, view("S000002", "REFUSED", undo_of=first))
    assert log.switch(first).undone_by == ""
    log.record_switch(AT, view("S000003", "VERIFIED", undo_of=first))
    assert log.switch(first).undone_by == "S000003"
    assert log.switches()[-1].undone_by == "S000003"


def test_counters_and_ids_go_on_after_a_restart(log: AuditLog, path: Path) -> None:
    for _ in range(3):
        switch_once(log, "H001", AT)
    switch_once(log, "H002", AT, until="AUTHORISED")
    log.close()
    again = AuditLog(path, AT + 1)
    assert (again.counter("H001"), again.counter("H002"), again.counter("H003")) == (4, 1, 1)
    assert (again.next_id("S"), again.next_id("C"), again.next_id("A")) == ("S000005", "C000004", "A000001")
    assert again.distrust == ""


def test_the_days_budget_counts_commanded_switches_by_house(log: AuditLog) -> None:
    switch_once(log, "H001", AT - 100)
    first = switch_once(log, "H001", AT)
    log.record_command(AT, "H001", log.next_id("C"), first, "query", log.counter("H001"))
    log.record_command(AT, "H001", log.next_id("C"), first, "switch", log.counter("H001"))
    log.record_command(AT, "H002", log.next_id("C"), "S000001", "query", log.counter("H002"))
    switch_once(log, "H002", AT, until="AUTHORISED")
    assert log.switches_since(AT) == {"H001": 1}


def test_modes_tags_alarms_and_requests_are_found_again(log: AuditLog, path: Path) -> None:
    log.record_mode(AT, "AUTO", "system", "start")
    log.record_mode(AT + 1, "MANUAL", "anil", "maintenance")
    standing = TagRecord("T000001", "H001", "do-not-operate", "anil", "roof work", AT)
    gone = TagRecord("T000002", "", "caution", "anil", "test", AT)
    for tag in (standing, gone, msgspec.structs.replace(gone, cleared_by="anil", cleared_at=AT + 2)):
        log.record_tag(AT, tag)
    raised = AlarmView("A000001", "node-stale", 3, "UNACK", AT, "H001 silent", "H001")
    other = AlarmView("A000002", "vuf", 3, "UNACK", AT + 5, "VUF")
    for alarm in (raised, other, msgspec.structs.replace(raised, state="ACK", acked_by="anil"),
                  msgspec.structs.replace(other, state="CLEARED", cleared_at=AT + 9)):
        log.record_alarm(AT, alarm)
    log.record_request(AT, "r-17", "anil", {"type": "undo"}, False, "no such switch")
    reader = AuditReader.open_readonly(path)
    for source in (log, reader):
        assert (source.mode().mode, source.mode().by, source.mode().at) == ("MANUAL", "anil", AT + 1)
        assert source.tags() == (standing,)
        assert [(alarm.id, alarm.state) for alarm in source.standing_alarms()] == [("A000001", "ACK")]
        assert [alarm.id for alarm in source.alarms(since=AT, until=AT + 99)] == ["A000002", "A000001"]
        assert source.request_seen("r-17")
        assert not source.request_seen("r-18")


def test_rows_are_paged_and_narrowed(log: AuditLog) -> None:
    for number in range(10):
        log.append("ab"[number % 2], AT + number, {}, ref=str(number), house=f"H{number % 3}")
    assert [row.ref for row in log.rows(limit=3)] == ["9", "8", "7"]
    assert [row.ref for row in log.rows(kinds=("a",), newest_first=False)] == ["0", "2", "4", "6", "8"]
    assert [row.ref for row in log.rows(since=AT + 3, until=AT + 5)] == ["4", "3"]
    assert [row.ref for row in log.rows(house="H0", kinds=("a", "b"))] == ["9", "6", "3", "0"]
    assert log.last("b").ref == "9"
    assert log.last("b", house="H0").ref == "9"
    assert log.last("c") is None


# ---------------------------------------------------------------- verify


@pytest.fixture
def day(log: AuditLog, path: Path) -> Path:
    """A closed log with some switches and alarms."""
    for number in range(12):
        switch_once(log, f"H{number % 4:03d}", AT + number)
        log.record_alarm(AT + number, AlarmView(f"A{number:06d}", "x", 3, "CLEARED", AT, "text", "H001"))
    log.close()
    return path


def test_an_untouched_log_passes_open_or_closed_and_on_a_console(day: Path) -> None:
    assert verify(day).ok
    log = AuditLog(day, AT)
    assert verify(day).ok
    log.append("note", AT, {})
    assert verify(day).rows == 85
    assert log.distrust == ""


def test_a_log_that_is_open_again_makes_no_promise_about_the_bytes_of_its_file(day: Path) -> None:
    assert chain.read_head(day).digest == chain.file_digest(day)
    AuditLog(day, AT)
    assert chain.read_head(day).digest == ""


@pytest.mark.parametrize("column", ["at", "kind", "ref", "house", "body", "salvaged", "previous", "hash"])
def test_a_change_of_any_column_is_found_and_the_row_named(day: Path, column: str) -> None:
    value = {"at": AT + 0.5, "salvaged": 7, "body": '{"view":{}}'}.get(column, "0" * 64)
    tamper(day, f"UPDATE audit SET {column} = ? WHERE id = 40", value)
    result = verify(day)
    assert not result.ok
    assert result.first_bad == 40
    assert result.rows == 39
    assert "row 40" in result.reason


@pytest.mark.parametrize(("sql", "first_bad", "words"), [
    ("DELETE FROM audit WHERE id = 40", 40, "row 40 is missing: row 41 follows"),
    ("DELETE FROM audit WHERE id = 1", 1, "row 1 is missing: row 2 follows"),
    ("DELETE FROM audit WHERE id >= 80", 80, "row 80 is missing: the head file names 84 rows"),
    ("DELETE FROM audit WHERE id = 84", 84, "row 84 is missing: the head file names 84 rows"),
    ("DELETE FROM audit", 1, "row 1 is missing: the head file names 84 rows"),
    ("UPDATE audit SET id = 1000 WHERE id = 84", 84, "row 84 is missing: row 1000 follows"),
    ("INSERT INTO audit SELECT 85, at, kind, ref, house, body, salvaged, hash, hash FROM audit WHERE id = 84", 85,
     "row 85 (alarm A000011) was changed"),
])
def test_rows_taken_out_cut_off_or_put_in_are_found(day: Path, sql: str, first_bad: int, words: str) -> None:
    tamper(day, sql)
    result = verify(day)
    assert (result.ok, result.first_bad) == (False, first_bad)
    assert words in result.reason


def test_a_tail_replaced_by_a_well_chained_one_does_not_match_the_head_file(day: Path) -> None:
    kept = chain.head_path(day).read_bytes()
    tamper(day, "DELETE FROM audit WHERE id > 80")
    chain.head_path(day).unlink()
    forger = AuditLog(day, AT)
    for _ in range(10):
        forger.append("note", AT, {"nothing": "happened"})
    forger.close()
    chain.head_path(day).write_bytes(kept)
    result = verify(day)
    assert (result.ok, result.first_bad) == (False, 84)
    assert "rewritten" in result.reason


def test_a_missing_head_file_is_not_passed_over(day: Path) -> None:
    chain.head_path(day).unlink()
    assert not verify(day).ok
    assert "tail may have been cut" in verify(day).reason


def test_a_trigger_taken_away_is_found(day: Path) -> None:
    with contextlib.closing(sqlite3.connect(day)) as db:
        db.execute("DROP TRIGGER audit_no_delete")
    assert "schema was changed" in verify(day).reason


def test_every_single_changed_byte_of_a_closed_log_is_found(day: Path) -> None:
    good, rng = day.read_bytes(), random.Random(7)
    places = [0, 17, 18, 24, 60, 68, 99, 100, len(good) - 1] + [rng.randrange(len(good)) for _ in range(120)]
    for place in places:
        changed = bytearray(good)
        changed[place] ^= 1 << rng.randrange(8)
        day.write_bytes(changed)
        result = verify(day)
        assert not result.ok, f"byte {place}"
        assert result.reason
        assert "\n" not in result.reason
    day.write_bytes(good)
    assert verify(day).ok


def test_changed_bytes_within_rows_are_found_while_the_daemon_runs(day: Path) -> None:
    running = AuditLog(day, AT)
    running.append("note", AT, {"text": "after the start"})
    needle = b'"state":"VERIFIED"'
    with day.open("r+b") as file:
        file.seek(day.read_bytes().index(needle) + 9)
        file.write(b"X")
    assert not verify(day).ok


def test_an_index_that_no_longer_fits_the_rows_is_found_while_the_daemon_runs(day: Path) -> None:
    running = AuditLog(day, AT)
    with contextlib.closing(sqlite3.connect(day)) as db:
        ((page,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'audit_house'").fetchall()
        ((size,),) = db.execute("PRAGMA page_size").fetchall()
    content = day.read_bytes()
    place = content.index(b"H001", (page - 1) * size)
    with day.open("r+b") as file:
        file.seek(place)
        file.write(b"H009")
    result = verify(day)
    assert (result.ok, result.first_bad) == (False, None)
    assert "SQLite finds the file damaged" in result.reason
    running.close()


def test_no_log_at_all_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no audit log here"):
        verify(tmp_path / "audit.db")


def test_a_start_on_a_log_whose_end_does_not_fit_says_so_and_keeps_the_evidence(day: Path) -> None:
    tamper(day, "DELETE FROM audit WHERE id > 80")
    log = AuditLog(day, AT)
    assert "row 84" in log.distrust
    log.append("note", AT, {})
    log.close()
    assert chain.read_head(day).height == 84
    assert not verify(day).ok


# ---------------------------------------------------------------- cuts, damage, disks that refuse

WRITER = """
import sys
from pathlib import Path
from pi_service.store.audit import AuditLog
log = AuditLog(Path(sys.argv[1]), 0.0)
while True:
    print(log.append("note", 1.0, {"text": "x" * 500}), flush=True)
"""


def test_kill_9_loses_no_row_that_was_reported_and_the_chain_holds(path: Path) -> None:
    reported = 0
    for cut_after in (1, 40, 90):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=REPO, stdout=subprocess.PIPE,
                                   text=True)
        assert process.stdout is not None
        target = reported + cut_after
        while reported < target:
            reported = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        reported = int(rest[-1]) if rest else reported
        process.wait()
        result = verify(path)
        assert result.ok, result.reason
        assert result.rows in (reported, reported + 1)
        reported = result.rows
    log = AuditLog(path, AT)
    assert log.distrust == ""
    assert log.replaced is None


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
from pi_service.store.audit import AuditLog, verify
from pi_service.store.database import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
log = AuditLog(path, 0.0)
log.append("note", 1.0, {})
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name("audit.db-wal").stat().st_size + 100_000, hard))
done = 1
try:
    while done < 10_000:
        done = log.append("note", 1.0, {"text": "x" * 2000})
except StoreError as error:
    assert chr(10) not in str(error) and "disk" in str(error), error
else:
    raise AssertionError("the disk never refused")
assert log.replaced is None
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert log.append("note", 1.0, {}) == done + 1
assert verify(path).ok and verify(path).rows == done + 1
"""


def test_a_full_disk_refuses_the_row_and_the_log_goes_on_when_there_is_room(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DISK_FULL, str(path)], cwd=REPO, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr


def test_a_read_only_disk_refuses_the_row(log: AuditLog, path: Path) -> None:
    log.append("note", AT, {})
    log._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="read-only"):
        log.append("note", AT, {})
    log._connection.execute("PRAGMA query_only = OFF")
    assert log.append("note", AT, {}) == 2
    assert verify(path).ok


def damage(path: Path, name: str) -> None:
    """Overwrite the first page of a table or index with noise."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((page,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchall()
        ((size,),) = db.execute("PRAGMA page_size").fetchall()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


def test_after_damage_counters_tags_and_pending_switches_are_taken_over(log: AuditLog, path: Path) -> None:
    for number in range(30):
        switch_once(log, "H001", AT + number)
    pending = switch_once(log, "H002", AT + 99, until="SENT")
    log.record_tag(AT, TagRecord("T000001", "H001", "caution", "anil", "roof", AT))
    before = log.head
    log.close()
    damage(path, "audit_ref")
    again = AuditLog(path, AT + 100)
    assert again.counter("H001") == 31
    assert again.next_id("S") == "S000032"
    assert [switch.id for switch in again.pending()] == [pending]
    assert [tag.id for tag in again.tags()] == ["T000001"]
    assert again.replaced is not None
    assert again.replaced.exists()
    first = again.rows(newest_first=False, limit=2)
    assert first[0].body == {"what": "audit log replaced", "aside": again.replaced.name, "salvaged": before[0],
                             "lost": 0, "height": before[0], "head": before[1]}
    assert (first[1].id, first[1].salvaged) == (2, 1)
    again.append("note", AT, {})
    again.close()
    assert verify(path).ok


def test_rows_that_do_not_read_any_more_are_counted_as_lost(log: AuditLog, path: Path) -> None:
    for _ in range(200):
        log.append("note", AT, {"text": "y" * 300})
    log.close()
    data = bytearray(path.read_bytes())
    place = data.index(b"y" * 300)
    data[place:place + 10] = b"z" * 10
    path.write_bytes(data)
    damage(path, "audit_at")
    again = AuditLog(path, AT)
    again.append("note", AT, {})        # meets the damage, and is not lost by it
    body = again.rows(newest_first=False, limit=1)[0].body
    assert (body["salvaged"], body["lost"]) == (199, 1)
    assert verify(path).ok


def test_a_file_that_is_no_database_any_more_starts_a_fresh_chain_that_names_the_old_head(day: Path) -> None:
    head = chain.read_head(day)
    day.write_bytes(b"garbage" * 5000)
    log = AuditLog(day, AT)
    (row,) = log.rows()
    assert (row.body["salvaged"], row.body["lost"], row.body["head"]) == (0, 84, head.hash)
    assert verify(day).ok
