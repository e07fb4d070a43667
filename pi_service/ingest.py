"""What comes in: a bounded queue, then decoding and checking, message by message, all of it counted.

Not here: whether a value is newer than the last one and what is believed now (`feeder_state`), who may ask for
what (`requests`). A refused message changes nothing; it is counted under `refused-<reason>` and the last ones
are kept to be shown.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from balancer.feeder import Feeder
from pi_service import contract
from pi_service.clock import Clock
from pi_service.contract import Ack, MessageRefused, MeterReading, NodeStatus, Reading, Topic
from pi_service.seal import MAX_SEALED_BYTES, MAX_SIGNED_BYTES, METER, Sealer, is_sealed

LAST_REFUSALS = 50


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """Bounds. Telemetry waits up to `queue`, then the oldest is shed. Acks, status and requests never are, but
    one sender may not have more than `waiting_per_sender` of them waiting (a flood, not traffic).

    `telemetry_per_s` and `telemetry_burst` limit one house (token bucket, `Clock.monotonic`).
    """

    queue: int = 10_000
    waiting_per_sender: int = 200
    telemetry_per_s: float = 20.0
    telemetry_burst: float = 200.0


@dataclass(frozen=True, slots=True)
class HouseSample:
    """A reading of a house that came intact. `sealed`: its seal was proven. `at`, `monotonic`: its arrival."""

    house: str
    reading: Reading
    sealed: bool
    at: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class MeterSample:
    """A reading of the transformer's meter that came intact."""

    reading: MeterReading
    sealed: bool
    at: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Birth or death of a node; `house` is `seal.METER` for the meter. A status is never sealed: a hint."""

    house: str
    status: NodeStatus
    at: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class AckReport:
    """A node's sealed word on a command."""

    house: str
    ack: Ack
    at: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """An operator's request as it came: its signature is checked by `requests`. `operator` is the topic's."""

    operator: str
    payload: bytes
    at: float
    monotonic: float


