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


def write_feeder(folder: Path, minutes: int = 240) -> Path:
    """Nine houses, all on R at the end of one line: as unbalanced as it gets; three have a steady sun."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "feeder.toml").write_text(
        '[feeder]\nid = "KL-TST-0001"\nname = "Nine houses"\nregion = "Central"\ndistrict = "Thrissur"\n'
        "latitude = 10.5\nlongitude = 76.2\n"
        '[transformer]\nbus = "TX"\nkva = 100\nimpedance_percent = 4.5\nresistance_percent = 1.76\n'
        "nominal_voltage = 240.0\nsource_short_circuit_a = 3000\n"
        "[limits]\nphase_current_a = 133.0\nvoltage_band_percent = 6.0\nvuf_percent = 2.0\nneutral_a = 40.0\n")
    houses = [f"H{number:03d}" for number in range(1, 10)]
    (folder / "houses.csv").write_text(
        "house_id,bus,phase,pv_kwp,monthly_kwh,switchable,critical,power_factor\n"
        + "".join(f"{house},{house},R,{3 if i % 3 == 0 else 0},{700 + 20 * i},1,0,0.95\n"
                  for i, house in enumerate(houses)))
    (folder / "lines.csv").write_text(
        "from_bus,to_bus,length_m,r1_ohm_per_km,x1_ohm_per_km,r0_ohm_per_km,x0_ohm_per_km\n"
        "TX,P1,60,0.443,0.1,2.333,0.4\n"
        + "".join(f"P1,{house},{15 + i},1.91,0.1,7.64,0.4\n" for i, house in enumerate(houses)))
    loads = [f"{1 + 0.1 * i:.3f}" for i in range(len(houses))]
    (folder / "load_kw.csv").write_text(
        "minute," + ",".join(houses) + "\n"
        + "".join(f"{minute}," + ",".join(loads) + "\n" for minute in range(minutes)))
    (folder / "pv_kw.csv").write_text(
        "minute,H001,H004,H007\n" + "".join(f"{minute},0.5,0.6,0.7\n" for minute in range(minutes)))
    return folder


@pytest.fixture(scope="session")
def nine_houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_feeder(tmp_path_factory.mktemp("nine_houses"))
