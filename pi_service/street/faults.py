"""Faults by name: `NAME[:SUBJECT]@HH:MM[,for=MINUTES]`, read from the command line and looked up by the street.

    node-dead:H007@09:30          the node falls silent (its contacts stay); with `for` it boots again
    ack-lost:H007@09:30           its acknowledgements do not arrive
    ack-lies:H007@09:30           it claims a switch that it did not make
    relay-welded:H007@09:30       the contact that is closed then never opens; `for`: until a person frees it
    meter-stale@10:00,for=30      the transformer's meter says nothing
    broker-restart@12:00          the broker dies and comes back, sessions and retained messages lost
    daemon-kill:ACKED@09:30       the daemon dies without a word and starts again

SUBJECT of a house's fault: a house, or `next`, the first house that gets a command from then on. SUBJECT of
broker-restart and daemon-kill (optional): a state of a switch; the fault then strikes at the first switch that
comes to that state, as soon as the state is in the audit log; with `-after` (`SENT-after`) once its side effect,
a command, is out. Without `for`: a house's fault and meter-stale last, the other two take one minute.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

from balancer.errors import SmartPhaseError
from balancer.feeder import Feeder
from pi_service.clock import local_day_start
from pi_service.contract import SwitchState

HOUSE_FAULTS = ("node-dead", "ack-lost", "ack-lies", "relay-welded")
PI_FAULTS = ("broker-restart", "daemon-kill")
FAULTS = (*HOUSE_FAULTS, *PI_FAULTS, "meter-stale")
NEXT = "next"
AFTER = "-after"
_FORM = re.compile(r"(?P<name>[a-z-]+)(:(?P<subject>[A-Za-z0-9_-]+))?@(?P<hour>\d{1,2}):(?P<minute>\d{2})"
                   r"([, ]for=(?P<minutes>\d+(\.\d+)?))?")


class FaultError(SmartPhaseError):
    """A fault that cannot be taken: names it, what is wrong, and what the form is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `at_s`: seconds after local midnight; `minutes`: how long, None for ever; `subject` may be ""."""

    name: str
    subject: str
    at_s: float
    minutes: float | None

    def begins(self, start: float) -> float:
        """Unix s of the first time that this time of day comes at or after `start`."""
        at = local_day_start(start) + self.at_s
        return at if at >= start else at + 86_400.0

    def __str__(self) -> str:
        subject = f":{self.subject}" if self.subject else ""
        lasting = f",for={self.minutes:g}" if self.minutes is not None else ""
        return f"{self.name}{subject}@{int(self.at_s // 3600):02d}:{int(self.at_s % 3600 // 60):02d}{lasting}"


def parse_fault(text: str) -> Fault:
    """Read one fault. Raises FaultError, one line."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise FaultError(f"fault {text!r}: write NAME[:SUBJECT]@HH:MM[,for=MINUTES], as in node-dead:H007@09:30")
    name, subject = match["name"], match["subject"] or ""
    if name not in FAULTS:
        raise FaultError(f"fault {text!r}: no fault {name!r}; choose from {', '.join(FAULTS)}")
    hour, minute = int(match["hour"]), int(match["minute"])
    if hour > 23 or minute > 59:
        raise FaultError(f"fault {text!r}: {hour:02d}:{minute:02d} is no time of day")
    if name in HOUSE_FAULTS and not subject:
        raise FaultError(f"fault {text!r}: {name} needs a house, as in {name}:H007@09:30, or {name}:{NEXT}@09:30")
    if name == "meter-stale" and subject:
        raise FaultError(f"fault {text!r}: there is one meter; write meter-stale@{hour:02d}:{minute:02d}")
    if name in PI_FAULTS and subject and subject.removesuffix(AFTER) not in get_args(SwitchState):
        raise FaultError(f"fault {text!r}: {subject!r} is no state of a switch; choose from "
                         f"{', '.join(get_args(SwitchState))}, each also with {AFTER}")
    lasts = float(match["minutes"]) if match["minutes"] else (1.0 if name in PI_FAULTS else None)
    if lasts == 0 and name not in PI_FAULTS:
        raise FaultError(f"fault {text!r}: for=0 would be no fault; leave it out for one that lasts")
    return Fault(name, subject, hour * 3600.0 + minute * 60.0, lasts)


def check_faults(faults: tuple[Fault, ...], feeder: Feeder, start: float, end: float) -> None:
    """Refuse a fault on a house that the feeder lacks, or outside the run. Raises FaultError."""
    for fault in faults:
        if fault.name in HOUSE_FAULTS and fault.subject not in (NEXT, *feeder.house_ids):
            raise FaultError(f"fault {fault}: {fault.subject} is not in houses.csv of {feeder.feeder_id}")
        if not start <= fault.begins(start) < end:
            raise FaultError(f"fault {fault}: the run is over before that; choose a time within it")
