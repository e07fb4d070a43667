"""The systemd unit: accepted without a word, hardened, and its watchdog fed by the daemon's own protocol."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from pi_service import notify as sd

UNIT = Path(sd.__file__).parent / "deploy" / "smartphased.service"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing; `make test` installs systemd")


@pytest.fixture
def unit_here(tmp_path: Path) -> Path:
    """The unit with the path of a program that exists on this machine."""
    unit = tmp_path / "smartphased.service"
    unit.write_text(UNIT.read_text().replace("/opt/smartphase/bin/smartphased", "/bin/true"))
    return unit


@needs_systemd
def test_systemd_accepts_the_unit_without_a_word(unit_here: Path) -> None:
    done = subprocess.run([str(ANALYZE), "verify", str(unit_here)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_a_directive_that_systemd_does_not_know_would_be_found(unit_here: Path) -> None:
    unit_here.write_text(unit_here.read_text().replace("WatchdogSec=30", "WatchdogSecs=30"))
    done = subprocess.run([str(ANALYZE), "verify", str(unit_here)], capture_output=True, text=True, check=False)
    assert "WatchdogSecs" in done.stderr


@needs_systemd
def test_the_unit_is_exposed_at_two_or_less(unit_here: Path) -> None:
    done = subprocess.run([str(ANALYZE), "security", "--offline=true", "--threshold=20", str(unit_here)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-400:]


def test_the_unit_restarts_for_ever_and_is_watched() -> None:
    text = UNIT.read_text()
    for line in ("Type=notify", "WatchdogSec=30", "Restart=always", "StartLimitIntervalSec=0",
                 "StateDirectory=smartphase"):
        assert line in text.splitlines()


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_reaches_the_socket_that_systemd_names(tmp_path: Path, abstract: bool) -> None:
    name = f"\0smartphase-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name)
        systemd.settimeout(5)
        assert sd.notify("READY=1", {"NOTIFY_SOCKET": name.replace("\0", "@")})
        assert systemd.recv(100) == b"READY=1"


def test_nothing_is_said_where_nobody_listens(tmp_path: Path) -> None:
    assert not sd.notify("READY=1", {})
    assert not sd.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_the_watchdog_is_fed_three_times_within_its_patience() -> None:
    mine = str(os.getpid())
    assert sd.watchdog_interval_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": mine}) == 10.0
    assert sd.watchdog_interval_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
    assert sd.watchdog_interval_s({}) is None
