"""Fixtures for every room: a small feeder folder, and the measured cases where they lie beside the checkout."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

MEASURED = Path(__file__).resolve().parents[2] / "shared" / "feeders"

FEEDER_TOML = """
[feeder]
id = "KL-TST-0001"
name = "Small street"
region = "Central"
district = "Thrissur"
latitude = 10.5
longitude = 76.2
[transformer]
bus = "T"
kva = 100
impedance_percent = 4.5
resistance_percent = 1.76
nominal_voltage = 240.0
source_short_circuit_a = 3000
[limits]
phase_current_a = 133.0
voltage_band_percent = 6.0
vuf_percent = 2.0
neutral_a = 40.0
"""


def write_feeder(folder: Path, houses: int = 9, minutes: int = 1440, lopsided: bool = True) -> Path:
    """A radial street of `houses` along a bundled conductor; every third has PV; lopsided puts most on R."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "feeder.toml").write_text(FEEDER_TOML)
    rows = ["house_id,bus,phase,pv_kwp,monthly_kwh,switchable,critical,power_factor,pole"]
    for i in range(houses):
        phase = "RRRY"[i % 4] if lopsided else "RYB"[i % 3]
        critical = 1 if i == houses - 1 else 0
        rows.append(f"H{i + 1:03d},P{i // 2 + 1:02d},{phase},{3 if i % 3 == 0 else 0},{150 + 20 * (i % 5)},1,"
                    f"{critical},0.95,P{i // 2 + 1:02d}")
    (folder / "houses.csv").write_text("\n".join(rows) + "\n")
    poles = (houses - 1) // 2 + 1
    lines = ["from_bus,to_bus,length_m,r1_ohm_per_km,x1_ohm_per_km,r0_ohm_per_km,x0_ohm_per_km"]
    for k in range(poles):
        lines.append(f"{'T' if k == 0 else f'P{k:02d}'},P{k + 1:02d},35,0.443,0.083,1.68,0.33")
    (folder / "lines.csv").write_text("\n".join(lines) + "\n")
    load = ["minute," + ",".join(f"H{i + 1:03d}" for i in range(houses))]
    solar = ["minute," + ",".join(f"H{i + 1:03d}" for i in range(0, houses, 3))]
    for minute in range(minutes):
        hour = minute / 60
        evening = math.exp(-((hour - 20) / 2.0) ** 2)
        kw = [0.2 + 2.4 * evening * (0.6 + 0.1 * (i % 5)) + 0.05 * math.sin(minute * (i + 1) / 7)
              for i in range(houses)]
        load.append(f"{minute}," + ",".join(f"{max(x, 0):.3f}" for x in kw))
        sun = max(math.sin(math.pi * (hour - 6.3) / 12.0), 0.0) if 6.3 < hour < 18.3 else 0.0
        solar.append(f"{minute}," + ",".join(f"{2.3 * sun:.3f}" for _ in range(0, houses, 3)))
    (folder / "load_kw.csv").write_text("\n".join(load) + "\n")
    (folder / "pv_kw.csv").write_text("\n".join(solar) + "\n")
    return folder


@pytest.fixture
def small_feeder_dir(tmp_path: Path) -> Path:
    """A feeder folder with nine houses and one day of one-minute profiles."""
    return write_feeder(tmp_path / "feeder")


@pytest.fixture
def make_feeder_dir(tmp_path: Path):
    """Write a feeder folder of another size: make_feeder_dir(houses=30, minutes=60)."""
    def make(**settings: object) -> Path:
        return write_feeder(tmp_path / f"feeder-{len(list(tmp_path.iterdir()))}", **settings)

    return make


@pytest.fixture(scope="session")
def measured_feeder_dir() -> Path | None:
    """The first measured case, or None where the checkout stands alone."""
    case = MEASURED / "european_lv_0"
    return case if case.is_dir() else None
