"""What comes from the air: only the Pi's own, fresh, right commands move a house, each once."""

from __future__ import annotations

import json

import pytest

from firmware.core.jwe import NotAuthentic, b64url, header, open_sealed, seal, unb64url
from firmware.hal.crypto import Crypto
from tests.firmware.bench import HOUSE, KEYS, START, Bench

R, Y, B = range(3)
KID = f"{HOUSE}.1.d"


def untouched(bench: Bench) -> bool:
    """The house stands where it stood, nothing moved and nothing is about to."""
    bench.run(300)
    return bench.closed == [R] and bench.hal.closings == [] and not bench.node.busy


def untouched_on(bench: Bench, phase: int) -> bool:
    moves = len(bench.hal.closings)
    bench.run(500)
    return bench.closed == [phase] and len(bench.hal.closings) == moves


# ---------------------------------------------------------------- envelopes


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 31, 32, 200])
def test_an_envelope_opens_to_what_was_sealed(bench, length):
    plain = bytes(range(256))[:length]
    sealed = seal(bench.hal, KEYS["command"], header(KID, "cmd"), plain)
    assert open_sealed(bench.hal, KEYS["command"], KID, "cmd", sealed) == plain


def test_each_envelope_has_its_own_iv():
    sealed = {seal(Crypto(), KEYS["command"], header(KID, "cmd"), b"same") for _ in range(50)}
    assert len({envelope.split(b".")[2] for envelope in sealed}) == 50


def test_no_character_of_an_envelope_can_be_changed(bench):
    sealed = bench.sealed(bench.command(Y))
    for at, byte in enumerate(sealed):
        for other in {ord("A"), ord("B"), ord("="), ord("*"), ord("."), byte ^ 1} - {byte}:
            changed = sealed[:at] + bytes([other]) + sealed[at + 1:]
            with pytest.raises(NotAuthentic):
                open_sealed(bench.hal, KEYS["command"], KID, "cmd", changed)


def test_an_encrypted_key_has_no_place_in_a_direct_envelope(bench):
    bench.node.receive(bench.sealed(bench.command(Y)).replace(b"..", b".AAAA."))
    assert bench.acks() == [] and bench.node.gate.dropped == {"shape": 1}


@pytest.mark.parametrize("length", range(0, 40))
def test_a_shortened_tag_is_not_enough(bench, length):
    parts = bench.sealed(bench.command(Y)).split(b".")
    parts[4] = b64url(unb64url(parts[4])[:length] if length < 16 else unb64url(parts[4]) + bytes(length - 15))
    with pytest.raises(NotAuthentic, match="tag"):
        open_sealed(bench.hal, KEYS["command"], KID, "cmd", b".".join(parts))


@pytest.mark.parametrize("payload", [
    b"", b".", b"....", b"a.b.c.d.e", b"." * 5, b"." * 100_000, b"eyJ" * 3000, b"\xff" * 40, b"{}",
    b64url(b"[" * 3000) + b"..AAAA.AAAA.AAAA", b64url(b"null") + b"..AAAA.AAAA.AAAA", header(KID, "cmd") + b"....",
    header(KID, "cmd") + b"." + b"A" * 22 + b".A.A.A", header(KID, "cmd") + b"..AAAA.AAAA.AAAA",
])
def test_garbage_is_dropped_without_an_answer(bench, payload):
    bench.node.receive(payload)
    assert bench.acks() == []
    assert sum(bench.node.gate.dropped.values()) == 1
    assert untouched(bench)


