"""Reads a feeder folder: feeder.toml, houses.csv, lines.csv and the load and PV profiles.

A folder that is wrong is refused with the file, the row (counted as an editor counts lines) and the reason.
Not here: what the data means (`feeder`), how it flows (`network`).
"""

from __future__ import annotations

import csv
import io
import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from balancer.decision import FloatArray
from balancer.errors import FeederFolderError
from balancer.feeder import PHASES, Feeder, House, Limits, Line, Transformer

_HOUSE_COLUMNS = ("house_id", "bus", "phase", "pv_kwp", "monthly_kwh", "switchable", "critical", "power_factor")
_LINE_COLUMNS = ("from_bus", "to_bus", "length_m", "r1_ohm_per_km", "x1_ohm_per_km", "r0_ohm_per_km", "x0_ohm_per_km")

_IDENT = re.compile(r"[A-Za-z0-9_-]{1,40}")
"""What can stand in a topic."""
_MOST_KW = 100.0
_Rows = list[tuple[str, dict[str, str]]]
"""Where each row stands, for a refusal, and its values by column."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """Measured or generated days of a feeder, at one minute.

    Attributes:
        load_kw: (n, T) consumption of each house without its PV, kW >= 0.
        pv_kw: (n, T) what its PV would make undisturbed, kW >= 0; zero rows for houses without.
    """

    load_kw: FloatArray
    pv_kw: FloatArray

    @property
    def minutes(self) -> int:
        return int(self.load_kw.shape[1])


def read_feeder(folder: Path) -> Feeder:
    """Read and check the description of a feeder. Raises FeederFolderError."""
    if not folder.is_dir():
        raise FeederFolderError(f"{folder}: no such feeder folder; name one that holds feeder.toml")
    toml = folder / "feeder.toml"
    table = _read_toml(toml)
    about, unit, limits = (_section(toml, table, name) for name in ("feeder", "transformer", "limits"))
    house_rows = _rows(folder / "houses.csv", _HOUSE_COLUMNS)
    line_rows = _rows(folder / "lines.csv", _LINE_COLUMNS)
    try:
        if not _IDENT.fullmatch(str(about["id"])):
            raise ValueError(f"[feeder] id {about['id']!r} must be letters, digits, - and _: it names topics")
        feeder = Feeder(
            feeder_id=str(about["id"]), name=str(about.get("name", about["id"])),
            region=str(about.get("region", "")), district=str(about.get("district", "")),
            latitude=_within(about, "latitude", 90.0), longitude=_within(about, "longitude", 180.0),
            transformer=_transformer(unit), limits=_limits(limits),
            houses=tuple(_houses(folder / "houses.csv", house_rows)), lines=tuple(_lines(line_rows)),
        )
    except KeyError as error:
        raise FeederFolderError(f"{toml}: {error} is missing") from error
    except ValueError as error:
        raise FeederFolderError(f"{toml}: {error}") from error
    _check_radial(feeder, house_rows, line_rows)
    return feeder


def read_profiles(folder: Path, feeder: Feeder) -> Profiles:
    """Read the load and PV of every house, minute by minute. Raises FeederFolderError."""
    load = _profile(folder / "load_kw.csv", feeder, required=set(feeder.house_ids))
    with_pv = {house.house_id for house in feeder.houses if house.pv_kwp > 0}
    pv = _profile(folder / "pv_kw.csv", feeder, required=with_pv) if with_pv else np.zeros_like(load)
    if load.shape != pv.shape:
        raise FeederFolderError(f"{folder / 'pv_kw.csv'}: {pv.shape[1]} minutes, load_kw.csv has {load.shape[1]}")
    return Profiles(load_kw=load, pv_kw=pv)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")     # a spreadsheet may put a byte order mark before the text
    except FileNotFoundError as error:
        raise FeederFolderError(f"{path}: missing; a feeder folder needs it") from error
    except UnicodeDecodeError as error:
        raise FeederFolderError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8") from error
    except OSError as error:
        raise FeederFolderError(f"{path}: cannot be read: {error.strerror}") from error


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(_read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise FeederFolderError(f"{path}: not TOML: {error}") from error


def _section(toml: Path, table: dict[str, object], name: str) -> dict[str, object]:
    section = table.get(name)
    if not isinstance(section, dict):
        raise FeederFolderError(f"{toml}: section [{name}] is missing")
    return section


def _transformer(unit: dict[str, object]) -> Transformer:
    transformer = Transformer(
        bus=str(unit["bus"]),
        **{key: _positive(unit, key) for key in (
            "kva", "impedance_percent", "resistance_percent", "nominal_voltage", "source_short_circuit_a")},
    )
    if transformer.resistance_percent > transformer.impedance_percent:
        raise ValueError("resistance_percent is above impedance_percent")
    if not 100 <= transformer.nominal_voltage <= 300:
        raise ValueError(
            f"nominal_voltage {transformer.nominal_voltage:g} is outside 100 to 300 V; give it phase to neutral")
    return transformer


def _limits(section: dict[str, object]) -> Limits:
    """Without a figure of its own the neutral's limit is 30 % of a phase's."""
    phase_current_a = _positive(section, "phase_current_a")
    return Limits(
        phase_current_a=phase_current_a,
        voltage_band_percent=_positive(section, "voltage_band_percent", below=100.0),
        vuf_percent=_positive(section, "vuf_percent", below=100.0),
        neutral_a=_positive(section, "neutral_a") if "neutral_a" in section else 0.3 * phase_current_a,
    )


def _real(section: dict[str, object], key: str) -> float:
    value = section[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} must be a number, not {value!r}")
    return float(value)


def _positive(section: dict[str, object], key: str, below: float = math.inf) -> float:
    value = _real(section, key)
    if not 0 < value < below:
        upto = f" and below {below:g}" if below < math.inf else ""
        raise ValueError(f"{key} must be above zero{upto}, not {value:g}")
    return value


def _within(section: dict[str, object], key: str, most: float) -> float:
    """An angle up to `most` degrees either way, nan where it is not given."""
    value = _real(section, key) if key in section else math.nan
    if abs(value) > most:
        raise ValueError(f"{key} {value:g} is outside -{most:g} to {most:g} degrees")
    return value


def _table(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield row number and cells, the header first, blank rows left out; every row is as wide as the header."""
    reader = csv.reader(io.StringIO(_read_text(path), newline=""))
    header: list[str] = []
    try:
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if not any(values):
                continue
            if not header:
                header = values
                twice = [name for name in header if header.count(name) > 1]
                if twice:
                    raise FeederFolderError(f"{path}: row {reader.line_num}: column {twice[0]!r} stands twice")
            elif len(values) != len(header):
                raise FeederFolderError(
                    f"{path}: row {reader.line_num}: {len(header)} fields expected, {len(values)} found")
            yield reader.line_num, values
    except csv.Error as error:
        raise FeederFolderError(f"{path}: row {reader.line_num}: not CSV: {error}") from error
    if not header:
        raise FeederFolderError(f"{path}: empty; it needs a header and a row below it")


