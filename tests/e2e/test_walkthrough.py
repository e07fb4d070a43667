"""The story that the project began with: R is overloaded in the morning, two solar houses go to B, and it is mended."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pypdf import PdfReader

from balancer.feeder_folder import read_feeder
from pi_service.compare import compare
from pi_service.store.audit_reader import AuditReader
from pi_service.store.telemetry_reader import TelemetryReader

FOLDER = Path(__file__).resolve().parents[2] / "data" / "feeders" / "walkthrough"


def test_r_is_above_its_limit_before_and_every_phase_below_it_after(walkthrough) -> None:
    feeder = read_feeder(FOLDER)
    data = walkthrough.site / "data"
    telemetry, audit = (kind.open_readonly(data / name) for kind, name in (
        (TelemetryReader, "telemetry.db"), (AuditReader, "audit.db")))
    day = compare(feeder, telemetry, audit, 0.0, 2e9)
    before, after = (np.array(series.phase_a) for series in (day.before_series, day.after_series))
    assert before[0].min() > feeder.limits.phase_current_a
    assert after[:, 2:].max() < feeder.limits.phase_current_a      # the second move is proven in the second minute


def test_the_overload_moves_exactly_two_solar_houses_from_r_to_b(walkthrough) -> None:
    solar = {house.house_id for house in read_feeder(FOLDER).houses if house.pv_kwp}
    emergency = [s for s in walkthrough.figures["switches"] if s["reason"].startswith("emergency: R is above")]
    assert [(s["from_phase"], s["to_phase"]) for s in emergency] == [("R", "B"), ("R", "B")]
    assert len({s["house"] for s in emergency} & solar) == 2


def test_it_acts_within_two_minutes_and_proves_every_move(walkthrough) -> None:
    switches = walkthrough.figures["switches"]
    assert {s["state"] for s in switches} == {"VERIFIED"}
    assert max(s["finished_at"] for s in switches[:2]) - walkthrough.figures["switches"][0]["at"] < 120
    assert walkthrough.figures["overlap_ms"] == 0


def test_the_summary_tells_before_and_after(walkthrough) -> None:
    assert "before" in walkthrough.said
    assert "Neutral current, mean (A)" in walkthrough.said
    assert "VERIFIED" in walkthrough.said


def test_the_exported_pdf_holds_the_story(walkthrough) -> None:
    text = "\n".join(page.extract_text() for page in PdfReader(walkthrough.report).pages)
    for words in ("Walk-through", "What it was worth", "What it cost", "Switch log", "Method and data", "R > B"):
        assert words in text


def test_no_page_of_the_pdf_writes_beyond_its_margins(walkthrough) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("poppler-utils is not installed: `make test` installs it where it may")
    boxes = subprocess.run(["pdftotext", "-bbox", str(walkthrough.report), "-"], capture_output=True, text=True,
                           check=True).stdout
    edges = [float(part.split('"')[1]) for part in boxes.split() if part.startswith("xMax=")]
    assert edges
    assert max(edges) <= 595 - 30       # A4 is 595 points wide


def test_the_log_and_why_tell_what_moved_and_for_what_reason(walkthrough, smartphase) -> None:
    first = walkthrough.figures["switches"][0]
    log = smartphase("log", "--site", walkthrough.site)
    assert log.returncode == 0
    assert first["id"] in log.stdout
    assert "emergency: R is above" in log.stdout
    lines = smartphase("log", "--site", walkthrough.site, "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines][::-1] == [s["id"] for s in walkthrough.figures["switches"]]
    why = smartphase("why", first["house"], "--site", walkthrough.site)
    assert "R>B" in why.stdout


def test_the_measured_before_and_after_agrees_with_the_plant(walkthrough) -> None:
    """The report's figures come from readings with sensor noise, the JSON's from the simulated plant itself."""
    from pi_service.compare import compare
    from pi_service.store.audit_reader import AuditReader
    from pi_service.store.telemetry_reader import TelemetryReader

    data = walkthrough.site / "data"
    found = compare(read_feeder(FOLDER), TelemetryReader.open_readonly(data / "telemetry.db"),
                    AuditReader.open_readonly(data / "audit.db"), 0.0, 4e9)
    for when, measured in (("before", found.before), ("after", found.after)):
        true = walkthrough.figures[when]
        assert measured["neutral_a_mean"] == pytest.approx(true["neutral_a_mean"], rel=0.02)
        assert measured["loss_kwh"] == pytest.approx(true["loss_kwh"], rel=0.02)
        assert measured["pv_lost_kwh"] == pytest.approx(true["pv_lost_kwh"], rel=0.1)
        assert measured["switches"] == true["switches"]


def test_audit_verify_passes_and_fails_after_one_byte_is_changed(walkthrough, smartphase, tmp_path: Path) -> None:
    for name in ("audit.db", "audit.head"):
        shutil.copy(walkthrough.site / "data" / name, tmp_path / name)
    copy = tmp_path / "audit.db"
    assert smartphase("audit", "verify", "--file", copy).returncode == 0
    raw = bytearray(copy.read_bytes())
    at = raw.index(b"VERIFIED")
    raw[at:at + 1] = b"W"
    copy.write_bytes(raw)
    failed = smartphase("audit", "verify", "--file", copy)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    told = json.loads(smartphase("audit", "verify", "--file", copy, "--json").stdout)
    assert told["ok"] is False


def test_an_edited_row_is_named(walkthrough, smartphase, tmp_path: Path) -> None:
    for name in ("audit.db", "audit.head"):
        shutil.copy(walkthrough.site / "data" / name, tmp_path / name)
    with sqlite3.connect(tmp_path / "audit.db") as db:
        for (trigger,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute("UPDATE audit SET body = replace(body, 'AUTO', 'anil') WHERE id = 7")
    db.close()
    told = json.loads(smartphase("audit", "verify", "--file", tmp_path / "audit.db", "--json").stdout)
    assert told["first_bad"] == 7


def test_doctor_finds_the_missing_broker_and_the_keys_that_were_left(walkthrough, smartphase) -> None:
    done = smartphase("doctor", "--site", walkthrough.site)
    assert done.returncode == 1
    bad = [line for line in done.stdout.splitlines() if line.startswith("BAD")]
    assert any("broker" in line and "start it" in line for line in bad)
    assert any("private key" in line for line in bad)
    assert any(line.startswith("ok") and "audit log" in line for line in done.stdout.splitlines())


def test_the_report_command_writes_the_same_period_again(walkthrough, smartphase, tmp_path: Path) -> None:
    out = tmp_path / "again.pdf"
    done = smartphase("report", "--from", "2026-04-15T09:00", "--to", "2026-04-15T10:00", "--out", out, "--site",
                      walkthrough.site)
    assert done.returncode == 0, done.stderr
    assert "Walk-through" in PdfReader(out).pages[0].extract_text()
    empty = smartphase("report", "--from", "2020-01-01", "--to", "2020-01-02", "--out", out, "--site",
                       walkthrough.site)
    assert empty.returncode == 1
    assert "nothing was measured" in empty.stderr
