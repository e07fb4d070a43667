"""Envelopes: what the node seals the Pi opens and the other way round; every forgery is refused by name."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.core import jwe as node_jwe
from firmware.hal.sim import SimHal
from pi_service import seal
from pi_service.contract import MessageRefused
from pi_service.seal import KeyFault, NodeKeys, OperatorKeys, Sealer

PLAIN = b'{"house_id":"H001"}'
"""A message; its content is not this module's business."""


def pem_pair() -> tuple[bytes, bytes]:
    key = Ed25519PrivateKey.generate()
    return (
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    )


def refused(sealer: Sealer, payload: bytes, house: str = "H001", typ: seal.Kind = "tel") -> str:
    with pytest.raises(MessageRefused) as caught:
        sealer.open_uplink(house, payload, typ)
    return caught.value.reason


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def test_what_a_node_sealed_is_opened(sealer: Sealer, field: Any) -> None:
    assert sealer.open_uplink("H001", field.seal("H001", PLAIN), "tel") == PLAIN


def test_the_nodes_own_code_and_the_pi_understand_each_other(sealer: Sealer, field: Any) -> None:
    hal, keys = SimHal(), field.keys["H001"]
    up = node_jwe.seal(hal, keys.telemetry, node_jwe.header("H001.1.u", "ack"), PLAIN)
    assert sealer.open_uplink("H001", up, "ack") == PLAIN
    down = sealer.seal_command("H001", PLAIN)
    assert node_jwe.open_sealed(hal, keys.command, "H001.1.d", "cmd", down) == PLAIN


def test_every_command_is_sealed_afresh(sealer: Sealer) -> None:
    assert sealer.seal_command("H001", PLAIN) != sealer.seal_command("H001", PLAIN)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_anywhere_is_refused_or_changes_nothing(sealer: Sealer, field: Any, data: Any) -> None:
    """base64 leaves a few bits of a segment's last letter without meaning: those may change nothing."""
    payload = field.seal("H001", PLAIN)
    at = data.draw(st.integers(0, len(payload) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != payload[at]))
    try:
        assert sealer.open_uplink("H001", payload[:at] + bytes([byte]) + payload[at + 1:], "tel") == PLAIN
    except MessageRefused:
        return
    header = payload.partition(b".")[0]
    assert at > len(header), "a changed header must not pass"


def test_a_message_of_one_house_on_the_topic_of_another_is_refused(sealer: Sealer, field: Any) -> None:
    assert refused(sealer, field.seal("H002", PLAIN)) == "not-sealed-for-house"


def test_a_house_that_uses_anothers_key_id_is_refused(sealer: Sealer, field: Any) -> None:
    assert refused(sealer, field.seal("H002", PLAIN, kid="H001.1.u")) == "forged"


def test_a_command_sent_back_as_telemetry_is_refused(sealer: Sealer) -> None:
    assert refused(sealer, sealer.seal_command("H001", PLAIN)) in ("not-sealed-for-house", "not-sealed")


def test_a_reading_replayed_as_an_ack_is_refused(sealer: Sealer, field: Any) -> None:
    assert refused(sealer, field.seal("H001", PLAIN, typ="tel"), typ="ack") == "wrong-type"
    assert refused(sealer, field.seal("H001", PLAIN, typ="ack"), typ="tel") == "wrong-type"


def test_a_type_changed_in_the_header_breaks_the_tag(sealer: Sealer, field: Any) -> None:
    header, rest = field.seal("H001", PLAIN, typ="tel").split(b".", 1)
    as_ack = b64(base64.urlsafe_b64decode(header + b"==").replace(b'"tel"', b'"ack"'))
    assert refused(sealer, as_ack + b"." + rest, typ="ack") == "forged"


def test_an_epoch_that_the_site_does_not_have_is_named(sealer: Sealer, field: Any) -> None:
    assert refused(sealer, field.seal("H001", PLAIN, kid="H001.7.u")) == "unknown-key"


