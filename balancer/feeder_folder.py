"""Reads a feeder folder: feeder.toml, houses.csv, lines.csv and the load and PV profiles.

A folder that is wrong is refused with the file, the row (counted as an editor counts lines) and the reason.
Not here: what the data means (`feeder`), how it flows (`network`).
"""

from __future__ import annotations

import csv
import math
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
    table = _read_toml(folder / "feeder.toml")
    about, unit, limits = (_section(folder, table, name) for name in ("feeder", "transformer", "limits"))
    houses = tuple(_houses(folder / "houses.csv"))
    lines = tuple(_lines(folder / "lines.csv"))
    try:
        transformer = Transformer(
            bus=str(unit["bus"]),
            **{key: _positive(unit, key) for key in (
                "kva", "impedance_percent", "resistance_percent", "nominal_voltage", "source_short_circuit_a")},
        )
        if transformer.resistance_percent > transformer.impedance_percent:
            raise ValueError("resistance_percent is above impedance_percent")
        feeder = Feeder(
            feeder_id=str(about["id"]), name=str(about.get("name", about["id"])),
            region=str(about.get("region", "")), district=str(about.get("district", "")),
            latitude=float(about.get("latitude", math.nan)), longitude=float(about.get("longitude", math.nan)),
            transformer=transformer,
            limits=Limits(
                phase_current_a=_positive(limits, "phase_current_a"),
                voltage_band_percent=_positive(limits, "voltage_band_percent"),
                vuf_percent=_positive(limits, "vuf_percent"),
                neutral_a=_positive({"neutral_a": 0.3 * limits["phase_current_a"], **limits}, "neutral_a"),
            ),
            houses=houses, lines=lines,
        )
    except KeyError as error:
        raise FeederFolderError(f"{folder / 'feeder.toml'}: {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise FeederFolderError(f"{folder / 'feeder.toml'}: {error}") from error
    _check_radial(folder, feeder)
    return feeder


def read_profiles(folder: Path, feeder: Feeder) -> Profiles:
    """Read the load and PV of every house, minute by minute. Raises FeederFolderError."""
    load = _profile(folder / "load_kw.csv", feeder, required=set(feeder.house_ids))
    with_pv = {house.house_id for house in feeder.houses if house.pv_kwp > 0}
    pv = _profile(folder / "pv_kw.csv", feeder, required=with_pv) if with_pv else np.zeros_like(load)
    if load.shape != pv.shape:
        raise FeederFolderError(f"{folder / 'pv_kw.csv'}: {pv.shape[1]} minutes, load_kw.csv has {load.shape[1]}")
    return Profiles(load_kw=load, pv_kw=pv)


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FeederFolderError(f"{path}: missing; a feeder folder needs it") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FeederFolderError(f"{path}: not TOML: {error}") from error


def _section(folder: Path, table: dict[str, object], name: str) -> dict[str, float]:
    section = table.get(name)
    if not isinstance(section, dict):
        raise FeederFolderError(f"{folder / 'feeder.toml'}: section [{name}] is missing")
    return section


def _positive(section: dict[str, float], key: str) -> float:
    value = float(section[key])
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{key} must be above zero, not {section[key]}")
    return value


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (where, row) of a CSV after checking that the columns are there."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise FeederFolderError(f"{path}: row 1: column {missing[0]} is missing")
            for row in reader:
                where = f"{path}: row {reader.line_num}"
                if None in row or None in row.values():
                    raise FeederFolderError(f"{where}: {len(reader.fieldnames or ())} fields expected")
                yield where, row
    except FileNotFoundError as error:
        raise FeederFolderError(f"{path}: missing; a feeder folder needs it") from error
    except UnicodeDecodeError as error:
        raise FeederFolderError(f"{path}: not UTF-8 text: {error}") from error


def _number(where: str, row: dict[str, str], key: str, low: float, high: float = math.inf) -> float:
    try:
        value = float(row[key])
    except ValueError as error:
        raise FeederFolderError(f"{where}: {key} is not a number: {row[key]!r}") from error
    if not (low <= value <= high and math.isfinite(value)):
        raise FeederFolderError(f"{where}: {key} {row[key]} is outside {low:g} to {high:g}")
    return value


def _flag(where: str, row: dict[str, str], key: str) -> bool:
    if row[key] not in ("0", "1"):
        raise FeederFolderError(f"{where}: {key} must be 0 or 1, not {row[key]!r}")
    return row[key] == "1"


def _houses(path: Path) -> Iterator[House]:
    seen: set[str] = set()
    for where, row in _rows(path, _HOUSE_COLUMNS):
        house_id = row["house_id"]
        if not house_id or not house_id.replace("_", "").replace("-", "").isalnum():
            raise FeederFolderError(f"{where}: house_id {house_id!r} must be letters, digits, - and _")
        if house_id in seen or house_id == "meter":
            raise FeederFolderError(f"{where}: house_id {house_id!r} is taken already")
        if row["phase"] not in PHASES:
            raise FeederFolderError(f"{where}: phase must be R, Y or B, not {row['phase']!r}")
        seen.add(house_id)
        yield House(
            house_id=house_id, bus=row["bus"], phase=PHASES.index(row["phase"]),
            pv_kwp=_number(where, row, "pv_kwp", 0, 100), monthly_kwh=_number(where, row, "monthly_kwh", 0, 20_000),
            switchable=_flag(where, row, "switchable"), critical=_flag(where, row, "critical"),
            power_factor=_number(where, row, "power_factor", 0.2, 1.0),
            pole=row.get("pole", ""), name=row.get("name", ""),
        )
    if not seen:
        raise FeederFolderError(f"{path}: no house in it")


def _lines(path: Path) -> Iterator[Line]:
    for where, row in _rows(path, _LINE_COLUMNS):
        yield Line(row["from_bus"], row["to_bus"], *(_number(where, row, key, 0) for key in _LINE_COLUMNS[2:]))


def _check_radial(folder: Path, feeder: Feeder) -> None:
    """Every bus has one line into it and every house hangs on the transformer."""
    path = folder / "lines.csv"
    line_into: dict[str, str] = {}
    for row, line in enumerate(feeder.lines, start=2):
        if line.to_bus in line_into or line.to_bus == feeder.transformer.bus:
            raise FeederFolderError(f"{path}: row {row}: bus {line.to_bus!r} is fed twice; lines must be radial")
        line_into[line.to_bus] = line.from_bus
    reached = {feeder.transformer.bus}
    for row, line in enumerate(feeder.lines, start=2):
        path_buses: list[str] = []
        at = line.to_bus
        while at not in reached:
            if at in path_buses:
                raise FeederFolderError(f"{path}: row {row}: bus {at!r} lies on a loop; lines must be radial")
            if at not in line_into:
                raise FeederFolderError(
                    f"{path}: row {row}: bus {at!r} is not connected to the transformer's bus "
                    f"{feeder.transformer.bus!r}")
            path_buses.append(at)
            at = line_into[at]
        reached.update(path_buses)
    for row, house in enumerate(feeder.houses, start=2):
        if house.bus not in reached:
            where = f"{folder / 'houses.csv'}: row {row}"
            raise FeederFolderError(f"{where}: unknown bus {house.bus!r}; no line reaches it")


def _profile(path: Path, feeder: Feeder, required: set[str]) -> FloatArray:
    """(n, T) of a profile file; houses that it need not name are zero."""
    index = {house_id: row for row, house_id in enumerate(feeder.house_ids)}
    try:
        with path.open(encoding="utf-8") as file:
            header = file.readline().strip().split(",")
            unknown = [name for name in header[1:] if name not in index]
            missing = sorted(required - set(header[1:]))
            if header[0] != "minute":
                raise FeederFolderError(f"{path}: row 1: the first column must be minute")
            if unknown:
                raise FeederFolderError(f"{path}: row 1: column {unknown[0]!r} is no house of houses.csv")
            if missing:
                raise FeederFolderError(f"{path}: row 1: column {missing[0]!r} is missing")
            values = np.loadtxt(file, delimiter=",", ndmin=2)
    except FileNotFoundError as error:
        raise FeederFolderError(f"{path}: missing; a feeder folder needs it") from error
    except ValueError as error:
        raise FeederFolderError(f"{path}: {str(error).splitlines()[0]}") from error
    if values.size == 0 or values.shape[1] != len(header):
        raise FeederFolderError(f"{path}: {len(header)} fields a row expected")
    bad = np.argwhere(~np.isfinite(values[:, 1:]) | (values[:, 1:] < 0) | (values[:, 1:] > 100))
    if bad.size:
        row, column = bad[0]
        raise FeederFolderError(
            f"{path}: row {row + 2}: {header[column + 1]} is {values[row, column + 1]:g} kW, outside 0 to 100")
    if not np.array_equal(values[:, 0], np.arange(len(values))):
        row = int(np.argmax(values[:, 0] != np.arange(len(values))))
        raise FeederFolderError(f"{path}: row {row + 2}: minute {values[row, 0]:g} where {row} was expected")
    profile = np.zeros((len(feeder.houses), len(values)))
    profile[[index[name] for name in header[1:]]] = values[:, 1:].T
    return profile