def test_what_was_dropped_is_counted_by_kind(bench):
    good = bench.command(Y)
    sealed = bench.sealed(good)
    bench.node.receive(sealed[:-1])                                                # not canonical base64
    bench.node.receive(sealed.rpartition(b".")[0])                                 # four parts
    bench.node.receive(sealed.rpartition(b".")[0] + b"." + b64url(bytes(16)))      # another tag
    bench.node.receive(bench.sealed(good, kid="H008.1.d"))
    bench.node.receive(bench.sealed(good, typ="ack"))
    bench.node.receive(bench.sealed(good, key=KEYS["telemetry"]))
    bench.node.receive(bench.sealed({"cmd": "switch"}))
    bench.node.receive(seal(bench.hal, KEYS["command"], header(KID, "cmd"), b"not json"))
    assert bench.node.gate.dropped == {"encoding": 1, "shape": 1, "tag": 2, "header": 2, "keys": 1, "json": 1}
    assert bench.acks() == []
    assert untouched(bench)


@pytest.mark.parametrize("kid", ["H008.1.d", "H007.2.d", "H007.1.u", "H007.1", ""])
def test_another_houses_epochs_or_directions_key_id_is_dropped(bench, kid):
    bench.node.receive(bench.sealed(bench.command(Y), kid=kid))
    assert bench.acks() == [] and bench.node.gate.dropped == {"header": 1}
    assert untouched(bench)


@pytest.mark.parametrize("typ", ["ack", "tel", "CMD", ""])
def test_another_kind_of_envelope_is_dropped_even_under_the_right_key(bench, typ):
    bench.node.receive(bench.sealed(bench.command(Y), typ=typ))
    assert bench.acks() == [] and bench.node.gate.dropped == {"header": 1}
    assert untouched(bench)


def test_a_header_that_says_more_or_another_algorithm_is_dropped(bench):
    for head in ('{"alg":"dir","enc":"A128CBC-HS256","kid":"%s","typ":"cmd","zip":"DEF"}',
                 '{"alg":"dir","enc":"A256GCM","kid":"%s","typ":"cmd"}', '{"alg":"none","kid":"%s","typ":"cmd"}'):
        body = json.dumps(bench.command(Y)).encode()
        bench.node.receive(seal(bench.hal, KEYS["command"], b64url((head % KID).encode()), body))
    assert bench.acks() == [] and bench.node.gate.dropped == {"header": 3}


def tagged(bench: Bench, iv: bytes, cipher: bytes) -> bytes:
    """An envelope with a right tag around whatever it is given."""
    protected = header(KID, "cmd")
    bits = (len(protected) * 8).to_bytes(8, "big")
    tag = bench.hal.hmac_sha256(KEYS["command"][:16], protected + iv + cipher + bits)[:16]
    return b".".join((protected, b"", b64url(iv), b64url(cipher), b64url(tag)))


def test_a_wrong_padding_under_a_right_tag_is_dropped(bench):
    for last in (b"\x00", b"\x11", b"\x02"):
        cipher = bench.hal.aes_cbc_encrypt(KEYS["command"][16:], bytes(16), b"fifteen letters" + last)
        bench.node.receive(tagged(bench, bytes(16), cipher))
    assert bench.node.gate.dropped == {"padding": 3}


@pytest.mark.parametrize(("iv", "cipher"), [(8, 16), (17, 16), (0, 16), (16, 0), (16, 15), (16, 33)])
def test_wrong_lengths_under_a_right_tag_are_dropped(bench, iv, cipher):
    bench.node.receive(tagged(bench, bytes(iv), bytes(cipher)))
    assert bench.node.gate.dropped == {"length": 1}


def test_an_envelope_longer_than_a_node_has_memory_for_is_dropped_unopened(bench):
    bench.node.receive(bench.sealed(bench.command(Y, note="x" * 4000)))
    assert bench.acks() == [] and bench.node.gate.dropped == {"shape": 1}


# ---------------------------------------------------------------- authentic, but may not be done


