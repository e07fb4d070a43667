"""Every command explains itself with an example; every wrong use is one line with what to do, and status 2 or 1."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = ("", "demo", "study", "report", "log", "why", "doctor", "audit verify", "site init")

WRONG_USE = (
    ("nope", "No such command"),
    ("demo --sped 3", "--speed"),
    ("demo --headless --hours 0", "--hours"),
    ("demo --headless --fault node-dead:H007", "node-dead:H007@09:30"),
    ("demo --headless --fault no-such-fault:H007@09:30", "choose from"),
    ("demo --headless --start 25:00", "HH:MM"),
    ("demo --scenario tragedy", "walkthrough"),
    ("demo --mode SOMETIMES", "AUTO or MANUAL"),
    ("study", "Missing argument"),
    ("study x --policy wish", "choose from"),
    ("report --from yesterday --to today --out x.pdf", "2026-04-15"),
    ("report --from 2026-04-16 --to 2026-04-15 --out x.pdf", "not after"),
    ("log --limit 0", "--limit"),
    ("audit", "Missing command"),
    ("--broker pi:door", "HOST:PORT"),
    ("--glyphs runes", "choose from"),
)

FAILURES = (
    ("study /nowhere/at/all", "no such feeder folder"),
    ("demo --feeder /nowhere/at/all --headless", "no such feeder folder"),
    ("demo --headless --json /nowhere/x.json", "choose a file"),
    ("demo --headless --hours 0.1 --fault meter-stale@09:30", "the run is over before that"),
    ("study x --report /nowhere/x.pdf", "choose a file"),
    ("log --site /nowhere", "--site DIR"),
    ("doctor --site /nowhere", "--site DIR"),
    ("audit verify --file /nowhere/audit.db", "no audit log here"),
    ("site init /proc/site --feeder data/feeders/walkthrough", "may write"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(smartphase, command: str) -> None:
    ended = smartphase(*command.split(), "--help")
    assert ended.status == 0
    assert "example: smartphase" in ended.out


@pytest.mark.parametrize(("words", "says"), WRONG_USE)
def test_wrong_use_is_one_line_and_status_2(smartphase, words: str, says: str) -> None:
    ended = smartphase(*words.split())
    assert ended.status == 2
    assert says in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(("words", "says"), FAILURES)
def test_a_failure_is_one_line_and_status_1(smartphase, words: str, says: str) -> None:
    ended = smartphase(*words.split())
    assert ended.status == 1
    assert says in ended.err
    assert ended.err.count("\n") == 1


def test_without_a_terminal_the_demo_says_so_and_suggests_headless(smartphase) -> None:
    ended = smartphase("demo")
    assert ended.status == 1
    assert "terminal" in ended.err
    assert "--headless" in ended.err
    assert ended.err.count("\n") == 1


def test_a_wrong_option_points_to_the_help_of_its_command(smartphase) -> None:
    assert "see smartphase log --help" in smartphase("log", "--limit", "0").err


def test_the_command_loads_nothing_heavy_before_it_knows_what_is_asked() -> None:
    heavy = ("numpy", "scipy", "textual", "matplotlib", "fpdf", "sqlite3", "aiomqtt", "joserfc", "msgspec")
    code = f"import sys, smartphase_tui.cli; print([m for m in {heavy!r} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = subprocess.run(f"{sys.executable} -m smartphase_tui.cli --help | head -c 1; echo ${{PIPESTATUS[0]}}",
                          shell=True, executable="/bin/bash", capture_output=True, text=True, check=False)
    assert done.stdout.endswith("0\n")
    assert done.stderr == ""
