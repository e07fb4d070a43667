"""A day in lockstep through a real broker: it balances, it repeats, and no fault makes two phases meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from balancer.errors import SmartPhaseError
from pi_service.broker import find_mosquitto
from pi_service.contract import FINAL_STATES
from pi_service.store.chain import verify
from pi_service.street.barrier import Barrier
from pi_service.street.day import DayResult, run_day
from pi_service.street.faults import FaultError, parse_fault

OPEN = -1


async def short_day(feeder: Path, site: Path, *faults: str, hours: float = 1.0) -> DayResult:
    return await run_day(feeder, hours=hours, site_dir=site, faults=[parse_fault(text) for text in faults])


def assert_safe(day: DayResult) -> None:
    """What must hold whatever breaks: phases never meet, every switch is logged and came to an end."""
    assert day.overlap_ms == 0
    unfinished = [(view.id, view.state) for view in day.switches if view.state not in FINAL_STATES]
    assert unfinished == []
    assert verify(day.audit_db).ok
    for house, moved in zip(day.feeder.house_ids, day.switches_per_house.tolist(), strict=True):
        states = [view.state for view in day.switches if view.house == house and view.state != "REFUSED"]
        assert moved >= states.count("VERIFIED"), f"{house}: called verified though nothing moved"
        assert moved <= states.count("VERIFIED") + 2 * (len(states) - states.count("VERIFIED")), f"{house}: unlogged"


def alarm_names(day: DayResult) -> set[str]:
    return {alarm.name for alarm in day.alarms}


async def test_an_hour_of_an_unbalanced_street_is_balanced_end_to_end(nine_houses: Path, tmp_path: Path) -> None:
    day = await short_day(nine_houses, tmp_path)
    assert_safe(day)
    assert day.before["neutral_a_mean"] > 40
    assert day.after["neutral_a_mean"] < 0.2 * day.before["neutral_a_mean"]
    assert {view.state for view in day.switches} == {"VERIFIED"}
    assert day.after["switches"] == len(day.switches) == day.switches_per_house.sum()
    assert day.phase.shape == day.load_kw.shape == day.pv_kw.shape == (9, 60)
    assert len(set(day.phase[:, 0])) == 3, "the first moves happen in the first minute"
    assert day.counters["sealed"] >= 60 * 10
    assert not [name for name in day.counters if name.startswith("refused")]


async def test_switched_houses_lose_their_sun_for_the_reconnect_time_and_it_is_counted(
    nine_houses: Path, tmp_path: Path,
) -> None:
    day = await short_day(nine_houses, tmp_path)
    switched = [view.house for view in day.switches]
    sunny = [index for index, house in enumerate(day.feeder.houses) if house.pv_kwp and house.house_id in switched]
    assert sunny, "no house with a roof was moved: the test says nothing"
    lost = (day.pv_available_kw - day.pv_kw)[sunny].sum(axis=1) / day.pv_available_kw[sunny, 0]
    assert np.all((lost > 4.5) & (lost < 7.0)), "minutes of sun lost by each switch"
    assert day.after["pv_lost_kwh"] == pytest.approx((day.pv_available_kw - day.pv_kw).sum() / 60)


@pytest.mark.skipif(find_mosquitto() is None, reason="needs both brokers")
async def test_the_same_seed_gives_the_same_log_byte_for_byte_whatever_the_broker(kerala_street: Path) -> None:
    one = await run_day(kerala_street, seed=3, hours=0.75, broker_kind="mosquitto")
    same = await run_day(kerala_street, seed=3, hours=0.75, broker_kind="iotcore")
    other = await run_day(kerala_street, seed=4, hours=0.75)
    assert one.switch_log
    assert one.switch_log == same.switch_log
    assert np.array_equal(one.phase, same.phase)
    assert one.switch_log != other.switch_log, "the sensors' noise is not in it"


async def test_a_day_with_a_fault_repeats_as_well(nine_houses: Path, tmp_path: Path) -> None:
    faults = ("node-dead:next@00:00,for=20", "broker-restart@00:30,for=2")
    one = await short_day(nine_houses, tmp_path / "one", *faults)
    same = await short_day(nine_houses, tmp_path / "same", *faults)
    assert one.switch_log == same.switch_log


# What each fault must leave behind: the alarms, and how its switch ended ("" where it hits none).
AFTERMATH = {
    "node-dead:H003@00:10,for=20": ({"node-stale"}, ""),
    "node-dead:next@00:00": ({"command-failed", "quarantined", "node-stale"}, "QUARANTINED"),
    "ack-lost:next@00:00": ({"command-failed", "quarantined"}, "QUARANTINED"),
    "ack-lost:next@00:00,for=1": (set(), "VERIFIED"),
    "ack-lies:next@00:00": ({"command-failed"}, "ROLLED_BACK"),
    "relay-welded:next@00:00": ({"command-failed", "quarantined"}, "QUARANTINED"),
    "meter-stale@00:10": ({"meter-stale"}, ""),
    "broker-restart@00:20,for=5": ({"node-stale", "meter-stale"}, ""),
}


@pytest.mark.parametrize("fault", AFTERMATH)
async def test_a_fault_is_survived_and_said(fault: str, nine_houses: Path, tmp_path: Path) -> None:
    day = await short_day(nine_houses, tmp_path, fault)
    assert_safe(day)
    alarms, state = AFTERMATH[fault]
    assert alarms <= alarm_names(day)
    if state:
        assert day.switches[0].state == state
    assert sum(view.state == "VERIFIED" for view in day.switches) >= 5, "the rest of the street was not balanced"
    assert day.after["neutral_a_mean"] < 0.5 * day.before["neutral_a_mean"]


@pytest.mark.parametrize("state", ["SENT", "ACKED"])
async def test_a_broker_that_dies_under_a_switch_leaves_every_house_on_a_phase(
    state: str, nine_houses: Path, tmp_path: Path,
) -> None:
    day = await short_day(nine_houses, tmp_path, f"broker-restart:{state}@00:00")
    assert_safe(day)
    assert (day.phase != OPEN).all()
    assert day.after["neutral_a_mean"] < 0.5 * day.before["neutral_a_mean"]


@pytest.mark.parametrize(("faults", "first"), [
    (("daemon-kill@00:05",), "VERIFIED"),
    (("daemon-kill:PROPOSED@00:00",), "REFUSED"),
    (("daemon-kill:AUTHORISED@00:00",), "REFUSED"),
    (("daemon-kill:SENT@00:00",), "REFUSED"),
    (("daemon-kill:SENT-after@00:00",), "VERIFIED"),
    (("daemon-kill:ACKED@00:00",), "VERIFIED"),
    (("daemon-kill:VERIFIED@00:00",), "VERIFIED"),
    (("ack-lies:next@00:00", "daemon-kill:FAILED@00:00"), "ROLLED_BACK"),
    (("ack-lies:next@00:00", "daemon-kill:ROLLBACK_SENT@00:00"), "ROLLED_BACK"),
    (("ack-lies:next@00:00", "daemon-kill:ROLLBACK_SENT-after@00:00"), "ROLLED_BACK"),
    (("ack-lies:next@00:00", "daemon-kill:ROLLED_BACK@00:00"), "ROLLED_BACK"),
    (("relay-welded:next@00:00", "daemon-kill:QUARANTINED@00:00"), "QUARANTINED"),
])
async def test_a_daemon_killed_in_any_state_of_a_switch_finds_out_and_switches_nothing_twice(
    faults: tuple[str, ...], first: str, nine_houses: Path, tmp_path: Path,
) -> None:
    day = await short_day(nine_houses, tmp_path, *faults, hours=0.5)
    assert_safe(day)
    assert day.switches[0].state == first
    assert day.switches_per_house.max() == 1, "a house was moved twice"


async def test_a_site_that_holds_a_day_is_not_written_over(nine_houses: Path, tmp_path: Path) -> None:
    await short_day(nine_houses, tmp_path, hours=0.05)
    with pytest.raises(SmartPhaseError, match="holds a day already; name an empty folder"):
        await short_day(nine_houses, tmp_path, hours=0.05)


async def test_wrong_runs_are_refused_in_one_line(nine_houses: Path, tmp_path: Path) -> None:
    with pytest.raises(SmartPhaseError, match="give at least one minute"):
        await short_day(nine_houses, tmp_path, hours=0)
    with pytest.raises(FaultError, match="the run is over before that"):
        await short_day(nine_houses, tmp_path, "meter-stale@02:00")
    with pytest.raises(SmartPhaseError, match="no such feeder folder"):
        await short_day(tmp_path / "nowhere", tmp_path)


async def test_before_is_the_same_day_with_every_house_where_it_began(nine_houses: Path, tmp_path: Path) -> None:
    day = await short_day(nine_houses, tmp_path, hours=0.1)
    assert day.before["switches"] == 0
    assert day.before["pv_lost_kwh"] == 0
    net_kva = np.hypot(day.load_kw[:, 0].sum() - day.pv_available_kw[:, 0].sum(), day.load_kvar[:, 0].sum())
    assert day.before["neutral_a_mean"] == pytest.approx(1000 * net_kva / 234, rel=0.01)      # all of it on R
    assert set(day.before) == set(day.after)


async def test_the_barrier_waits_for_what_is_under_way_and_counts_nothing_else() -> None:
    barrier = Barrier()
    await barrier.clear()
    barrier.expect(["a", "a", "b"])
    for topic in ("a", "stranger", "a"):
        barrier.arrived(topic)
    with pytest.raises(SmartPhaseError, match="1 messages did not come through the broker in 0 s, first b"):
        await barrier.clear(timeout_s=0.0)
    barrier.arrived("b")
    await barrier.clear()