@pytest.mark.parametrize(("changes", "reason"), [
    ({"house": "H008"}, "wrong-house"),
    ({"cmd": "reset"}, "bad-command"),
    ({"counter": 0}, "old-counter"),
    ({"issued": START - 100, "expires": START - 0.1}, "expired"),
    ({"issued": START + 31, "expires": START + 60}, "expired"),
    ({"target": "X"}, "bad-target"),
    ({"target": "RY"}, "bad-target"),
    ({"target": 1}, "bad-target"),
    ({"target": None}, "bad-target"),
    ({"target": ["Y"]}, "bad-target"),
])
def test_a_command_that_may_not_be_done_is_refused_with_one_word(bench, changes, reason):
    command = bench.command(Y)
    bench.node.receive(bench.sealed({**command, **changes}))
    ack = bench.ack()
    assert (ack["id"], ack["result"], ack["reason"], ack["phase"]) == (command["id"], "refused", reason, "R")
    assert untouched(bench)


@pytest.mark.parametrize("changes", [{"counter": "2"}, {"counter": None}, {"issued": "now"}, {"id": 7}, {"house": None},
                                     {"expires": []}, {"expires": float("nan")}, {"expires": float("inf")},
                                     {"expires": 1e40}])
def test_a_command_of_the_wrong_types_is_dropped(bench, changes):
    bench.node.receive(bench.sealed({**bench.command(Y), **changes}))
    assert bench.acks() == [] and bench.node.gate.dropped == {"keys": 1}
    assert untouched(bench)


def test_dates_are_read_as_whole_numbers_because_a_boards_floats_are_too_coarse(bench):
    command = bench.command(Y, id='C.5"\\".7', issued=START + 0.25, expires=START + 30.75)
    read = bench.node.gate.read(bench.sealed(command))
    assert read == {**command, "issued": int(START), "expires": int(START) + 30}
    assert [type(read[name]) for name in ("issued", "expires")] == [int, int]


@pytest.mark.parametrize("body", [[], 5, None, "cmd id house counter issued expires", True])
def test_json_that_is_no_object_is_dropped(bench, body):
    bench.node.receive(bench.sealed(body))
    assert bench.acks() == [] and bench.node.gate.dropped == {"keys": 1}


@pytest.mark.parametrize("cmd", ["switch", "query"])
def test_while_the_clock_is_unset_nothing_is_obeyed(bench, cmd):
    command = bench.command(Y, cmd)
    bench.hal.clock_set = False
    bench.node.receive(bench.sealed(command))
    assert bench.ack()["reason"] == "clock-unset"
    assert untouched(bench)
    bench.hal.clock_set = True
    bench.node.receive(bench.sealed(command))
    bench.rest()
    assert bench.ack()["result"] == ("done" if cmd == "switch" else "state"), "and it used up no counter"


def test_what_was_refused_for_its_time_uses_up_no_counter(bench):
    bench.send(Y, counter=50, expires=START - 1, issued=START - 60)
    bench.send(Y, counter=50, house="H009")
    assert bench.store.get("counter", 0) == 0


def test_an_old_counter_is_refused_also_under_a_new_id(bench):
    bench.switch(Y)
    bench.send(B, counter=1)
    assert bench.ack()["reason"] == "old-counter"
    assert bench.closed == [Y]


def test_the_counter_survives_a_reboot(bench):
    bench.send(R, counter=41)
    bench.acks()
    bench.reboot()
    assert bench.node.gate.counter == 41
    bench.send(Y, counter=41)
    assert bench.ack()["reason"] == "old-counter"
    bench.send(Y, counter=42)
    bench.rest()
    assert (bench.ack()["result"], bench.node.gate.counter) == ("done", 42)


# ---------------------------------------------------------------- twice


def test_a_replay_of_the_last_command_is_answered_from_memory_even_after_a_reboot(bench):
    payload = bench.send(Y)
    bench.rest()
    first = bench.ack()
    bench.reboot()
    bench.node.receive(payload)
    assert bench.ack() == first
    bench.run(500)
    assert bench.closed == [Y] and len(bench.hal.closings) == 1


def test_a_replay_of_an_older_command_is_an_old_counter(bench):
    old = bench.send(Y)
    bench.rest()
    bench.acks()
    bench.switch(R)
    bench.node.receive(old)
    assert bench.ack()["reason"] == "old-counter"
    assert untouched_on(bench, R)