def _rows(path: Path, columns: tuple[str, ...]) -> _Rows:
    """Every row of a CSV after checking that the columns are there."""
    table = _table(path)
    _, header = next(table)
    missing = [name for name in columns if name not in header]
    if missing:
        raise FeederFolderError(f"{path}: row 1: column {missing[0]} is missing")
    return [(f"{path}: row {number}", dict(zip(header, cells, strict=True))) for number, cells in table]


def _number(where: str, row: dict[str, str], key: str, low: float, high: float = math.inf, unit: str = "") -> float:
    try:
        value = float(row[key])
    except ValueError as error:
        raise FeederFolderError(f"{where}: {key} is not a number: {row[key]!r}") from error
    if not (low <= value <= high and math.isfinite(value)):
        raise FeederFolderError(f"{where}: {key} {row[key]} is outside {low:g} to {high:g}{unit}")
    return value


def _flag(where: str, row: dict[str, str], key: str) -> bool:
    if row[key] not in ("0", "1"):
        raise FeederFolderError(f"{where}: {key} must be 0 or 1, not {row[key]!r}")
    return row[key] == "1"


def _houses(path: Path, rows: _Rows) -> Iterator[House]:
    seen: set[str] = set()
    for where, row in rows:
        house_id = row["house_id"]
        if not _IDENT.fullmatch(house_id):
            raise FeederFolderError(f"{where}: house_id {house_id!r} must be letters, digits, - and _, at most 40")
        if house_id in seen or house_id == "meter":
            raise FeederFolderError(f"{where}: house_id {house_id!r} is taken already")
        if row["phase"] not in PHASES:
            raise FeederFolderError(f"{where}: phase must be R, Y or B, not {row['phase']!r}")
        seen.add(house_id)
        yield House(
            house_id=house_id, bus=row["bus"], phase=PHASES.index(row["phase"]),
            pv_kwp=_number(where, row, "pv_kwp", 0, _MOST_KW),
            monthly_kwh=_number(where, row, "monthly_kwh", 0, 20_000),
            switchable=_flag(where, row, "switchable"), critical=_flag(where, row, "critical"),
            power_factor=_number(where, row, "power_factor", 0.2, 1.0),
            pole=row.get("pole", ""), name=row.get("name", ""),
        )
    if not seen:
        raise FeederFolderError(f"{path}: no house in it")


