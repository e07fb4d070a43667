"""Writes data/vectors/commands.json with joserfc, which knows nothing of the firmware: run it as a script.

The expected answers are written here by hand from the contract, not taken from what the firmware does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

from joserfc import jwe
from joserfc.jwk import OctKey

VECTORS = Path(__file__).resolve().parents[2] / "data" / "vectors" / "commands.json"
HOUSE, NOW = "H007", 1_776_191_400
COMMAND_KEY, TELEMETRY_KEY = bytes(range(32)), bytes(range(32, 64))
DOWN, UP = f"{HOUSE}.1.d", f"{HOUSE}.1.u"
_REGISTRY = jwe.JWERegistry(algorithms=["dir", "A128CBC-HS256"])


def seal(plain: bytes, number: int, kid: str = DOWN, typ: str = "cmd", key: bytes = COMMAND_KEY,
         **more: str) -> tuple[str, str]:
    """(IV in hex, compact JWE) by joserfc, with an IV that is the same in every run."""
    iv = bytes((number * 17 + i * 29) % 256 for i in range(16))
    header = {"alg": "dir", "enc": "A128CBC-HS256", "kid": kid, "typ": typ, **more}
    with mock.patch.object(_REGISTRY.get_enc("A128CBC-HS256"), "generate_iv", return_value=iv):
        return iv.hex(), jwe.encrypt_compact(header, plain, OctKey.import_key(key), registry=_REGISTRY)


def envelopes() -> list[dict[str, str]]:
    """Envelopes that have to come out byte for byte, and open again: every length of padding, each kind."""
    made = []
    kinds = ((DOWN, "cmd", COMMAND_KEY), (UP, "ack", TELEMETRY_KEY), (UP, "tel", TELEMETRY_KEY))
    for number in range(18):
        kid, typ, key = kinds[number % 3]
        plain = "".join(chr(33 + (number + i) % 90) for i in range(number if number < 17 else 300))
        iv, sealed = seal(plain.encode(), number, kid, typ, key)
        made.append({"kid": kid, "typ": typ, "key": key.hex(), "iv": iv, "plain": plain, "sealed": sealed})
    return made


def command(counter: int, target: str | None, cmd: str = "switch", **changes: object) -> dict[str, Any]:
    """A command of the Pi as of NOW."""
    usual = {"cmd": cmd, "id": f"C{counter:06d}", "house": HOUSE, "counter": counter, "issued": NOW,
             "expires": NOW + 300, "target": target}
    return {**usual, **changes}


def commands() -> list[dict[str, Any]]:
    """What one node on R hears, one after the other, and what it has to answer: [result, reason, contact after]."""
    heard: list[dict[str, Any]] = []

    def hear(name: str, body: object, answer: list[str] | None, dropped: str = "", clock: bool = True,
             change: int | None = None, **how: Any) -> None:
        _, sealed = seal(json.dumps(body).encode(), len(heard), **how)
        if change is not None:
            sealed = sealed[:change] + ("A" if sealed[change] != "A" else "B") + sealed[change + 1:]
        heard.append({"name": name, "sealed": sealed, "clock": clock, "answer": answer, "dropped": dropped})

    hear("query", command(1, None, "query"), ["state", "", "R"])
    hear("clock unset", command(2, "Y"), ["refused", "clock-unset", "R"], clock=False)
    hear("to Y", command(2, "Y"), ["done", "", "Y"])
    heard.append({**heard[-1], "name": "the same again"})
    hear("old counter", command(2, "B", id="C9"), ["refused", "old-counter", "Y"])
    hear("expired", command(3, "B", issued=NOW - 300, expires=NOW - 1), ["refused", "expired", "Y"])
    hear("from the future", command(3, "B", issued=NOW + 300, expires=NOW + 600), ["refused", "expired", "Y"])
    hear("fractions of a second", command(3, None, "query", issued=NOW - 0.25, expires=NOW + 299.75),
         ["state", "", "Y"])
    hear("house inside", command(4, "B", house="H008"), ["refused", "wrong-house", "Y"])
    hear("bad target", command(5, "N"), ["refused", "bad-target", "Y"])
    hear("bad command", command(6, "B", cmd="reset"), ["refused", "bad-command", "Y"])
    hear("another house's key id", command(7, "B"), None, "header", kid="H008.1.d")
    hear("another epoch", command(7, "B"), None, "header", kid="H007.2.d")
    hear("an ack as a command", command(7, "B"), None, "header", typ="ack")
    hear("one header field more", command(7, "B"), None, "header", cty="json")
    hear("the other key", command(7, "B"), None, "tag", key=TELEMETRY_KEY)
    hear("ciphertext changed", command(7, "B"), None, "tag", change=150)
    hear("tag changed", command(7, "B"), None, "tag", change=-5)
    hear("header changed", command(7, "B"), None, "header", change=62)
    hear("no object", [7], None, "keys")
    hear("counter as text", command(7, "B") | {"counter": "7"}, None, "keys")
    hear("dwell", command(7, "B"), ["refused", "dwell", "Y"])
    hear("back to R", command(8, "R"), ["done", "", "R"])
    hear("where it is already", command(9, "R"), ["done", "", "R"])
    return heard


def vectors() -> dict[str, Any]:
    """Everything that the file holds."""
    return {
        "about": "JWE compact, dir + A128CBC-HS256 (RFC 7518 5.2), made with joserfc by tests/firmware/make_vectors.py",
        "house": HOUSE, "now": NOW,
        "keys": {"epoch": 1, "command": COMMAND_KEY.hex(), "telemetry": TELEMETRY_KEY.hex()},
        "envelopes": envelopes(), "commands": commands(),
    }


if __name__ == "__main__":
    VECTORS.parent.mkdir(parents=True, exist_ok=True)
    VECTORS.write_text(json.dumps(vectors(), indent=1) + "\n")
