"""A feeder folder is read whole, or refused with the file, the row and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from balancer.errors import FeederFolderError
from balancer.feeder_folder import read_feeder, read_profiles


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_sound_folder_is_read_in_its_own_order(small_feeder_dir):
    feeder = read_feeder(small_feeder_dir)
    profiles = read_profiles(small_feeder_dir, feeder)
    assert feeder.house_ids[:2] == ("H001", "H002")
    assert feeder.houses[0].phase == 0 and feeder.houses[3].phase == 1
    assert feeder.houses[-1].critical
    assert profiles.load_kw.shape == profiles.pv_kw.shape == (9, 1440)
    assert profiles.pv_kw[1].max() == 0 and profiles.pv_kw[0].max() > 2


def test_the_neutral_limit_has_a_default_where_the_folder_names_none(small_feeder_dir):
    _edit(small_feeder_dir / "feeder.toml", "neutral_a = 40.0", "")
    assert read_feeder(small_feeder_dir).limits.neutral_a == pytest.approx(0.3 * 133)


BROKEN = {
    "a loop": ("lines.csv", "P04,P05", "P05,P05", ["lines.csv", "row 6", "loop"]),
    "a bus fed twice": ("lines.csv", "P03,P04", "P03,P02", ["lines.csv", "row 5", "fed twice"]),
    "an island": ("lines.csv", "T,P01", "X,P01", ["lines.csv", "row 2", "not connected"]),
    "a negative length": ("lines.csv", "P02,35", "P02,-35", ["lines.csv", "row 3", "length_m"]),
    "a length that is no number": ("lines.csv", "P02,35", "P02,long", ["lines.csv", "row 3", "not a number"]),
    "a NaN": ("lines.csv", "0.443", "nan", ["lines.csv", "row 2", "r1_ohm_per_km"]),
    "a missing column": ("lines.csv", "length_m", "length", ["lines.csv", "row 1", "length_m", "missing"]),
    "an unknown bus": ("houses.csv", "H003,P02", "H003,P99", ["houses.csv", "row 4", "P99"]),
    "a fourth phase": ("houses.csv", "P01,R,3", "P01,W,3", ["houses.csv", "row 2", "R, Y or B"]),
    "a house twice": ("houses.csv", "H002", "H001", ["houses.csv", "row 3", "taken"]),
    "the meter's name": ("houses.csv", "H002", "meter", ["houses.csv", "row 3", "taken"]),
    "a topic separator in a name": ("houses.csv", "H002", "H/2", ["houses.csv", "row 3", "letters"]),
    "a flag that is none": ("houses.csv", "150,1,0", "150,yes,0", ["houses.csv", "row 2", "switchable"]),
    "a power factor above one": ("houses.csv", "0.95", "1.95", ["houses.csv", "row 2", "power_factor"]),
    "a short row": ("houses.csv", ",0,0.95,P01\nH002", "\nH002", ["houses.csv", "row 2", "fields"]),
    "a missing key": ("feeder.toml", "kva = 100", "", ["feeder.toml", "kva"]),
    "a missing section": ("feeder.toml", "[limits]", "[limit]", ["feeder.toml", "[limits]"]),
    "broken TOML": ("feeder.toml", "[limits]", "[limits", ["feeder.toml", "TOML"]),
    "a zero rating": ("feeder.toml", "kva = 100", "kva = 0", ["feeder.toml", "kva", "above zero"]),
    "an unknown load": ("load_kw.csv", "H002", "H999", ["load_kw.csv", "H999"]),
    "a missing load": ("load_kw.csv", ",H002", "", ["load_kw.csv", "H002", "missing"]),
    "a negative load": ("load_kw.csv", "\n0,0.", "\n0,-0.", ["load_kw.csv", "row 2", "kW"]),
    "a skipped minute": ("load_kw.csv", "\n1,", "\n7,", ["load_kw.csv", "row 3", "minute"]),
    "a text in the loads": ("load_kw.csv", "\n5,0", "\n5,x0", ["load_kw.csv", "row 7", "H001", "'x0."]),
    "a NaN in the loads": ("load_kw.csv", "\n5,0.233,", "\n5,nan,", ["load_kw.csv", "row 7", "H001 nan"]),
    "an infinite load": ("load_kw.csv", "\n5,", "\n5,inf", ["load_kw.csv", "row 7", "H001"]),
    "loads in watts": ("load_kw.csv", "\n5,0.", "\n5,9", ["load_kw.csv", "row 7", "H001", "kW"]),
    "a row too long": ("load_kw.csv", "\n5,", "\n5,0,", ["load_kw.csv", "row 7", "10 fields expected, 11 found"]),
    "half a minute": ("load_kw.csv", "\n5,", "\n4.5,", ["load_kw.csv", "row 7", "minute 4.5"]),
    "a column twice": ("load_kw.csv", "H002", "H001", ["load_kw.csv", "row 1", "H001", "twice"]),
    "solar of a house without": ("pv_kw.csv", ",H004", ",H004,H002", ["pv_kw.csv", "row 1", "H002", "no PV"]),
    "a feeder that names no topic": ("feeder.toml", "KL-TST-0001", "KL/TST+1", ["feeder.toml", "id", "letters"]),
    "a rating in quotes": ("feeder.toml", "kva = 100", 'kva = "100"', ["feeder.toml", "kva", "number"]),
    "line-to-line volts": ("feeder.toml", "nominal_voltage = 240.0", "nominal_voltage = 415", ["phase to neutral"]),
    "more resistance than impedance": ("feeder.toml", "resistance_percent = 1.76", "resistance_percent = 7", ["above"]),
    "a latitude past the pole": ("feeder.toml", "latitude = 10.5", "latitude = 105", ["feeder.toml", "latitude"]),
    "a name too long": ("houses.csv", "H002", "H" * 41, ["houses.csv", "row 3", "40"]),
    "a letter outside ASCII": ("houses.csv", "H002", "Hé2", ["houses.csv", "row 3", "letters"]),
    "a negative bill": ("houses.csv", ",150,", ",-150,", ["houses.csv", "row 2", "monthly_kwh"]),
    "a field without end": ("houses.csv", "H002", "H" * 200_000, ["houses.csv", "row 3", "not CSV"]),
    "a line towards the transformer": ("lines.csv", "P01,P02", "P02,P01", ["lines.csv", "row 3", "outwards"]),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_is_refused_with_file_row_and_reason(small_feeder_dir, what):
    file, old, new, words = BROKEN[what]
    _edit(small_feeder_dir / file, old, new)
    with pytest.raises(FeederFolderError) as refused:
        read_profiles(small_feeder_dir, read_feeder(small_feeder_dir))
    message = str(refused.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("file", ["feeder.toml", "houses.csv", "lines.csv", "load_kw.csv", "pv_kw.csv"])
def test_a_missing_file_is_named(small_feeder_dir, file):
    (small_feeder_dir / file).unlink()
    with pytest.raises(FeederFolderError, match=file):
        read_profiles(small_feeder_dir, read_feeder(small_feeder_dir))


@pytest.mark.parametrize("file", ["feeder.toml", "houses.csv", "load_kw.csv"])
def test_what_is_not_text_is_named(small_feeder_dir, file):
    (small_feeder_dir / file).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FeederFolderError, match=f"{file}: not UTF-8"):
        read_profiles(small_feeder_dir, read_feeder(small_feeder_dir))


@pytest.mark.parametrize("file", ["feeder.toml", "houses.csv", "load_kw.csv"])
def test_what_is_no_file_is_named(small_feeder_dir, file):
    (small_feeder_dir / file).unlink()
    (small_feeder_dir / file).mkdir()
    with pytest.raises(FeederFolderError, match=f"{file}: cannot be read"):
        read_profiles(small_feeder_dir, read_feeder(small_feeder_dir))


@pytest.mark.parametrize("file", ["houses.csv", "lines.csv", "load_kw.csv"])
def test_an_empty_file_is_named(small_feeder_dir, file):
    (small_feeder_dir / file).write_text("\n\n")
    with pytest.raises(FeederFolderError, match=f"{file}: empty"):
        read_profiles(small_feeder_dir, read_feeder(small_feeder_dir))


def test_load_and_solar_must_cover_the_same_minutes(small_feeder_dir):
    solar = small_feeder_dir / "pv_kw.csv"
    solar.write_text("\n".join(solar.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(FeederFolderError, match="1439 minutes, load_kw"):
        read_profiles(small_feeder_dir, read_feeder(small_feeder_dir))


def test_rows_are_counted_as_an_editor_does_past_blank_ones(small_feeder_dir):
    _edit(small_feeder_dir / "houses.csv", "\nH002", "\n\nH002")
    _edit(small_feeder_dir / "houses.csv", "H003,P02", "H003,P99")
    with pytest.raises(FeederFolderError, match="row 5: unknown bus 'P99'"):
        read_feeder(small_feeder_dir)


def test_a_spreadsheet_s_byte_order_mark_line_ends_and_spaces_change_nothing(small_feeder_dir):
    feeder = read_feeder(small_feeder_dir)
    profiles = read_profiles(small_feeder_dir, feeder)
    for file in small_feeder_dir.iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    _edit(small_feeder_dir / "houses.csv", "H002,P01", "H002, P01")
    again = read_feeder(small_feeder_dir)
    assert again == feeder
    assert (read_profiles(small_feeder_dir, again).load_kw == profiles.load_kw).all()


def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(FeederFolderError, match="no such feeder folder"):
        read_feeder(tmp_path / "nowhere")