def _lines(rows: _Rows) -> Iterator[Line]:
    for where, row in rows:
        yield Line(row["from_bus"], row["to_bus"], *(_number(where, row, key, 0) for key in _LINE_COLUMNS[2:]))


def _check_radial(feeder: Feeder, house_rows: _Rows, line_rows: _Rows) -> None:
    """Every bus has one line into it and every house hangs on the transformer."""
    line_into: dict[str, str] = {}
    for (where, _), line in zip(line_rows, feeder.lines, strict=True):
        if line.to_bus in line_into or line.to_bus == feeder.transformer.bus:
            raise FeederFolderError(f"{where}: bus {line.to_bus!r} is fed twice; lines must be radial and run from the "
                                    "transformer outwards")
        line_into[line.to_bus] = line.from_bus
    reached = {feeder.transformer.bus}
    for (where, _), line in zip(line_rows, feeder.lines, strict=True):
        path_buses: dict[str, None] = {}
        at = line.to_bus
        while at not in reached:
            if at in path_buses:
                raise FeederFolderError(f"{where}: bus {at!r} lies on a loop; lines must be radial")
            if at not in line_into:
                raise FeederFolderError(
                    f"{where}: bus {at!r} is not connected to the transformer's bus {feeder.transformer.bus!r}")
            path_buses[at] = None
            at = line_into[at]
        reached.update(path_buses)
    for (where, _), house in zip(house_rows, feeder.houses, strict=True):
        if house.bus not in reached:
            raise FeederFolderError(f"{where}: unknown bus {house.bus!r}; no line reaches it")


def _profile(path: Path, feeder: Feeder, required: set[str]) -> FloatArray:
    """(n, T) of a profile file that names the `required` houses and no other; the others are zero."""
    index = {house_id: row for row, house_id in enumerate(feeder.house_ids)}
    table = _table(path)
    _, header = next(table)
    unknown = [name for name in header[1:] if name not in index]
    missing = sorted(required - set(header[1:]))
    unasked = [name for name in header[1:] if name not in required]
    if header[0] != "minute":
        raise FeederFolderError(f"{path}: row 1: the first column must be minute")
    if unknown:
        raise FeederFolderError(f"{path}: row 1: column {unknown[0]!r} is no house of houses.csv")
    if missing:
        raise FeederFolderError(f"{path}: row 1: column {missing[0]!r} is missing")
    if unasked:
        raise FeederFolderError(f"{path}: row 1: column {unasked[0]!r}: houses.csv gives that house no PV (pv_kwp 0)")
    values: list[list[float]] = []
    for number, cells in table:
        row = _kilowatts(f"{path}: row {number}", header, cells)
        if row[0] != len(values):
            raise FeederFolderError(f"{path}: row {number}: minute {cells[0]} where {len(values)} was expected")
        values.append(row[1:])
    if not values:
        raise FeederFolderError(f"{path}: no minute below the header")
    profile = np.zeros((len(feeder.houses), len(values)))
    profile[[index[name] for name in header[1:]]] = np.array(values).T
    return profile


def _kilowatts(where: str, header: list[str], cells: list[str]) -> list[float]:
    """The minute and the powers of one row, or which of them is none."""
    try:
        row = [float(cell) for cell in cells]
    except ValueError:
        row = []
    if not row or not all(0 <= kw <= _MOST_KW for kw in row[1:]):
        named = dict(zip(header, cells, strict=True))
        for name in header:
            _number(where, named, name, 0, math.inf if name == "minute" else _MOST_KW, unit=" kW")
    return row
