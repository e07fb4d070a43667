"""The node's bench as fixtures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.firmware.bench import Bench


@pytest.fixture
def bench() -> Bench:
    """A house that stands on R."""
    return Bench()


@pytest.fixture
def make_bench() -> Callable[..., Bench]:
    """Benches to order: `make_bench(on=None)`, `make_bench(dwell_s=600)`."""
    return Bench
