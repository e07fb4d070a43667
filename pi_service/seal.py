"""Sealed messages between Pi and nodes, signed requests from operators.

Sealed: JWE compact, `dir` with A128CBC-HS256 (RFC 7518 section 5.2.3), one 32-byte key per house, epoch and
direction; the header is exactly {alg, enc, kid, typ}, `kid` = "<house>.<epoch>.<d|u>" (d: down to the node,
u: up), `typ` one of cmd, ack, tel, so that one kind cannot be replayed as another. Signed: JWS compact, EdDSA
over Ed25519 (RFC 8037), `kid` = the operator. joserfc does the cryptography and checks the tag before it
decrypts. Not here: whether a message is fresh (`feeder_state`), who may ask what (`requests`), key files
(`site`). This stops a forged or curious broker; it does not stop a Pi that has been taken over.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import msgspec
from joserfc import jwe, jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import OctKey, OKPKey
from joserfc.util import urlsafe_b64decode

from balancer.errors import SmartPhaseError
from pi_service.contract import MessageRefused

METER = "meter"
"""The house id under which the transformer meter's keys are kept."""
KEY_BYTES = 32
MAX_SEALED_BYTES = 4096
MAX_SIGNED_BYTES = 16_384

Kind = Literal["cmd", "ack", "tel"]
Role = Literal["viewer", "operator", "engineer", "field", "admin"]

_ALG, _ENC = "dir", "A128CBC-HS256"
_SEAL = jwe.JWERegistry(algorithms=[_ALG, _ENC])
_SIGN = jws.JWSRegistry(algorithms=["EdDSA"])

# RFC 9864 renames EdDSA to Ed25519; the contract says EdDSA, and the key type pins the curve.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)


class _SealHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: Literal["dir"]
    enc: Literal["A128CBC-HS256"]
    kid: str
    typ: Kind


class _SignHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: Literal["EdDSA"]
    kid: str
    typ: Literal["req"]


class KeyFault(SmartPhaseError):
    """A key that cannot be used: names the owner and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """One epoch of a node's keys. `command` seals Pi -> node, `telemetry` node -> Pi; 32 bytes each."""

    house: str
    epoch: int
    command: bytes = field(repr=False)
    telemetry: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for name, key in (("command", self.command), ("telemetry", self.telemetry)):
            if len(key) != KEY_BYTES:
                raise KeyFault(f"{name} key of {self.house} epoch {self.epoch} has {len(key)} bytes, not "
                               f"{KEY_BYTES}: provision the node again")
        if self.command == self.telemetry:
            raise KeyFault(f"{self.house} epoch {self.epoch} has one key for both directions: provision it again")


@dataclass(frozen=True, slots=True)
class OperatorKeys:
    """An operator as the Pi knows one: the public key (PEM, Ed25519) and the role on each feeder ("*": all)."""

    operator: str
    public_pem: bytes = field(repr=False)
    roles: Mapping[str, Role]

    def role(self, feeder: str) -> Role | None:
        """The role on `feeder`, or None where there is none."""
        return self.roles.get(feeder, self.roles.get("*"))


def kid(house: str, epoch: int, direction: Literal["d", "u"]) -> str:
    """The key id that goes into the protected header."""
    return f"{house}.{epoch}.{direction}"


def is_sealed(payload: bytes) -> bool:
    """Whether a payload claims to be a JWE (its header, base64url of `{"`, starts `eyJ`)."""
    return payload.startswith(b"eyJ")


