"""The three-phase meter at the transformer, with its neutral CT and its own MQTT connection. Sealed as "meter"."""

from __future__ import annotations

from firmware.core.jwe import header, seal
from firmware.hal.crypto import Crypto
from pi_service.clock import Clock
from pi_service.contract import NodeStatus, encode, meter_topic
from pi_service.outbox import Publish
from pi_service.seal import METER, NodeKeys
from pi_service.street.plant import Truth
from pi_service.street.sensors import Sensors
from pi_service.street.wire import Wire, WireSettings

FIRMWARE = "sim-meter-1"
_BOOT = 1


class VirtualMeter:
    """The meter and its reader. While `silent` nothing is published, though the connection stands."""

    def __init__(self, feeder_id: str, keys: NodeKeys, clock: Clock, sensors: Sensors) -> None:
        self.silent = False
        self._clock, self._sensors, self._key = clock, sensors, keys.telemetry
        self._crypto = Crypto()
        self._header = header(f"{METER}.{keys.epoch}.u", "tel")
        self._seq = 0
        self._topic = meter_topic(feeder_id, "telemetry")
        self.status_topic = meter_topic(feeder_id, "status")
        birth = Publish(self.status_topic, encode(NodeStatus(online=True, boot=_BOOT, fw=FIRMWARE)), 1, True)
        death = Publish(self.status_topic, encode(NodeStatus(online=False, boot=_BOOT, fw=FIRMWARE)), 1, True)
        self.wire = Wire(WireSettings(f"{feeder_id}-{METER}", death, lambda: birth), lambda *_: None)

    def report(self, truth: Truth) -> str:
        """Publish a sealed reading. Returns its topic, "" where it was not sent."""
        if self.silent:
            return ""
        self._seq += 1
        reading = encode(self._sensors.meter(truth, self._seq, _BOOT, self._clock.now()))
        sent = self.wire.publish(Publish(self._topic, seal(self._crypto, self._key, self._header, reading)))
        return self._topic if sent else ""
