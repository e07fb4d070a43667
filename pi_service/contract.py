"""Every topic and every message of SmartPhase, typed. What is not here is not on the wire.

Units: V, A (rms), kW, kvar, Hz, s (Unix), percent. Net import is positive. Phases are "R", "Y", "B".
Not here: sealing and signing (`seal`), what a value means (`feeder_state`), who may ask (`requests`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import msgspec

from balancer.errors import SmartPhaseError

PREFIX = "smartphase/v1"
Phase = Literal["R", "Y", "B"]
Contact = Literal["R", "Y", "B", "open", "fault"]
Quality = Literal["G", "U", "B"]
Mode = Literal["AUTO", "MANUAL", "HOLD"]
TagKind = Literal["caution", "control-inhibit", "do-not-operate"]
SwitchState = Literal[
    "PROPOSED", "AUTHORISED", "SENT", "ACKED", "VERIFIED", "REFUSED",
    "FAILED", "ROLLBACK_SENT", "ROLLED_BACK", "QUARANTINED",
]
FINAL_STATES: frozenset[SwitchState] = frozenset({"VERIFIED", "REFUSED", "ROLLED_BACK", "QUARANTINED"})
"""FAILED is not final: it goes on to ROLLBACK_SENT, or to QUARANTINED where the house cannot be asked."""

IDENT = r"^[A-Za-z0-9_-]{1,40}$"
Ident = Annotated[str, msgspec.Meta(pattern=IDENT)]


class MessageRefused(SmartPhaseError):
    """A message that was not taken. `reason` is the counter's name: short, fixed words with hyphens."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


# ---------------------------------------------------------------- topics


@dataclass(frozen=True, slots=True)
class Topic:
    """A parsed topic: `house` is "" for the feeder's own topics, "meter" leaves have kind "meter"."""

    feeder: str
    kind: str      # "house", "meter", "state", "event", "status", "request", "reply"
    name: str      # the house, or the operator of a request or reply, else ""
    leaf: str      # "telemetry", "status", "command", "ack", else ""


def house_topic(feeder: str, house: str, leaf: str) -> str:
    return f"{PREFIX}/{feeder}/house/{house}/{leaf}"


def meter_topic(feeder: str, leaf: str) -> str:
    """The transformer's meter: `telemetry` and `status`, like a house's."""
    return f"{PREFIX}/{feeder}/meter/{leaf}"


def feeder_topic(feeder: str, leaf: str) -> str:
    """`state`, `event`, `status`."""
    return f"{PREFIX}/{feeder}/{leaf}"


def operator_topic(feeder: str, leaf: str, operator: str) -> str:
    """`request` or `reply` of one operator."""
    return f"{PREFIX}/{feeder}/{leaf}/{operator}"


def parse_topic(topic: str) -> Topic:
    """Take a topic apart. Raises MessageRefused("topic", ...) on one that is not of the contract."""
    match topic.removeprefix(f"{PREFIX}/").split("/"):
        case [feeder, "house", house, ("telemetry" | "status" | "command" | "ack") as leaf]:
            return Topic(feeder, "house", house, leaf)
        case [feeder, "meter", ("telemetry" | "status") as leaf]:
            return Topic(feeder, "meter", "", leaf)
        case [feeder, ("request" | "reply") as kind, operator]:
            return Topic(feeder, kind, operator, "")
        case [feeder, ("state" | "event" | "status") as kind]:
            return Topic(feeder, kind, "", "")
    raise MessageRefused("topic", f"{topic!r} is not a topic of {PREFIX}")


# ---------------------------------------------------------------- from the field


def _range(low: float, high: float) -> msgspec.Meta:
    return msgspec.Meta(ge=low, le=high)