class Sealer:
    """Seals commands and opens what nodes sent, for all houses of a site. Keys may come in several epochs.

    Commands are sealed with the newest epoch; any known epoch opens, so that a rotation loses nothing.
    """

    def __init__(self, keys: Iterable[NodeKeys]) -> None:
        self._down: dict[str, tuple[int, OctKey]] = {}
        self._up: dict[tuple[str, str], OctKey] = {}
        for node in sorted(keys, key=lambda keys: (keys.house, keys.epoch)):
            self._down[node.house] = (node.epoch, OctKey.import_key(node.command))
            self._up[node.house, kid(node.house, node.epoch, "u")] = OctKey.import_key(node.telemetry)

    @property
    def houses(self) -> frozenset[str]:
        """Who has keys (the meter as `METER`)."""
        return frozenset(self._down)

    def seal_command(self, house: str, payload: bytes) -> bytes:
        """Seal JSON of a contract.Command for `house`. Raises KeyFault where the house has no key."""
        if house not in self._down:
            raise KeyFault(f"no key for {house}: provision the node, then reload the site")
        epoch, key = self._down[house]
        header = {"alg": _ALG, "enc": _ENC, "kid": kid(house, epoch, "d"), "typ": "cmd"}
        return jwe.encrypt_compact(header, payload, key, registry=_SEAL).encode()

    def open_uplink(self, house: str, payload: bytes, typ: Kind) -> bytes:
        """Open what came on a topic of `house`. Nothing inside is looked at before the tag is proven.

        Raises MessageRefused: "not-sealed" (no JWE of our shape), "not-sealed-for-house" (another house's or
        the other direction's kid), "unknown-key" (an epoch that the site does not have), "wrong-type" (e.g. a
        reading replayed as an ack), "forged" (the tag does not match).
        """
        if len(payload) > MAX_SEALED_BYTES:
            raise MessageRefused("too-long", f"{len(payload)} bytes sealed, at most {MAX_SEALED_BYTES}")
        key_id, kind = _read_header(payload.partition(b".")[0])
        key = self._up.get((house, key_id))
        if key is None:
            owner, _, rest = key_id.rpartition(".")[0].rpartition(".")
            if owner == house and rest.isdigit() and key_id.endswith(".u"):
                raise MessageRefused("unknown-key", f"{house} sealed with key {key_id}, which this site lacks")
            raise MessageRefused("not-sealed-for-house", f"key {key_id!r} came on the topic of {house}")
        try:
            plain = jwe.decrypt_compact(payload, key, registry=_SEAL).plaintext
        except (JoseError, ValueError, TypeError) as error:
            raise MessageRefused("forged", f"what came for {house} does not open with key {key_id}") from error
        if kind != typ:
            raise MessageRefused("wrong-type", f"{house} sealed a {kind!r}, expected {typ!r}")
        return plain or b""


@lru_cache(maxsize=2048)
def _read_header(segment: bytes) -> tuple[str, Kind]:
    """(kid, typ) of a protected header; a node always sends the same few, so they are remembered."""
    try:
        header = msgspec.json.decode(urlsafe_b64decode(segment), type=_SealHeader)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise MessageRefused("not-sealed", f"not a sealed envelope of this contract ({error})") from error
    return header.kid, header.typ


# ---------------------------------------------------------------- operators' requests


def sign_request(payload: bytes, operator: str, private_pem: bytes) -> bytes:
    """Sign JSON of a contract.Request. `private_pem`: the operator's Ed25519 key, PEM (PKCS 8)."""
    header = {"alg": "EdDSA", "kid": operator, "typ": "req"}
    return jws.serialize_compact(header, payload, _ed25519(private_pem, operator), registry=_SIGN).encode()


def verify_request(payload: bytes, operators: Mapping[str, OperatorKeys]) -> tuple[str, bytes]:
    """Check a signed request; returns (operator, JSON of contract.Request).

    The caller compares the operator with the topic's and with the one inside. Raises MessageRefused:
    "not-signed", "too-long", "unknown-operator", "forged".
    """
    if len(payload) > MAX_SIGNED_BYTES:
        raise MessageRefused("too-long", f"{len(payload)} bytes signed, at most {MAX_SIGNED_BYTES}")
    try:
        operator = msgspec.json.decode(urlsafe_b64decode(payload.partition(b".")[0]), type=_SignHeader).kid
        signed = jws.extract_compact(payload)
    except (JoseError, ValueError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise MessageRefused("not-signed", f"not a signed request of this contract ({error})") from error
    if operator not in operators:
        raise MessageRefused("unknown-operator", f"{operator!r} is not among the operators of this site")
    key = _ed25519(operators[operator].public_pem, operator)
    try:
        genuine = jws.validate_compact(signed, key, registry=_SIGN)
    except (JoseError, ValueError, TypeError):
        genuine = False
    if not genuine:
        raise MessageRefused("forged", f"the signature is not {operator}'s")
    return operator, signed.payload


@lru_cache(maxsize=256)
def _ed25519(pem: bytes, owner: str) -> OKPKey:
    try:
        key = OKPKey.import_key(pem)
    except (JoseError, ValueError, TypeError) as error:
        raise KeyFault(f"the key of {owner} is not an Ed25519 key in PEM: make it again") from error
    if key.as_dict()["crv"] != "Ed25519":
        raise KeyFault(f"the key of {owner} is {key.as_dict()['crv']}, not Ed25519: make it again")
    return key
