"""What the daemon's tests share: the small feeder, a clock that stands still, keys, and sealing as a node does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from joserfc import jwe
from joserfc.jwk import OctKey

from balancer.feeder import Feeder
from balancer.feeder_folder import read_feeder
from pi_service.clock import ManualClock
from pi_service.contract import MeterReading, Reading, encode
from pi_service.seal import METER, NodeKeys, Sealer

NOON = 1_750_055_400.0      # 2025-06-16 12:00 in India
REPO = Path(__file__).resolve().parents[2]


class Field:
    """What the nodes of the small feeder send: readings, sealed or plain, with seq counting up."""

    def __init__(self, feeder: Feeder, clock: ManualClock) -> None:
        self.feeder, self.clock = feeder, clock
        self.keys = {name: self.keys_of(name) for name in (*feeder.house_ids, METER)}
        self._seq: dict[str, int] = {}

    @staticmethod
    def keys_of(house: str, epoch: int = 1) -> NodeKeys:
        """Keys that are the same in every run."""
        return NodeKeys(house, epoch, hashlib.sha256(f"{house}{epoch}d".encode()).digest(),
                        hashlib.sha256(f"{house}{epoch}u".encode()).digest())

    def reading(self, house: str, **values: object) -> Reading:
        """A reading of `house` on R, 230 V, 4 A, no sun, dated now; `values` win."""
        self._seq[house] = self._seq.get(house, 0) + 1
        usual = {"house_id": house, "phase": "R", "voltage": 230.0, "current": 4.0, "solar_injection": 0.0,
                 "seq": self._seq[house], "boot": 1, "ts": self.clock.now()}
        return msgspec.convert({**usual, **values}, Reading)

    def meter(self, **values: object) -> MeterReading:
        """A reading of the meter: 240 V, 10 A a phase, 2 A in the neutral, dated now; `values` win."""
        self._seq[METER] = self._seq.get(METER, 0) + 1
        usual = {"voltage": (240.0,) * 3, "line_voltage": (415.7,) * 3, "current": (10.0,) * 3, "power": (2.4,) * 3,
                 "reactive_power": (0.1,) * 3, "neutral_current": 2.0, "seq": self._seq[METER], "boot": 1,
                 "ts": self.clock.now()}
        return msgspec.convert({**usual, **values}, MeterReading)

    def seal(self, house: str, message: msgspec.Struct | bytes, typ: str = "tel", kid: str | None = None,
             key: bytes | None = None, **header: str) -> bytes:
        """Seal as the node of `house` does; the keyword arguments forge one part or another."""
        protected = {"alg": "dir", "enc": "A128CBC-HS256", "kid": kid or f"{house}.1.u", "typ": typ, **header}
        plain = message if isinstance(message, bytes) else encode(message)
        registry = jwe.JWERegistry(algorithms=["dir", "A128CBC-HS256", "A128GCM"], strict_check_header=False)
        return jwe.encrypt_compact(protected, plain, OctKey.import_key(key or self.keys[house].telemetry),
                                   registry=registry).encode()


@pytest.fixture
def feeder(small_feeder_dir: Path) -> Feeder:
    return read_feeder(small_feeder_dir)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def field(feeder: Feeder, clock: ManualClock) -> Field:
    return Field(feeder, clock)


@pytest.fixture
def sealer(field: Field) -> Sealer:
    return Sealer(field.keys.values())


@pytest.fixture
def alarm_file() -> Path:
    """The alarm definitions that ship."""
    return REPO / "data" / "alarms" / "default.toml"