Volts = Annotated[float, _range(0, 500)]
HouseAmps = Annotated[float, _range(0, 200)]
MeterAmps = Annotated[float, _range(0, 2000)]
HouseKw = Annotated[float, _range(-60, 60)]
SolarKw = Annotated[float, _range(0, 60)]
MeterKw = Annotated[float, _range(-1000, 1000)]
Hertz = Annotated[float, _range(40, 60)]


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a house measures. `voltage`, `current`: rms of the house's load; `solar_injection`: kW made.

    `power` (net import, kW) and `reactive_power` (kvar) win over `voltage * current / 1000 - solar_injection`.
    """

    house_id: Ident
    phase: Phase
    voltage: Volts
    current: HouseAmps
    solar_injection: SolarKw
    power: HouseKw | None = None
    reactive_power: HouseKw | None = None
    frequency: Hertz | None = None
    seq: int | None = None
    boot: int | None = None
    ts: float | None = None
    relay: Contact | None = None
    fw: str | None = None


class MeterReading(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the three-phase meter at the transformer measures; triples are (R, Y, B), lines (RY, YB, BR)."""

    voltage: tuple[Volts, Volts, Volts]
    line_voltage: tuple[Annotated[float, _range(0, 900)], Annotated[float, _range(0, 900)],
                        Annotated[float, _range(0, 900)]]
    current: tuple[MeterAmps, MeterAmps, MeterAmps]
    power: tuple[MeterKw, MeterKw, MeterKw]
    reactive_power: tuple[MeterKw, MeterKw, MeterKw]
    neutral_current: MeterAmps
    frequency: Hertz | None = None
    seq: int | None = None
    boot: int | None = None
    ts: float | None = None


class NodeStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """Birth, death (the will) of a node, of the meter's reader or of the Pi."""

    online: bool
    boot: int = 0
    fw: str = ""


# ---------------------------------------------------------------- commands (sealed)


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """Pi -> node, sealed. `switch` names an absolute target; `query` asks where the house is."""

    cmd: Literal["switch", "query"]
    id: str
    house: Ident
    counter: Annotated[int, msgspec.Meta(ge=1)]
    issued: float
    expires: float
    target: Phase | None = None


class Ack(msgspec.Struct, frozen=True, omit_defaults=True):
    """Node -> Pi, sealed. `done`: closed on the target, feedback seen. `refused`: nothing moved, see reason.

    `failed`: it moved and did not end well (see phase and reason). `state`: the answer to a query; then
    `last_id` and `last_result` tell what became of the last switch command.
    """

    id: str
    house: Ident
    result: Literal["done", "refused", "failed", "state"]
    phase: Contact
    counter: int
    boot: int
    ts: float
    reason: str = ""
    last_id: str = ""
    last_result: str = ""
    dead_ms: int | None = None


# ---------------------------------------------------------------- the snapshot that screens draw


class Measured(msgspec.Struct, frozen=True):
    """A value with its quality and its age (s, monotonic). Quality B has no value: a screen draws `--`."""

    value: float | None
    quality: Quality
    age_s: float


class PhaseView(msgspec.Struct, frozen=True):
    """One phase at the transformer's meter (or, without a meter, summed from the houses with quality U)."""

    phase: Phase
    current_a: Measured
    voltage_v: Measured
    power_kw: Measured
    houses: int


class HouseView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One house. `note` is the one thing that matters now: dwell, locked by whom, quarantined, PV off."""

    id: str
    pole: str
    phase: Contact
    quality: Quality
    age_s: float
    online: bool
    voltage_v: float | None = None
    current_a: float | None = None
    power_kw: float | None = None
    solar_kw: float | None = None
    pv_kwp: float = 0.0
    switchable: bool = True
    critical: bool = False
    switches_today: int = 0
    tag: TagKind | None = None
    tag_id: str = ""
    note: str = ""


AlarmState = Literal["UNACK", "ACK", "RTN", "CLEARED"]
"""Unacknowledged, acknowledged and standing, returned to normal but unacknowledged, gone (history)."""


class AlarmView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One alarm. `id` is its occurrence; `name` its definition in data/alarms; priority 1 is the worst."""

    id: str
    name: str
    priority: int
    state: AlarmState
    raised_at: float
    text: str
    house: str = ""
    cleared_at: float | None = None
    acked_at: float | None = None
    acked_by: str = ""


class InterlockView(msgspec.Struct, frozen=True):
    name: str
    ok: bool
    detail: str


