"""Who may ask what, and forty kinds of bad input: each has its one-line answer, and nothing moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firmware.core.jwe import header, seal
from pi_service.config import ControlSettings
from pi_service.contract import (
    Accept,
    AckAlarm,
    ClearTag,
    History,
    HistoryPage,
    Operate,
    PlaceTag,
    Preview,
    PreviewResult,
    SetMode,
    Undo,
    Why,
    WhyResult,
    decode,
    house_topic,
    operator_topic,
)
from tests.pi_service.rig import Rig

HOUSE = "H002"


@pytest.fixture
def rig(tmp_path: Path, small_feeder_dir: Path) -> Rig:
    rig = Rig(tmp_path, small_feeder_dir, ControlSettings(mode="MANUAL", hold_release_s=0))
    rig.second(3)
    return rig


def previewed(rig: Rig, house: str = HOUSE, target: str = "B", who: str = "anil") -> PreviewResult:
    return decode(rig.ask(Preview(house, target), who).body, PreviewResult)


# ---------------------------------------------------------------- asking


def test_a_preview_shows_effect_and_every_interlock_and_moves_nothing(rig):
    preview = previewed(rig)
    assert preview.effect.neutral_before_a > 0
    assert {lock.name for lock in preview.interlocks} >= {
        "switch", "critical", "phase", "data", "budget", "service", "target", "ampacity", "voltage", "neutral",
        "VUF", "mode", "in flight"}
    assert rig.commands_seen == 0


def test_a_preview_dies_after_thirty_seconds(rig):
    preview = previewed(rig)
    rig.second(31)
    assert "older than 30 s" in rig.ask(Operate(preview.preview_id)).reason
    assert rig.commands_seen == 0


def test_interlocks_are_checked_again_at_execution(rig):
    preview = previewed(rig)
    rig.ask(PlaceTag(HOUSE, "do-not-operate", "meter change"), "devi")
    assert "tag do-not-operate by devi" in rig.ask(Operate(preview.preview_id)).reason
    assert rig.commands_seen == 0


def test_a_proposal_is_accepted_in_manual_by_its_id_only(rig):
    for house in ("H001", "H002", "H003"):
        rig.houses[house].kw = 4.0
    rig.second(130)
    proposal = rig.station.snapshot().proposal
    assert proposal is not None
    assert "has changed" in rig.ask(Accept("P999999")).reason
    reply = rig.ask(Accept(proposal.id))
    rig.second(3)
    assert rig.switch(reply.switch_id).state == "VERIFIED"


def test_modes_are_set_by_operators_and_survive_a_restart(rig):
    assert rig.ask(SetMode("HOLD", "works on the line")).ok
    assert rig.station.modes.mode == "HOLD"
    rig.kill()
    rig.start()
    rig.second(2)
    assert (rig.station.modes.mode, rig.station.modes.by) == ("HOLD", "anil")
    assert "HOLD: works on the line" in str(previewed(rig).interlocks)


def test_a_tag_is_cleared_by_its_owner_or_an_admin(rig):
    rig.ask(PlaceTag(HOUSE, "caution", "dog in the garden"), "devi")
    tag = rig.station.audit.tags()[0]
    assert "devi's" in rig.ask(ClearTag(tag.id)).reason
    assert rig.ask(ClearTag(tag.id), "asha").ok
    assert rig.station.audit.tags() == ()


def test_a_feeder_tag_holds_everything_and_takes_an_engineer(rig):
    assert "may not" in rig.ask(PlaceTag("", "do-not-operate", "pole work")).reason
    assert rig.ask(PlaceTag("", "do-not-operate", "pole work"), "devi").ok
    rig.second(2)
    assert rig.station.modes.mode == "HOLD"
    assert "pole work" in rig.station.modes.reason


def test_why_and_history_are_for_everyone_with_a_key(rig):
    why = decode(rig.ask(Why(HOUSE), "guest").body, WhyResult)
    assert why.lines
    page = decode(rig.ask(History("audit", 0, 2e9, limit=1), "guest").body, HistoryPage)
    assert (len(page.rows), page.more) == (1, True)


def test_every_request_that_acts_is_in_the_audit_log_with_its_answer(rig):
    rig.ask(SetMode("AUTO", "day"))
    rig.ask(Undo("S000404"))
    rows = rig.station.audit.rows(kinds=("request",), limit=None, newest_first=False)
    assert [(row.body["operator"], row.body["ok"]) for row in rows] == [("anil", True), ("anil", False)]


# ---------------------------------------------------------------- refused with an answer

DECLINED = {
    "a viewer moves": (Preview(HOUSE, "B"), "guest", {}, "a viewer may not"),
    "a viewer sets the mode": (SetMode("AUTO"), "guest", {}, "a viewer may not"),
    "an unknown house": (Preview("H999", "B"), "anil", {}, "no house H999"),
    "why of an unknown house": (Why("H999"), "anil", {}, "no house H999"),
    "a preview that is none": (Operate("V000404"), "anil", {}, "no such preview"),
    "an undo of nothing": (Undo("S000404"), "anil", {}, "moved nothing"),
    "an alarm that does not stand": (AckAlarm("A000404"), "anil", {}, "does not stand"),
    "a tag on an unknown house": (PlaceTag("H999", "caution", "x"), "anil", {}, "no house H999"),
    "a tag without a reason": (PlaceTag(HOUSE, "caution", "  "), "anil", {}, "needs a reason"),
    "a tag that is none": (ClearTag("T000404"), "anil", {}, "no tag"),
    "expired": (SetMode("AUTO"), "anil", {"issued": 1.0, "expires": 31.0}, "expired"),
    "issued tomorrow": (SetMode("AUTO"), "anil", {"issued": 3e9, "expires": 3e9 + 30}, "clock"),
    "valid for a day": (SetMode("AUTO"), "anil", {"expires": 3e9}, "clock"),
    "another feeder": (SetMode("AUTO"), "anil", {"feeder": "KL-XXX-0001"}, "the request is for KL-XXX-0001"),
}


@pytest.mark.parametrize("what", DECLINED)
def test_a_request_that_may_not_be_done_gets_one_line_and_nothing_moves(rig, what):
    action, who, changes, words = DECLINED[what]
    reply = rig.ask(action, who, **changes)
    assert not reply.ok
    assert words in reply.reason
    assert "\n" not in reply.reason
    assert rig.commands_seen == 0
    assert rig.station.modes.mode == "MANUAL"


def test_a_replayed_request_is_obeyed_once(rig):
    payload = rig.signed(SetMode("AUTO", "once"))
    topic = operator_topic(rig.feeder.feeder_id, "request", "anil")
    for _ in range(2):
        rig.station.handle(topic, payload, False)
        rig.work()
    assert sum(row.body["by"] == "anil" for row in rig.station.audit.rows(kinds=("mode",), limit=None)) == 1


# ---------------------------------------------------------------- refused without an answer, but counted


def _forged_signature(rig: Rig) -> bytes:
    first, second, _ = rig.signed(SetMode("AUTO")).split(b".")
    return b".".join((first, second, rig.signed(SetMode("HOLD")).split(b".")[2]))


NOT_ANSWERED = {
    "unsigned": (lambda rig: b'{"id":"1","action":{"type":"set_mode","mode":"AUTO"}}', "anil", "not-signed"),
    "rubbish": (lambda rig: b"\x00\xff", "anil", "not-signed"),
    "a forged signature": (_forged_signature, "anil", "forged"),
    "another's topic": (lambda rig: rig.signed(SetMode("AUTO")), "devi", "wrong-operator"),
    "another's name inside": (lambda rig: rig.signed(SetMode("AUTO"), operator="devi"), "anil", "wrong-operator"),
}


@pytest.mark.parametrize("what", NOT_ANSWERED)
def test_a_request_of_nobody_known_is_counted_and_not_answered(rig, what):
    make, topic_of, reason = NOT_ANSWERED[what]
    before = len(rig.sent)
    rig.station.handle(operator_topic(rig.feeder.feeder_id, "request", topic_of), make(rig), False)
    rig.work()
    assert rig.station.ingest.counters[f"refused-{reason}"] == 1
    assert not [m for m in rig.sent[before:] if "/reply/" in m.topic]
    assert rig.station.modes.mode == "MANUAL"


def reading(**changes: object) -> bytes:
    sample = {"house_id": HOUSE, "phase": "R", "voltage": 229.5, "current": 4.2, "solar_injection": 2.1}
    return json.dumps({**sample, **changes}).encode()


BAD_READINGS = {
    "truncated": (reading()[:-9], "malformed"),
    "not JSON": (b"hello", "malformed"),
    "a boolean": (reading(voltage=True), "malformed"),
    "NaN": (reading(voltage=float("nan")), "malformed"),
    "infinite": (reading(current=float("inf")), "malformed"),
    "a text": (reading(voltage="230"), "malformed"),
    "a missing key": (b'{"house_id": "H002", "phase": "R"}', "malformed"),
    "a fourth phase": (reading(phase="W"), "malformed"),
    "huge": (reading(voltage=1e9), "out-of-range"),
    "negative": (reading(current=-1), "out-of-range"),
    "negative sun": (reading(solar_injection=-0.1), "out-of-range"),
    "another house": (reading(house_id="H001"), "wrong-house"),
    "from the future": (reading(ts=3e9), "future-ts"),
}


@pytest.mark.parametrize("what", BAD_READINGS)
def test_a_bad_reading_is_counted_and_changes_nothing(rig, what):
    payload, reason = BAD_READINGS[what]
    before = rig.station.state.latest(HOUSE)
    rig.station.handle(house_topic(rig.feeder.feeder_id, HOUSE, "telemetry"), payload, False)
    rig.station.process()
    assert rig.station.ingest.counters[f"refused-{reason}"] == 1
    assert rig.station.state.latest(HOUSE) == before


def test_the_sample_reading_is_taken_as_it_stands_drawn_uncertain_and_decides_nothing(rig):
    rig.houses[HOUSE].dead = True
    rig.second(20)
    rig.station.handle(house_topic(rig.feeder.feeder_id, HOUSE, "telemetry"), reading(), False)
    rig.work()
    view = next(h for h in rig.station.snapshot().houses if h.id == HOUSE)
    assert (view.quality, view.voltage_v, view.solar_kw) == ("U", 229.5, 2.1)
    assert "data" in [lock.name for lock in previewed(rig).interlocks if not lock.ok]


def test_a_retained_reading_and_an_unknown_house_are_refused(rig):
    rig.station.handle(house_topic(rig.feeder.feeder_id, HOUSE, "telemetry"), reading(), True)
    rig.station.handle(house_topic(rig.feeder.feeder_id, "H999", "telemetry"), reading(), False)
    rig.station.handle("smartphase/v1/nonsense", b"", False)
    rig.station.process()
    refused = {k: v for k, v in rig.station.ingest.counters.items() if k.startswith("refused-")}
    assert sum(refused.values()) == 3


BAD_ACKS = {
    "plain": lambda rig, ack: json.dumps(ack).encode(),
    "sealed with the wrong key": lambda rig, ack: _seal(rig, ack, key=bytes(32)),
    "another house's": lambda rig, ack: _seal(rig, ack, house="H001"),
    "a reading's envelope": lambda rig, ack: _seal(rig, ack, typ="tel"),
    "tampered": lambda rig, ack: _seal(rig, ack)[:-4] + b"AAAA",
    "an unknown epoch": lambda rig, ack: _seal(rig, ack, epoch=7),
}


def _seal(rig: Rig, body: dict, house: str = HOUSE, typ: str = "ack", key: bytes = b"", epoch: int = 1) -> bytes:
    node = rig.houses[house]
    return seal(node.hal, key or node.keys["telemetry"], header(f"{house}.{epoch}.u", typ), json.dumps(body).encode())


@pytest.mark.parametrize("what", BAD_ACKS)
def test_a_forged_ack_proves_nothing(rig, what):
    rig.lose_command = lambda house: True
    reply = rig.ask(Operate(previewed(rig).preview_id))
    command = rig.station.audit.rows(kinds=("command",), limit=1)[0].ref
    ack = {"id": command, "house": HOUSE, "result": "done", "phase": "B", "counter": 1, "boot": 1,
           "ts": rig.clock.now()}
    rig.station.handle(house_topic(rig.feeder.feeder_id, HOUSE, "ack"), BAD_ACKS[what](rig, ack), False)
    rig.work()
    assert rig.switch(reply.switch_id).state == "SENT"


def test_a_command_is_never_retained(rig):
    rig.ask(Operate(previewed(rig).preview_id))
    commands = [m for m in rig.sent if m.is_command]
    assert commands
    assert not any(m.retain for m in commands)


def test_a_retained_command_that_somebody_planted_is_counted_and_taken_off_the_broker(rig):
    topic = house_topic(rig.feeder.feeder_id, HOUSE, "command")
    rig.station.handle(topic, b"planted", True)
    rig.work()
    assert [(r.source, r.reason) for r in rig.station.ingest.refusals] == [(topic, "planted-command")]
    assert [(m.payload, m.retain) for m in rig.sent if m.topic == topic] == [(b"", True)]
    assert rig.phase_of(HOUSE) == "R"


def test_a_command_that_is_not_ours_shows_a_second_pi_and_ours_do_not(rig):
    rig.ask(Operate(previewed(rig).preview_id))
    ours = next(m for m in rig.sent if m.is_command)
    rig.station.handle(ours.topic, ours.payload, False)
    assert not rig.station.ingest.refusals
    rig.station.handle(ours.topic, b"another's", False)
    assert [r.reason for r in rig.station.ingest.refusals] == ["foreign-command"]


def test_a_replayed_or_expired_command_moves_no_contact(rig):
    rig.ask(Operate(previewed(rig).preview_id))
    rig.second(3)
    command = next(m.payload for m in rig.sent if m.is_command)
    rig.ask(Undo("S000001"))
    rig.second(3)
    assert rig.phase_of(HOUSE) == "R"
    node = rig.houses[HOUSE].node
    for _ in range(2):
        node.receive(command)
        rig.houses[HOUSE].run()
        rig.clock.advance(60)
    assert rig.phase_of(HOUSE) == "R"


def test_a_message_too_long_or_too_often_is_shed_and_counted(rig):
    rig.station.handle(house_topic(rig.feeder.feeder_id, HOUSE, "ack"), b"e" * 100_000, False)
    for _ in range(1000):
        rig.station.handle(house_topic(rig.feeder.feeder_id, HOUSE, "telemetry"), reading(), False)
    rig.station.process()
    counters = rig.station.ingest.counters
    assert counters["refused-too-long"] == 1
    assert sum(v for k, v in counters.items() if "rate" in k or "flood" in k or k == "shed") > 500
