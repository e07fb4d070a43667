"""Whole runs through the command line, each in a process of its own; and a terminal of 80x24 to watch one in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def smartphase() -> Run:
    """Run `smartphase` with the given words; its status, stdout and stderr."""
    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "smartphase_tui.cli", *map(str, words)], capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, check=False, timeout=110)

    return run


@dataclass(frozen=True)
class Day:
    """A headless run: what it wrote, what it said, and where its site lies."""

    figures: dict[str, Any]
    said: str
    site: Path
    report: Path


@pytest.fixture(scope="session")
def headless(smartphase: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Day]:
    """Run `smartphase demo --headless` with the given words into a folder of its own."""
    def run(*words: object) -> Day:
        folder = tmp_path_factory.mktemp("headless")
        done = smartphase("demo", "--headless", "--state", folder / "site", "--json", folder / "day.json", *words)
        assert done.returncode == 0, done.stderr
        return Day(json.loads((folder / "day.json").read_text()), done.stdout, folder / "site", folder / "day.pdf")

    return run


@pytest.fixture(scope="session")
def walkthrough(headless: Callable[..., Day], tmp_path_factory: pytest.TempPathFactory) -> Day:
    """The walk-through's hour, with its report."""
    report = tmp_path_factory.mktemp("report") / "day.pdf"
    day = headless("--scenario", "walkthrough", "--report", report)
    return Day(day.figures, day.said, day.site, report)


class Screen:
    """A program in a terminal of 80x24, seen and driven as a person would."""

    def __init__(self, command: str, folder: Path) -> None:
        # A server of its own, by a socket in its own folder: another run of these tests must not type in here.
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self._call("new-session", "-d", "-s", "it", "-x", "80", "-y", "24", "-c", str(folder), command)

    def text(self) -> str:
        return self._call("capture-pane", "-p", "-t", "it")

    def sees(self, *words: str, within_s: float = 30.0, without: str = "") -> str:
        """Wait until all the words stand on the screen, and `without` does not; returns it. Fails with what stands
        there instead."""
        until = time.monotonic() + within_s
        pause = threading.Event()
        while True:
            text = self.text()
            if all(word in text for word in words) and not (without and without in text):
                return text
            if time.monotonic() > until:
                pytest.fail(f"not seen within {within_s:g} s: {words} without {without!r}\n{text}")
            pause.wait(0.1)

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self._call("send-keys", "-t", "it", *keys)

    def close(self) -> None:
        self._call("kill-server")

    def _call(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=False).stdout


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Callable[[str], Screen]]:
    """Open a command in a terminal: screen("smartphase demo ..."). Skips where there is no tmux."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed: `make test` installs it where it may")
    opened: list[Screen] = []

    def open_screen(command: str) -> Screen:
        opened.append(Screen(command, tmp_path))
        return opened[-1]

    yield open_screen
    for each in opened:
        each.close()