@pytest.mark.parametrize("header", [
    {"alg": "dir", "enc": "A128GCM", "kid": "H001.1.u", "typ": "tel"},
    {"alg": "none", "enc": "A128CBC-HS256", "kid": "H001.1.u", "typ": "tel"},
    {"alg": "A128KW", "enc": "A128CBC-HS256", "kid": "H001.1.u", "typ": "tel"},
    {"alg": "dir", "enc": "A128CBC-HS256", "kid": "H001.1.u", "typ": "tel", "zip": "DEF"},
    {"alg": "dir", "enc": "A128CBC-HS256", "kid": "H001.1.u", "typ": "tel", "crit": ["x"], "x": 1},
    {"alg": "dir", "enc": "A128CBC-HS256", "kid": "H001.1.u"},
    {"alg": "dir", "enc": "A128CBC-HS256", "kid": 1, "typ": "tel"},
    {"alg": "dir", "enc": "A128CBC-HS256", "kid": "H001.1.u", "typ": "exe"},
    [], None, "dir",
])
def test_a_header_that_is_not_exactly_ours_is_refused(sealer: Sealer, field: Any, header: object) -> None:
    rest = field.seal("H001", PLAIN).split(b".", 1)[1]
    assert refused(sealer, b64(json.dumps(header).encode()) + b"." + rest) == "not-sealed"


@pytest.mark.parametrize("payload", [
    b"", b"eyJ", b"....", b"eyJhbGciOiJkaXIifQ....", b"eyJ\xff\xff.a.b.c.d", b'{"plain":1}', b"eyJ" + b"W1tb" * 900,
])
def test_what_is_no_envelope_is_refused(sealer: Sealer, payload: bytes) -> None:
    assert refused(sealer, payload) == "not-sealed"


def test_an_envelope_with_parts_missing_or_empty_is_forged(sealer: Sealer, field: Any) -> None:
    header, _, iv, cipher, tag = field.seal("H001", PLAIN).split(b".")
    for parts in ((header, b"", iv, cipher), (header, b"", b"", cipher, tag), (header, b"", iv, b"", tag),
                  (header, b"", iv, cipher, b""), (header, b"", iv, cipher, tag[:8]),
                  (header, b"AAAA", iv, cipher, tag), (header, b"", iv, cipher, tag, b"")):
        assert refused(sealer, b".".join(parts)) == "forged"


def test_a_payload_longer_than_any_message_is_refused_unread(sealer: Sealer, field: Any) -> None:
    assert refused(sealer, field.seal("H001", b"x" * 4000)) == "too-long"


def test_while_keys_rotate_both_epochs_open_and_commands_take_the_newer(field: Any) -> None:
    sealer = Sealer([field.keys_of("H001", 2), field.keys_of("H001", 1)])
    assert sealer.open_uplink("H001", field.seal("H001", PLAIN), "tel") == PLAIN
    newer = field.seal("H001", PLAIN, kid="H001.2.u", key=field.keys_of("H001", 2).telemetry)
    assert sealer.open_uplink("H001", newer, "tel") == PLAIN
    down = node_jwe.open_sealed(SimHal(), field.keys_of("H001", 2).command, "H001.2.d", "cmd",
                                sealer.seal_command("H001", PLAIN))
    assert down == PLAIN


def test_a_house_without_keys_gets_no_command(sealer: Sealer) -> None:
    with pytest.raises(KeyFault, match="no key for H999"):
        sealer.seal_command("H999", PLAIN)


def test_keys_of_the_wrong_length_or_the_same_in_both_directions_are_refused() -> None:
    with pytest.raises(KeyFault, match="16 bytes, not 32"):
        NodeKeys("H001", 1, b"k" * 16, b"t" * 32)
    with pytest.raises(KeyFault, match="one key for both directions"):
        NodeKeys("H001", 1, b"k" * 32, b"k" * 32)


def test_keys_are_not_in_what_is_printed() -> None:
    keys = NodeKeys("H001", 1, b"secret-down!" * 2 + b"........", b"secret-up..." * 2 + b"........")
    assert "secret" not in repr(keys)