def test_a_repeat_while_it_moves_changes_nothing_and_gets_the_one_answer(bench):
    payload = bench.send(Y)
    bench.run(50)
    bench.node.receive(payload)
    bench.rest()
    assert bench.ack()["result"] == "done"
    assert len(bench.hal.closings) == 1


def test_a_second_command_while_it_moves_is_refused_and_does_not_hide_the_first(bench):
    bench.send(Y)
    bench.run(50)
    bench.send(B)
    assert bench.ack()["reason"] == "busy"
    bench.send(None, cmd="query")
    ack = bench.ack()
    assert (ack["result"], ack["last_id"], ack["last_result"]) == ("state", "C000001", "moving")
    bench.rest()
    assert (bench.ack()["id"], bench.closed) == ("C000001", [Y])


def test_a_command_before_the_interrupted_one_is_answered_is_refused(bench):
    bench.send(Y)
    bench.reboot()
    bench.send(B)
    assert bench.ack()["reason"] == "busy"
    bench.rest()
    ack = bench.ack()
    assert (ack["id"], ack["result"], ack["phase"]) == ("C000001", "failed", "R")


# ---------------------------------------------------------------- what it says of itself


@pytest.mark.parametrize("changes", [{"counter": 1}, {"expires": START - 1}, {"house": "H008"}])
def test_a_command_that_was_never_taken_does_not_hide_the_fate_of_the_last_switch(bench, changes):
    bench.switch(Y)
    bench.send(B, **changes)
    assert bench.ack()["result"] == "refused"
    bench.send(None, cmd="query")
    ack = bench.ack()
    assert (ack["last_id"], ack["last_result"]) == ("C000001", "done")


def test_a_query_tells_contact_and_the_fate_of_the_last_switch_and_moves_nothing(bench):
    bench.switch(Y)
    bench.send(None, cmd="query")
    ack = bench.ack()
    assert (ack["result"], ack["phase"], ack["last_id"], ack["last_result"]) == ("state", "Y", "C000001", "done")
    assert untouched_on(bench, Y)


def test_a_switch_to_where_it_is_is_done_without_motion(bench):
    bench.send(R)
    assert bench.ack()["result"] == "done"
    assert untouched(bench)


def test_after_power_was_lost_in_the_middle_of_a_switch_it_says_moving_then_failed(make_bench):
    bench = make_bench(bistable=False)
    payload = bench.send(Y)
    bench.run(50)
    bench.hal.power_cycle()
    bench.reboot()
    bench.send(None, cmd="query")
    assert (bench.ack()["last_result"], bench.node.busy) == ("moving", True)
    bench.node.receive(payload)
    bench.rest()
    ack = bench.ack()
    assert (ack["id"], ack["result"], ack["reason"], ack["phase"]) == ("C000001", "failed", "rebooted", "R")
    bench.node.receive(payload)
    assert bench.ack() == ack


def test_power_lost_between_verification_and_answer_still_says_done(bench):
    bench.send(Y)
    while bench.selector.state != "CLOSED":
        bench.hal.advance(5)
        bench.selector.step()
    bench.reboot()
    bench.run(5)
    assert (bench.ack()["result"], bench.closed) == ("done", [Y])


def test_a_reading_carries_identity_contact_and_a_rising_number(bench):
    def read() -> dict[str, object]:
        up = KEYS["telemetry"]
        return json.loads(open_sealed(bench.hal, up, f"{HOUSE}.1.u", "tel", bench.node.telemetry({"voltage": 231.0})))

    one, two = read(), read()
    assert (one["house_id"], one["phase"], one["relay"], one["voltage"]) == (HOUSE, "R", "R", 231.0)
    assert (two["seq"], two["boot"]) == (one["seq"] + 1, one["boot"])
    bench.send(Y)
    bench.run(60)
    assert read()["relay"] == "open"
    bench.reboot()
    assert read()["boot"] == one["boot"] + 1
