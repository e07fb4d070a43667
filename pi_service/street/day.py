"""A whole day in lockstep through a real broker: every house, the meter, the Pi and its databases, in a minute or so.

    result = await run_day(Path("data/feeders/kerala_street"), seed=0)

The same seed, feeder and faults give the same switch log, byte for byte. Not here: what the study's policies would
do (`balancer.study`), which needs no broker and no node.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from balancer.decision import FloatArray, IntArray
from balancer.errors import SmartPhaseError
from balancer.feeder import Feeder
from balancer.feeder_folder import Profiles, read_feeder, read_profiles
from balancer.network import Network
from balancer.score import score_day
from balancer.study import DEFAULT_START
from pi_service.broker import Kind, run_broker
from pi_service.clock import ManualClock, local_day_start
from pi_service.config import ControlSettings, StationConfig, TelemetrySettings
from pi_service.contract import AlarmView, SwitchView
from pi_service.site import create_site, load_site
from pi_service.store.audit_reader import AuditReader
from pi_service.street.barrier import Barrier
from pi_service.street.faults import Fault, check_faults
from pi_service.street.lockstep import Lockstep
from pi_service.street.pi import LockstepPi
from pi_service.street.street import Street, StreetSettings
from pi_service.street.trouble import Trouble

Progress = Callable[[int, int], None]
"""Minutes done, minutes in all."""

STATION = StationConfig(
    control=ControlSettings(),
    telemetry=TelemetrySettings(interval_s=60.0, stale_after_s=150.0, commit_s=600.0),
)
"""The daemon's settings where readings come once a minute."""


@dataclass(frozen=True, slots=True)
class DayResult:
    """What happened; n houses, T minutes.

    phase: (n, T) 0/1/2 held longest in each minute, -1 where the house had no supply.
    load_kw, load_kvar, pv_kw: (n, T) means as consumed and made; pv_available_kw: as the sun allowed.
    initial_phase, switches_per_house: (n,) at the start; how often a house came onto another phase.
    before, after: scored days (DESIGN, "JSON keys of a scored day"): nothing ever switched, and as it was.
    switch_log: every transition as a JSON line, in the order of the audit log; switches: how each ended.
    alarms: as they stood or ended, oldest first. counters: the daemon's, summed over its restarts.
    overlap_ms: for how long any house had two contacts closed. elapsed_s: wall time of the run.
    """

    feeder: Feeder
    start: float
    phase: IntArray
    load_kw: FloatArray
    load_kvar: FloatArray
    pv_kw: FloatArray
    pv_available_kw: FloatArray
    initial_phase: IntArray
    switches_per_house: IntArray
    before: dict[str, float]
    after: dict[str, float]
    switch_log: tuple[str, ...]
    switches: tuple[SwitchView, ...]
    alarms: tuple[AlarmView, ...]
    counters: dict[str, int]
    decision_ms: tuple[float, ...]
    overlap_ms: int
    broker: str
    audit_db: Path
    telemetry_db: Path
    elapsed_s: float


async def run_day(
    feeder_dir: Path, *, seed: int = 0, hours: float = 24.0, start: float = DEFAULT_START,
    faults: Sequence[Fault] = (), site_dir: Path | None = None, progress: Progress | None = None,
    broker_kind: Kind | None = None, config: StationConfig = STATION,
) -> DayResult:
    """Live `hours` from `start` (Unix s; minute 0 of the profiles is its local midnight) and tell what happened.

    `site_dir` keeps keys and databases; without one they are made in a folder that is gone afterwards. Raises
    SmartPhaseError: a wrong feeder folder, a fault outside the run, a site that holds a day already, no broker.
    """
    began = time.perf_counter()
    feeder = read_feeder(feeder_dir)
    profiles = read_profiles(feeder_dir, feeder)
    minutes = round(hours * 60)
    if minutes < 1:
        raise SmartPhaseError(f"a day of {hours:g} hours: give at least one minute")
    first = round((start - local_day_start(start)) / 60)
    check_faults(tuple(faults), feeder, start, start + 60.0 * minutes)
    async with AsyncExitStack() as stack:
        folder = site_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smartphase-day-")))
        made = create_site(folder, feeder_dir, {"operator": "operator"})
        data = Path(made.site.data)
        if (data / "audit.db").exists():
            raise SmartPhaseError(f"{data}: holds a day already; name an empty folder for the site")
        broker = await stack.enter_async_context(run_broker(folder / "broker", kind=broker_kind))
        clock, barrier = ManualClock(start), Barrier()
        site = load_site(made)
        street = Street(feeder, profiles, site.nodes, clock,
                        StreetSettings(seed=seed, reconnect_s=config.control.pv_reconnect_s))
        settings = msgspec.structs.replace(config, broker_name=broker.name)
        pi = LockstepPi(settings, site, clock, data, barrier.arrived)
        lockstep = Lockstep(street, pi, broker, clock, Trouble(faults, street, start), barrier)
        await lockstep.begin()
        for minute in range(minutes):
            await lockstep.minute(first + minute)
            if progress is not None:
                progress(minute + 1, minutes)
        await lockstep.end()
        at = (first + np.arange(minutes)) % profiles.minutes
        return _result(street, profiles, pi, at, start, broker.name, data, time.perf_counter() - began)


def _result(street: Street, profiles: Profiles, pi: LockstepPi, minutes: IntArray, start: float, broker: str,
            data: Path, elapsed_s: float) -> DayResult:
    feeder, ledger = street.feeder, street.ledger
    phase, pv, available = np.array(ledger.phase).T, np.array(ledger.pv_kw).T, np.array(ledger.pv_available_kw).T
    load, reactive = np.array(ledger.load_kw).T, np.array(ledger.load_kvar).T
    initial = np.array([house.phase for house in feeder.houses], dtype=np.int64)
    audit = AuditReader.open_readonly(data / "audit.db")
    try:
        log = tuple(switch_line(row.at, row.body) for row in audit.rows(
            kinds=("switch",), limit=None, newest_first=False))
        switches, alarms = audit.switches(limit=None)[::-1], audit.alarms(limit=None)[::-1]
    finally:
        audit.close()
    return DayResult(
        feeder=feeder, start=start, phase=phase, load_kw=load, load_kvar=reactive, pv_kw=pv,
        pv_available_kw=available, initial_phase=initial, switches_per_house=ledger.switches,
        before=_untouched(street.network, profiles, initial, minutes),
        after=score_day(street.network, phase, load, reactive, pv, available, ledger.switches, pi.decision_ms),
        switch_log=log, switches=switches, alarms=alarms, counters=pi.counters, decision_ms=tuple(pi.decision_ms),
        overlap_ms=street.overlap_ms, broker=broker, audit_db=data / "audit.db",
        telemetry_db=data / "telemetry.db", elapsed_s=elapsed_s)


def _untouched(network: Network, profiles: Profiles, initial: IntArray, minutes: IntArray) -> dict[str, float]:
    """The score of the same minutes with every house where it began; `minutes` (T,) of the profiles."""
    load, pv = profiles.load_kw[:, minutes], profiles.pv_kw[:, minutes]
    angle = np.arccos([house.power_factor for house in network.feeder.houses])
    phase = np.repeat(initial[:, None], len(minutes), axis=1)
    return score_day(network, phase, load, load * np.tan(angle)[:, None], pv, pv, np.zeros(len(initial), np.int64))


def switch_line(at: float, body: dict[str, object]) -> str:
    """One transition of a switch as a JSON line: when it was committed, and what was written with it."""
    return msgspec.json.encode({"at": at, **body}).decode()
