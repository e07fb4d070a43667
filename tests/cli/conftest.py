"""The command line run in this process: what it printed, and with which status it ended."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


@pytest.fixture
def smartphase(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run `smartphase` with the given words."""
    from smartphase_tui.cli import main

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["smartphase", *map(str, words)])
        status = main()
        said = capsys.readouterr()
        return Ended(status, said.out, said.err)

    return run
