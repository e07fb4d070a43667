"""Faults are read from the command line; what is wrong with one is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from balancer.feeder_folder import read_feeder
from balancer.study import DEFAULT_START
from pi_service.street.faults import Fault, FaultError, check_faults, parse_fault


@pytest.mark.parametrize(("text", "fault"), [
    ("node-dead:H007@09:30", Fault("node-dead", "H007", 34_200, None)),
    ("ack-lost:next@0:05,for=2.5", Fault("ack-lost", "next", 300, 2.5)),
    ("relay-welded:H001@23:59 for=30", Fault("relay-welded", "H001", 86_340, 30)),
    ("meter-stale@10:00,for=30", Fault("meter-stale", "", 36_000, 30)),
    ("broker-restart@12:00", Fault("broker-restart", "", 43_200, 1)),
    ("daemon-kill:SENT-after@12:00,for=0", Fault("daemon-kill", "SENT-after", 43_200, 0)),
])
def test_a_fault_is_read_and_written_back(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault
    assert parse_fault(str(fault)) == fault


@pytest.mark.parametrize(("text", "says"), [
    ("node-dead", "write NAME[:SUBJECT]@HH:MM"),
    ("node-dead:H007@9h30", "write NAME[:SUBJECT]@HH:MM"),
    ("node-dead:H007@24:00", "no time of day"),
    ("node-dead:H007@12:60", "no time of day"),
    ("node-dead@09:30", "needs a house"),
    ("node-asleep:H007@09:30", "no fault 'node-asleep'; choose from node-dead"),
    ("meter-stale:H007@09:30", "there is one meter"),
    ("daemon-kill:DANCING@09:30", "no state of a switch"),
    ("ack-lost:H007@09:30,for=0", "for=0 would be no fault"),
    ("ack-lost:H007@09:30,for=-1", "write NAME[:SUBJECT]@HH:MM"),
    ("", "write NAME[:SUBJECT]@HH:MM"),
])
def test_a_wrong_fault_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(FaultError) as refused:
        parse_fault(text)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_fault_begins_at_the_next_such_time_of_the_plants_day() -> None:
    fault = parse_fault("meter-stale@10:00")
    assert fault.begins(DEFAULT_START) == DEFAULT_START + 36_000
    assert fault.begins(DEFAULT_START + 36_001) == DEFAULT_START + 86_400 + 36_000


def test_a_fault_of_a_house_that_is_not_there_or_after_the_end_is_refused(nine_houses: Path) -> None:
    feeder = read_feeder(nine_houses)
    end = DEFAULT_START + 3600
    check_faults((parse_fault("ack-lost:H009@00:59"),), feeder, DEFAULT_START, end)
    with pytest.raises(FaultError, match=r"H010 is not in houses\.csv"):
        check_faults((parse_fault("ack-lost:H010@00:30"),), feeder, DEFAULT_START, end)
    with pytest.raises(FaultError, match="the run is over before that"):
        check_faults((parse_fault("ack-lost:H009@01:00"),), feeder, DEFAULT_START, end)
