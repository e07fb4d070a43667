"""What the tests of the street share: the measured cases, and a small feeder that needs no file outside."""

from __future__ import annotations

from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
MEASURED = REPO.parent / "shared" / "feeders"


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(scope="session")
def kerala_street() -> Path:
    return REPO / "data" / "feeders" / "kerala_street"


@pytest.fixture(scope="session")
def measured_cases() -> list[Path]:
    """The five measured development cases; skips where they are not beside the repository."""
    cases = sorted(MEASURED.glob("european_lv_*"))
    if not cases:
        pytest.skip(f"no measured cases in {MEASURED}")
    return cases