Arrival = HouseSample | MeterSample | StatusReport | AckReport | SignedRequest


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that was not taken: where it came from and why."""

    at: float
    source: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    order: int
    topic: Topic
    sender: str
    payload: bytes
    at: float
    monotonic: float


class _Bucket:
    """Tokens of one sender: `rate` a second, at most `burst` saved up."""

    __slots__ = ("_since", "_tokens")

    def __init__(self, burst: float, now: float) -> None:
        self._tokens, self._since = burst, now

    def take(self, rate: float, burst: float, now: float) -> bool:
        self._tokens = min(burst, self._tokens + (now - self._since) * rate)
        self._since = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Ingest:
    """The queue between the link and the state, and the checks behind it.

    `put` is what the link calls, cheap and never failing; `take` yields what stood the checks, in the order of
    arrival. `counters`: received, plain, sealed, shed, refused-<reason>.
    """

    def __init__(self, feeder: Feeder, sealer: Sealer, clock: Clock,
                 settings: IngestSettings = IngestSettings()) -> None:
        self.counters: Counter[str] = Counter()
        self.refusals: deque[Refusal] = deque(maxlen=LAST_REFUSALS)
        self.taken = 0
        """How many messages left the queue, taken or refused: the watchdog's sign of progress."""
        self._feeder_id = feeder.feeder_id
        self._houses = frozenset(feeder.house_ids)
        self._sealer, self._clock, self._settings = sealer, clock, settings
        self._telemetry: deque[_Waiting] = deque()
        self._urgent: deque[_Waiting] = deque()
        self._urgent_of: Counter[str] = Counter()
        self._buckets: dict[str, _Bucket] = {}
        self._topics: dict[str, tuple[Topic, str]] = {}
        self._order = 0

    def __len__(self) -> int:
        return len(self._telemetry) + len(self._urgent)

    def put(self, topic: str, payload: bytes, retained: bool = False) -> None:
        """Queue a message as it came. What cannot be taken is counted; nothing is raised."""
        self.counters["received"] += 1
        now, monotonic = self._clock.now(), self._clock.monotonic()
        try:
            parsed, sender = self._addressed(topic)
            if retained and parsed.leaf != "status":
                raise MessageRefused("retained", "a retained message has no age: only status may be retained")
            longest = MAX_SIGNED_BYTES if parsed.kind == "request" else MAX_SEALED_BYTES
            if len(payload) > longest:
                raise MessageRefused("too-long", f"{len(payload)} bytes, at most {longest}")
            self._order += 1
            waiting = _Waiting(self._order, parsed, sender, payload, now, monotonic)
            if parsed.leaf == "telemetry":
                self._put_telemetry(waiting)
            else:
                self._put_urgent(waiting)
        except MessageRefused as refusal:
            self.refuse(topic, refusal)

    def take(self, limit: int | None = None) -> Iterator[Arrival]:
        """Yield up to `limit` (all without) of the waiting messages that stand every check of the contract."""
        while self and (limit is None or limit > 0):
            waiting = self._next()
            limit = None if limit is None else limit - 1
            self.taken += 1
            try:
                arrival = self._checked(waiting)
            except MessageRefused as refusal:
                self.refuse(waiting.sender, refusal)
                continue
            yield arrival

    def refuse(self, source: str, refusal: MessageRefused) -> None:
        """Count a refusal (also one that a later check made) and keep it to be shown."""
        self.counters[f"refused-{refusal.reason}"] += 1
        self.refusals.append(Refusal(self._clock.now(), source, refusal.reason, str(refusal)))

    def _addressed(self, topic: str) -> tuple[Topic, str]:
        known = self._topics.get(topic)
        if known is not None:
            return known
        parsed = contract.parse_topic(topic)
        if parsed.feeder != self._feeder_id:
            raise MessageRefused("wrong-feeder", f"{parsed.feeder!r} is not this feeder, {self._feeder_id}")
        if parsed.kind not in ("house", "meter", "request") or parsed.leaf == "command":
            raise MessageRefused("topic", f"{topic!r} is not one that the Pi listens to")
        if parsed.kind == "house" and parsed.name not in self._houses:
            raise MessageRefused("unknown-house", f"{parsed.name!r} is not in this feeder's houses.csv")
        if parsed.kind == "request":
            return parsed, f"operator {parsed.name}"    # not remembered: anyone can make up names
        self._topics[topic] = parsed, METER if parsed.kind == "meter" else parsed.name
        return self._topics[topic]

    def _put_telemetry(self, waiting: _Waiting) -> None:
        settings, sender = self._settings, waiting.sender
        bucket = self._buckets.get(sender)
        if bucket is None:
            bucket = self._buckets[sender] = _Bucket(settings.telemetry_burst, waiting.monotonic)
        if not bucket.take(settings.telemetry_per_s, settings.telemetry_burst, waiting.monotonic):
            raise MessageRefused("flood", f"{sender} sends more than {settings.telemetry_per_s:g} readings a second")
        if len(self._telemetry) >= settings.queue:
            self._telemetry.popleft()
            self.counters["shed"] += 1
        self._telemetry.append(waiting)

    def _put_urgent(self, waiting: _Waiting) -> None:
        sender = "requests" if waiting.topic.kind == "request" else waiting.sender
        if self._urgent_of[sender] >= self._settings.waiting_per_sender:
            raise MessageRefused("flood", f"{self._urgent_of[sender]} messages of {sender} wait already")
        self._urgent_of[sender] += 1
        self._urgent.append(waiting)

    def _next(self) -> _Waiting:
        if not self._urgent or (self._telemetry and self._telemetry[0].order < self._urgent[0].order):
            return self._telemetry.popleft()
        waiting = self._urgent.popleft()
        self._urgent_of["requests" if waiting.topic.kind == "request" else waiting.sender] -= 1
        return waiting

    def _checked(self, waiting: _Waiting) -> Arrival:
        topic, house, payload = waiting.topic, waiting.sender, waiting.payload
        stamps = waiting.at, waiting.monotonic
        if topic.kind == "request":
            return SignedRequest(topic.name, payload, *stamps)
        if topic.leaf == "status":
            return StatusReport(house, contract.decode(payload, NodeStatus), *stamps)
        if topic.leaf == "ack":
            ack = contract.decode(self._sealer.open_uplink(house, payload, "ack"), Ack)
            if ack.house != house:
                raise MessageRefused("wrong-house", f"an ack of {ack.house!r} came on the topic of {house!r}")
            return AckReport(house, ack, *stamps)
        plain, sealed = self._opened(house, payload)
        if topic.kind == "meter":
            return MeterSample(contract.decode_meter(plain), sealed, *stamps)
        return HouseSample(house, contract.decode_reading(plain, house), sealed, *stamps)

    def _opened(self, house: str, payload: bytes) -> tuple[bytes, bool]:
        if is_sealed(payload):
            plain = self._sealer.open_uplink(house, payload, "tel")
            self.counters["sealed"] += 1
            return plain, True
        self.counters["plain"] += 1
        return payload, False
