"""The wire: what is taken as it stands, and every kind of nonsense that is refused with its reason."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_service import contract
from pi_service.contract import MessageRefused, NodeStatus, Reading

SAMPLE = b'{"house_id": "H001", "phase": "R", "voltage": 229.5, "current": 4.2, "solar_injection": 2.1}'


def changed(**values: object) -> bytes:
    return json.dumps({**json.loads(SAMPLE), **values}).encode()


def without(key: str) -> bytes:
    return json.dumps({name: value for name, value in json.loads(SAMPLE).items() if name != key}).encode()


def refusal(payload: bytes, house: str = "H001") -> str:
    with pytest.raises(MessageRefused) as caught:
        contract.decode_reading(payload, house)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_the_sample_reading_is_taken_exactly_as_it_stands() -> None:
    assert contract.decode_reading(SAMPLE, "H001") == Reading("H001", "R", 229.5, 4.2, 2.1)


def test_unknown_keys_are_ignored_and_whole_numbers_are_numbers() -> None:
    reading = contract.decode_reading(changed(voltage=230, colour="green", nested={"a": [1]}), "H001")
    assert reading.voltage == 230.0


def test_an_unset_clock_and_absent_options_are_none() -> None:
    reading = contract.decode_reading(changed(ts=None, seq=None), "H001")
    assert (reading.ts, reading.seq, reading.relay, reading.power) == (None, None, None, None)


@pytest.mark.parametrize("payload", [
    b"", b"null", b"[]", b'"H001"', b"17", b"{}", b"\xff\xfe", b"voltage=230", SAMPLE[:-1], SAMPLE[:40], SAMPLE + b"}",
    SAMPLE.replace(b"229.5", b"NaN"), SAMPLE.replace(b"229.5", b"Infinity"), SAMPLE.replace(b"229.5", b"-Infinity"),
    SAMPLE.replace(b"229.5", b'"229.5"'), changed(voltage=True), changed(current=False), changed(voltage=None),
    changed(voltage=[230.0]), changed(phase="r"), changed(phase="RY"), changed(phase=0), changed(house_id=1),
    changed(house_id="../H001"), changed(house_id="H 1"), changed(house_id=""), changed(house_id="H" * 41),
    changed(relay="maybe"), changed(seq=1.5), changed(boot="one"), changed(ts="now"),
    without("voltage"), without("current"), without("phase"), without("house_id"), without("solar_injection"),
])
def test_what_is_no_reading_is_refused_as_malformed(payload: bytes) -> None:
    assert refusal(payload) == "malformed"


@pytest.mark.parametrize("payload", [
    changed(voltage=-1), changed(voltage=501), changed(voltage=1e30), changed(current=-0.1), changed(current=201),
    changed(solar_injection=-0.001), changed(solar_injection=61), changed(power=61), changed(power=-61),
    changed(reactive_power=1e9), changed(frequency=0), changed(frequency=61),
])
def test_what_physics_does_not_allow_is_refused_as_out_of_range(payload: bytes) -> None:
    assert refusal(payload) == "out-of-range"


def test_a_number_beyond_all_floats_is_refused() -> None:
    assert refusal(SAMPLE.replace(b"229.5", b"1e400")) in ("malformed", "out-of-range")
    assert refusal(SAMPLE.replace(b"229.5", b"9" * 400)) in ("malformed", "out-of-range")


def test_nesting_without_end_is_refused() -> None:
    assert refusal(b'{"x":' + b"[" * 100_000) == "malformed"


def test_a_reading_on_another_houses_topic_is_refused() -> None:
    assert refusal(SAMPLE, house="H002") == "wrong-house"


def test_a_time_stamp_that_is_not_finite_is_refused() -> None:
    assert refusal(changed().replace(b"}", b', "ts": 1e999}')) in ("malformed", "out-of-range")


@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise_anything_but_a_refusal(payload: bytes) -> None:
    with contextlib.suppress(MessageRefused):
        contract.decode_reading(payload, "H001")


@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255))
def test_a_damaged_byte_is_refused_or_leaves_a_reading_in_range(at: int, byte: int) -> None:
    payload = SAMPLE[:at] + bytes([byte]) + SAMPLE[at + 1:]
    try:
        reading = contract.decode_reading(payload, "H001")
    except MessageRefused:
        return
    assert 0 <= reading.voltage <= 500
    assert 0 <= reading.current <= 200


METER = {"voltage": [240, 241, 239], "line_voltage": [415, 416, 417], "current": [10, 20, 30], "power": [1, 2, 3],
         "reactive_power": [0, 0, 0], "neutral_current": 17.3}


def test_the_meters_reading_is_taken() -> None:
    assert contract.decode_meter(json.dumps(METER).encode()).current == (10.0, 20.0, 30.0)


@pytest.mark.parametrize("values", [
    {"voltage": [240, 241]}, {"voltage": [240, 241, True]}, {"neutral_current": None}, {"power": 3},
])
def test_a_meter_reading_of_another_shape_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(MessageRefused, match="malformed"):
        contract.decode_meter(json.dumps({**METER, **values}).encode())


@pytest.mark.parametrize("values", [{"current": [1, 2, 2001]}, {"voltage": [240, -1, 240]}, {"neutral_current": -1}])
def test_a_meter_reading_out_of_range_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(MessageRefused, match="out-of-range"):
        contract.decode_meter(json.dumps({**METER, **values}).encode())


def test_topics_are_built_and_taken_apart_alike() -> None:
    built = {
        contract.house_topic("F1", "H001", "telemetry"): ("F1", "house", "H001", "telemetry"),
        contract.meter_topic("F1", "status"): ("F1", "meter", "", "status"),
        contract.feeder_topic("F1", "state"): ("F1", "state", "", ""),
        contract.operator_topic("F1", "request", "anil"): ("F1", "request", "anil", ""),
    }
    for topic, parts in built.items():
        parsed = contract.parse_topic(topic)
        assert (parsed.feeder, parsed.kind, parsed.name, parsed.leaf) == parts


@pytest.mark.parametrize("topic", [
    "", "smartphase/v1", "smartphase/v1/F1", "smartphase/v2/F1/state", "other/F1/house/H001/telemetry",
    "smartphase/v1/F1/house/H001/secret",
    "smartphase/v1/F1/house/H001/telemetry/more", "smartphase/v1/F1/meter/command",
])
def test_a_topic_outside_the_contract_is_refused(topic: str) -> None:
    with pytest.raises(MessageRefused, match="topic"):
        contract.parse_topic(topic)


def test_a_status_needs_to_say_whether_it_is_online() -> None:
    assert contract.decode(b'{"online": false, "boot": 3, "fw": "1.0"}', NodeStatus) == NodeStatus(False, 3, "1.0")
    with pytest.raises(MessageRefused, match="malformed"):
        contract.decode(b'{"boot": 3}', NodeStatus)
