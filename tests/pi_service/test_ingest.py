"""The queue and its checks: order, bounds, floods, and every refusal counted under its name."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from balancer.feeder import Feeder
from pi_service import contract
from pi_service.clock import ManualClock
from pi_service.contract import Ack, MessageRefused, NodeStatus, encode
from pi_service.ingest import (
    AckReport,
    HouseSample,
    Ingest,
    IngestSettings,
    MeterSample,
    SignedRequest,
    StatusReport,
)
from pi_service.seal import METER, Sealer

F = "KL-TST-0001"
ACK = Ack(id="C000001", house="H001", result="done", phase="B", counter=1, boot=1, ts=1.0)


def topic(house: str = "H001", leaf: str = "telemetry") -> str:
    return contract.house_topic(F, house, leaf)


@pytest.fixture
def make(feeder: Feeder, sealer: Sealer, clock: ManualClock) -> Any:
    """An ingest with other bounds: make(queue=10)."""
    return lambda **settings: Ingest(feeder, sealer, clock, IngestSettings(**settings))


@pytest.fixture
def ingest(make: Any) -> Ingest:
    return make()


def refusals(ingest: Ingest) -> dict[str, int]:
    list(ingest.take())
    return {name: count for name, count in ingest.counters.items() if name.startswith("refused-")}


def test_each_kind_of_message_comes_out_typed(ingest: Ingest, field: Any, clock: ManualClock) -> None:
    reading, meter = field.reading("H001"), field.meter()
    ingest.put(topic(), field.seal("H001", reading))
    ingest.put(topic("H002"), encode(field.reading("H002")))
    ingest.put(contract.meter_topic(F, "telemetry"), field.seal(METER, meter))
    ingest.put(topic(leaf="status"), b'{"online": true, "boot": 4}', retained=True)
    ingest.put(contract.meter_topic(F, "status"), b'{"online": false}', retained=True)
    ingest.put(topic(leaf="ack"), field.seal("H001", ACK, typ="ack"))
    ingest.put(contract.operator_topic(F, "request", "anil"), b"signed")
    first, plain, from_meter, *others = ingest.take()
    stamps = clock.now(), clock.monotonic()
    assert first == HouseSample("H001", reading, True, *stamps)
    assert isinstance(plain, HouseSample)
    assert not plain.sealed
    assert from_meter == MeterSample(meter, True, *stamps)
    assert others == [
        StatusReport("H001", NodeStatus(True, 4), *stamps), StatusReport(METER, NodeStatus(False), *stamps),
        AckReport("H001", ACK, *stamps), SignedRequest("anil", b"signed", *stamps)]
    assert ingest.counters == {"received": 7, "sealed": 2, "plain": 1}
    assert ingest.taken == 7


def test_the_time_of_arrival_is_when_it_was_put_not_when_it_was_taken(ingest: Ingest, field: Any,
                                                                     clock: ManualClock) -> None:
    came = clock.now()
    ingest.put(topic(), encode(field.reading("H001")))
    clock.advance(30)
    (sample,) = ingest.take()
    assert (sample.at, sample.monotonic) == (came, 0.0)


def test_an_ack_and_a_reading_come_out_in_the_order_they_came(ingest: Ingest, field: Any) -> None:
    for _ in range(3):
        ingest.put(topic(), encode(field.reading("H001")))
        ingest.put(topic(leaf="ack"), field.seal("H001", ACK, typ="ack"))
    assert [type(arrival) for arrival in ingest.take()] == [HouseSample, AckReport] * 3


def test_a_limit_leaves_the_rest_in_the_queue(ingest: Ingest, field: Any) -> None:
    for _ in range(5):
        ingest.put(topic(), encode(field.reading("H001")))
    assert len(list(ingest.take(2))) == 2
    assert len(ingest) == 3


def test_a_full_queue_sheds_the_oldest_telemetry_and_never_an_ack(make: Any, field: Any) -> None:
    ingest = make(queue=10)
    ingest.put(topic(leaf="ack"), field.seal("H001", ACK, typ="ack"))
    for _ in range(25):
        ingest.put(topic(), encode(field.reading("H001")))
    ingest.put(topic(leaf="ack"), field.seal("H001", ACK, typ="ack"))
    ingest.put(topic(leaf="status"), b'{"online": true}')
    ingest.put(contract.operator_topic(F, "request", "anil"), b"signed")
    arrivals = list(ingest.take())
    assert [type(a) for a in arrivals if not isinstance(a, HouseSample)] == [AckReport, AckReport, StatusReport,
                                                                            SignedRequest]
    assert [a.reading.seq for a in arrivals if isinstance(a, HouseSample)] == list(range(16, 26))
    assert ingest.counters["shed"] == 15


def test_a_flood_from_one_node_does_not_starve_the_others(make: Any, field: Any, clock: ManualClock) -> None:
    ingest = make(queue=100, telemetry_per_s=2.0, telemetry_burst=10.0)
    for second in range(60):
        for _ in range(200):
            ingest.put(topic("H001"), encode(field.reading("H001")))
        for house in ("H002", "H003"):
            ingest.put(topic(house), encode(field.reading(house)))
        clock.advance(1)
        if second % 10 == 9:
            taken = list(ingest.take())
            assert sum(a.house == "H002" for a in taken) == 10
            assert sum(a.house == "H003" for a in taken) == 10
    assert ingest.counters["shed"] == 0
    assert ingest.counters["refused-flood"] >= 200 * 60 - (10 + 2 * 60)


def test_a_flooding_node_is_heard_again_when_it_calms_down(make: Any, field: Any, clock: ManualClock) -> None:
    ingest = make(telemetry_per_s=1.0, telemetry_burst=5.0)
    for _ in range(50):
        ingest.put(topic(), encode(field.reading("H001")))
    assert len(list(ingest.take())) == 5
    clock.advance(3)
    for _ in range(50):
        ingest.put(topic(), encode(field.reading("H001")))
    assert len(list(ingest.take())) == 3
    clock.advance(3600)
    for _ in range(50):
        ingest.put(topic(), encode(field.reading("H001")))
    assert len(list(ingest.take())) == 5, "an hour of silence saves up no more than one burst"


def test_acks_and_requests_without_end_do_not_fill_the_memory(make: Any, field: Any) -> None:
    ingest = make(waiting_per_sender=20)
    ack = field.seal("H001", ACK, typ="ack")
    for number in range(100):
        ingest.put(topic(leaf="ack"), ack)
        ingest.put(contract.operator_topic(F, "request", f"made-up-{number}"), b"signed")
    ingest.put(topic("H002", "ack"), field.seal("H002", b"{}", typ="ack"))
    assert len(ingest) == 41
    assert ingest.counters["refused-flood"] == 160
    list(ingest.take())
    ingest.put(topic(leaf="ack"), ack)
    ingest.put(contract.operator_topic(F, "request", "anil"), b"signed")
    assert len(ingest) == 2, "what was worked off makes room"


@pytest.mark.parametrize(("where", "payload", "reason"), [
    ("smartphase/v1/KL-OTHER/house/H001/telemetry", b"{}", "wrong-feeder"),
    ("smartphase/v1/KL-TST-0001/house/H999/telemetry", b"{}", "unknown-house"),
    ("smartphase/v1/KL-TST-0001/house/H001/command", b"{}", "topic"),
    ("smartphase/v1/KL-TST-0001/state", b"{}", "topic"),
    ("nonsense", b"{}", "topic"),
    ("smartphase/v1/KL-TST-0001/house/H001/telemetry", b"{", "malformed"),
    ("smartphase/v1/KL-TST-0001/house/H001/telemetry", b"x" * 5000, "too-long"),
    ("smartphase/v1/KL-TST-0001/request/anil", b"x" * 20_000, "too-long"),
    ("smartphase/v1/KL-TST-0001/house/H001/status", b"[]", "malformed"),
    ("smartphase/v1/KL-TST-0001/house/H001/status", b"", "malformed"),
    ("smartphase/v1/KL-TST-0001/meter/telemetry", b"{}", "malformed"),
    ("smartphase/v1/KL-TST-0001/house/H001/ack", b'{"id":"C1"}', "not-sealed"),
    ("smartphase/v1/KL-TST-0001/house/H001/telemetry", b"eyJhbGciOiJkaXIifQ....", "not-sealed"),
    ("smartphase/v1/KL-TST-0001/house/H002/telemetry",
     b'{"house_id":"H001","phase":"R","voltage":230,"current":4,"solar_injection":0}', "wrong-house"),
    ("smartphase/v1/KL-TST-0001/house/H001/telemetry",
     b'{"house_id":"H001","phase":"R","voltage":900,"current":4,"solar_injection":0}', "out-of-range"),
])
def test_what_cannot_be_taken_is_counted_under_its_reason(ingest: Ingest, where: str, payload: bytes,
                                                          reason: str) -> None:
    ingest.put(where, payload)
    assert list(ingest.take()) == []
    assert refusals(ingest) == {f"refused-{reason}": 1}
    (refusal,) = ingest.refusals
    assert refusal.reason == reason
    assert "\n" not in refusal.detail


def test_a_sealed_message_moved_to_another_topic_is_refused(ingest: Ingest, field: Any) -> None:
    ingest.put(topic("H002"), field.seal("H001", field.reading("H001")))
    ingest.put(topic("H002"), field.seal("H002", field.reading("H001")))
    ingest.put(topic("H002", "ack"), field.seal("H002", ACK, typ="ack"))
    ingest.put(topic("H001", "ack"), field.seal("H001", field.reading("H001"), typ="tel"))
    ingest.put(topic("H001"), field.seal("H001", ACK, typ="ack"))
    assert refusals(ingest) == {"refused-not-sealed-for-house": 1, "refused-wrong-house": 2, "refused-wrong-type": 2}


@pytest.mark.parametrize("where", [topic(), topic(leaf="ack"), contract.operator_topic(F, "request", "anil")])
def test_a_planted_retained_message_is_refused_unless_it_is_a_status(ingest: Ingest, field: Any, where: str) -> None:
    ingest.put(where, encode(field.reading("H001")), retained=True)
    assert refusals(ingest) == {"refused-retained": 1}


def test_only_the_last_refusals_are_kept(ingest: Ingest) -> None:
    for number in range(200):
        ingest.put(f"nonsense/{number}", b"")
    assert len(ingest.refusals) == 50
    assert ingest.counters["refused-topic"] == 200


def test_a_later_check_counts_its_refusal_here_too(ingest: Ingest) -> None:
    ingest.refuse("H001", MessageRefused("stale-seq", "seq 4 after seq 9"))
    assert ingest.counters["refused-stale-seq"] == 1
    assert ingest.refusals[-1].source == "H001"


def test_no_message_makes_the_ingest_raise(ingest: Ingest, field: Any) -> None:
    payloads = [b"", b"\x00", b"{", b"eyJ", b"eyJ....", b"\xff" * 100, b"[" * 4000, field.seal("H001", b"\xff\xfe"),
                field.seal("H001", b"[" * 2000), encode(field.reading("H001"))]
    leaves = ["telemetry", "status", "ack", "command", "x"]
    for payload, leaf, retained in itertools.product(payloads, leaves, (False, True)):
        ingest.put(topic(leaf=leaf), payload, retained)
        ingest.put(contract.meter_topic(F, leaf), payload, retained)
    assert len(list(ingest.take())) == 1
    assert len(ingest) == 0