class EffectView(msgspec.Struct, frozen=True):
    """The predicted effect of a move: see `balancer.decision.Effect`."""

    neutral_before_a: float
    neutral_after_a: float
    vuf_before_percent: float
    vuf_after_percent: float
    phase_current_before_a: tuple[float, float, float]
    phase_current_after_a: tuple[float, float, float]
    voltage_min_v: float
    voltage_max_v: float
    pv_lost_kwh: float
    value: float


class SwitchView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One switch, as it stands. `origin` is AUTO or the operator; `undo_of` the id that it takes back."""

    id: str
    at: float
    origin: str
    house: str
    from_phase: Phase
    to_phase: Phase
    state: SwitchState
    reason: str = ""
    predicted_neutral_a: float | None = None
    neutral_before_a: float | None = None
    neutral_after_a: float | None = None
    finished_at: float | None = None
    undo_of: str = ""
    undone_by: str = ""


class ProposalView(msgspec.Struct, frozen=True):
    """The move that AUTO makes next or, in MANUAL and HOLD, would make; accepting it needs its id."""

    id: str
    house: str
    from_phase: Phase
    to_phase: Phase
    kind: str
    reason: str
    effect: EffectView
    interlocks: tuple[InterlockView, ...]


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that the main screen draws, once a second, retained. `at` is plant time, `sent` counts up from 1."""

    feeder: str
    name: str
    at: float
    sent: int
    mode: Mode
    mode_by: str
    mode_reason: str
    phases: tuple[PhaseView, PhaseView, PhaseView]
    neutral_a: Measured
    vuf_percent: Measured
    unbalance_percent: Measured
    power_kw: Measured
    neutral_limit_a: float
    vuf_limit_percent: float
    phase_limit_a: float
    voltage_min_v: float | None
    voltage_max_v: float | None
    neutral_history_a: tuple[float | None, ...]      # the last 60 plant minutes, oldest first
    houses: tuple[HouseView, ...]
    alarms: tuple[AlarmView, ...]                    # standing, worst first, then newest
    switches: tuple[SwitchView, ...]                 # the last 50, newest first
    in_flight: SwitchView | None
    proposal: ProposalView | None
    decision: str                                    # what the planner last said, in words
    counters: dict[str, int]                         # received, refused-<reason>, shed, ...
    feeder_tag: TagKind | None = None
    feeder_tag_id: str = ""
    broker: str = ""                                 # "mosquitto 127.0.0.1:1883", "DEMO BROKER, ..."
    speed: float = 1.0                               # plant seconds a wall second


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A transition worth telling at once: `kind` alarm, switch, mode or tag."""

    at: float
    kind: Literal["alarm", "switch", "mode", "tag"]
    text: str
    alarm: AlarmView | None = None
    switch: SwitchView | None = None


# ---------------------------------------------------------------- requests (signed) and replies


class SetMode(msgspec.Struct, frozen=True, tag="set_mode"):
    """AUTO or MANUAL; HOLD by a person holds until a person leaves it."""

    mode: Mode
    reason: str = ""


class Preview(msgspec.Struct, frozen=True, tag="preview"):
    """Ask for the effect and the interlocks of a move; answers PreviewResult. Moves nothing."""

    house: Ident
    target: Phase


class Operate(msgspec.Struct, frozen=True, tag="operate"):
    """Make the previewed move; checked again; refused after the preview expired (30 s)."""

    preview_id: str
    reason: str = ""


class Accept(msgspec.Struct, frozen=True, tag="accept"):
    """In MANUAL: make the standing proposal."""

    proposal_id: str


class Undo(msgspec.Struct, frozen=True, tag="undo"):
    """Switch back what switch `switch_id` moved; answers like Operate."""

    switch_id: str
    reason: str = ""


class AckAlarm(msgspec.Struct, frozen=True, tag="ack_alarm"):
    alarm_id: str


class PlaceTag(msgspec.Struct, frozen=True, tag="place_tag"):
    """Tag a house, or the feeder where `house` is ""."""

    house: str
    kind: TagKind
    reason: str


class ClearTag(msgspec.Struct, frozen=True, tag="clear_tag"):
    tag_id: str


class Why(msgspec.Struct, frozen=True, tag="why"):
    """Why a house was moved or not: answers WhyResult."""

    house: Ident


class History(msgspec.Struct, frozen=True, tag="history"):
    """A page of history: answers HistoryPage. `kind` "feeder" pages the one-minute roll-ups."""

    kind: Literal["switches", "alarms", "feeder", "audit"]
    since: float
    until: float
    limit: int = 200


class Compare(msgspec.Struct, frozen=True, tag="compare"):
    """Before and after over a period: answers pi_service.compare.Comparison."""

    since: float
    until: float


Action = (SetMode | Preview | Operate | Accept | Undo | AckAlarm | PlaceTag | ClearTag | Why | History | Compare)


class Request(msgspec.Struct, frozen=True):
    """The signed content of a request. `expires` at most 60 s after `issued` (Clock.wall); `id` never repeats."""

    id: str
    operator: Ident
    feeder: str
    issued: float
    expires: float
    action: Action


class PreviewResult(msgspec.Struct, frozen=True):
    preview_id: str
    house: str
    from_phase: Phase
    to_phase: Phase
    effect: EffectView | None
    interlocks: tuple[InterlockView, ...]
    expires_in_s: float


class WhyResult(msgspec.Struct, frozen=True):
    """`lines` are sentences, newest decision first: taken, vetoed (by what), or not worth it (by how much)."""

    house: str
    lines: tuple[str, ...]


class HistoryPage(msgspec.Struct, frozen=True):
    """`rows` are SwitchView, AlarmView, FeederMinute or audit rows by the kind that was asked for."""

    kind: str
    rows: tuple[dict[str, object], ...]
    more: bool


class FeederMinute(msgspec.Struct, frozen=True):
    """One minute of the feeder: means, and None where nothing was measured."""

    at: float
    current_a: tuple[float | None, float | None, float | None]
    voltage_v: tuple[float | None, float | None, float | None]
    power_kw: float | None
    neutral_a: float | None
    vuf_percent: float | None


class Reply(msgspec.Struct, frozen=True):
    """The answer to a request. `ok` false: nothing was done, `reason` says why and what to do."""

    request_id: str
    ok: bool
    reason: str = ""
    switch_id: str = ""
    body: msgspec.Raw = msgspec.Raw(b"null")


# ---------------------------------------------------------------- decode and encode

T = TypeVar("T", bound=msgspec.Struct)
_encoder = msgspec.json.Encoder()
_reading = msgspec.json.Decoder(Reading)
_meter = msgspec.json.Decoder(MeterReading)


def encode(message: msgspec.Struct) -> bytes:
    """JSON of any message of this file."""
    return _encoder.encode(message)


def decode(payload: bytes, kind: type[T]) -> T:
    """Read a message. Raises MessageRefused("malformed" or "out-of-range", ...)."""
    return _taken(msgspec.json.Decoder(kind), payload)


def decode_reading(payload: bytes, house: str) -> Reading:
    """Read a house's telemetry that came on `house`'s topic.

    Raises MessageRefused: "malformed" (not JSON, truncated, a boolean, NaN, a missing key), "out-of-range"
    (a value that physics does not allow), "wrong-house" (the id inside is not the topic's).
    """
    reading = _taken(_reading, payload)
    if reading.house_id != house:
        raise MessageRefused("wrong-house", f"house_id {reading.house_id!r} came on the topic of {house!r}")
    return reading


def decode_meter(payload: bytes) -> MeterReading:
    """Read the meter's telemetry. Raises MessageRefused as `decode_reading`."""
    return _taken(_meter, payload)


def _taken(decoder: msgspec.json.Decoder[T], payload: bytes) -> T:
    try:
        message = decoder.decode(payload)
    except msgspec.ValidationError as error:
        reason = "out-of-range" if "Expected `float`" in str(error) and "`float` " in str(error) else "malformed"
        raise MessageRefused(reason, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageRefused("malformed", str(error)) from error
    for field in message.__struct_fields__:
        value = getattr(message, field)
        if isinstance(value, float) and not math.isfinite(value):
            raise MessageRefused("out-of-range", f"{field} is not finite")
    return message