# ---------------------------------------------------------------- operators' requests

REQUEST = b'{"id":"r1"}'


@pytest.fixture(scope="module")
def anil() -> tuple[bytes, dict[str, OperatorKeys]]:
    private, public = pem_pair()
    return private, {"anil": OperatorKeys("anil", public, {"KL-1": "operator"})}


def request_refused(payload: bytes, operators: dict[str, OperatorKeys]) -> str:
    with pytest.raises(MessageRefused) as caught:
        seal.verify_request(payload, operators)
    return caught.value.reason


def test_a_signed_request_is_taken_and_names_its_operator(anil: tuple[bytes, dict[str, OperatorKeys]]) -> None:
    private, operators = anil
    assert seal.verify_request(seal.sign_request(REQUEST, "anil", private), operators) == ("anil", REQUEST)


def test_a_stranger_and_a_strangers_key_are_refused(anil: tuple[bytes, dict[str, OperatorKeys]]) -> None:
    _, operators = anil
    other, _ = pem_pair()
    assert request_refused(seal.sign_request(REQUEST, "anil", other), operators) == "forged"
    assert request_refused(seal.sign_request(REQUEST, "eve", other), operators) == "unknown-operator"


def test_a_changed_request_is_refused(anil: tuple[bytes, dict[str, OperatorKeys]]) -> None:
    private, operators = anil
    header, _, signature = seal.sign_request(REQUEST, "anil", private).split(b".")
    assert request_refused(b".".join((header, b64(b'{"id":"r2"}'), signature)), operators) == "forged"
    assert request_refused(b".".join((header, b64(REQUEST), signature[:-4])), operators) == "forged"
    assert request_refused(b".".join((header, b64(REQUEST), b"")), operators) == "forged"


@pytest.mark.parametrize("header", [
    {"alg": "none", "kid": "anil", "typ": "req"}, {"alg": "HS256", "kid": "anil", "typ": "req"},
    {"alg": "EdDSA", "kid": "anil"}, {"alg": "EdDSA", "kid": "anil", "typ": "cmd"},
    {"alg": "EdDSA", "kid": "anil", "typ": "req", "jwk": {}}, {"alg": "EdDSA", "kid": ["anil"], "typ": "req"}, 7,
])
def test_a_request_under_another_header_is_refused(anil: tuple[bytes, dict[str, OperatorKeys]], header: object) -> None:
    private, operators = anil
    _, body, signature = seal.sign_request(REQUEST, "anil", private).split(b".")
    assert request_refused(b".".join((b64(json.dumps(header).encode()), body, signature)), operators) == "not-signed"


@pytest.mark.parametrize("payload", [b"", b"{}", b"a.b", b"a.b.c.d", b"\xff.\xff.\xff", b"W1tb" * 3000])
def test_what_is_no_signed_request_is_refused(anil: tuple[bytes, dict[str, OperatorKeys]], payload: bytes) -> None:
    assert request_refused(payload, anil[1]) == "not-signed"


def test_a_request_longer_than_any_is_refused_unread(anil: tuple[bytes, dict[str, OperatorKeys]]) -> None:
    private, operators = anil
    assert request_refused(seal.sign_request(b"x" * 20_000, "anil", private), operators) == "too-long"


def test_a_key_that_is_not_ed25519_is_said_to_be_so() -> None:
    curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    exchange = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for pem in (curve, exchange, b"nonsense", b""):
        with pytest.raises(KeyFault, match=r"key of anil.*Ed25519"):
            seal.sign_request(REQUEST, "anil", pem)


def test_a_role_holds_on_its_feeder_and_a_star_on_all() -> None:
    keys = OperatorKeys("anil", b"", {"KL-1": "operator", "*": "viewer"})
    assert (keys.role("KL-1"), keys.role("KL-2")) == ("operator", "viewer")
    assert OperatorKeys("anil", b"", {"KL-1": "operator"}).role("KL-2") is None
