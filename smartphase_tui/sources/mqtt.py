"""The live source: one MQTT connection that only writes the store, and comes back after every loss.

It decodes, it never draws. Without a feeder's name it waits for the first feeder that publishes a snapshot.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
from collections.abc import Callable

import aiomqtt
import msgspec

from pi_service.contract import (
    PREFIX,
    Event,
    MessageRefused,
    NodeStatus,
    Reply,
    Snapshot,
    feeder_topic,
    operator_topic,
    parse_topic,
)
from smartphase_tui.settings import ConnectionSettings
from smartphase_tui.sources.source import SourceDown
from smartphase_tui.store import Store

KEEPALIVE_S = 10
RETRY_S = (0.5, 1.0, 2.0, 4.0, 8.0)


class MqttSource:
    """Snapshots, events, the Pi's status and this operator's replies of one feeder."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._feeder = settings.feeder
        self._client: aiomqtt.Client | None = None
        self._snapshot = msgspec.json.Decoder(Snapshot)
        self._event = msgspec.json.Decoder(Event)
        self._status = msgspec.json.Decoder(NodeStatus)
        self._reply = msgspec.json.Decoder(Reply)

    async def run(self, store: Store, on_reply: Callable[[Reply], None]) -> None:
        """Connect, fill, and on a loss try again after half a second to eight, with jitter."""
        attempt = 0
        while True:
            try:
                async with self._connect() as client:
                    await self._subscribe(client)
                    self._client, attempt = client, 0
                    store.take_link(True, "")
                    async for message in client.messages:
                        self._take(message, store, on_reply)
            except (aiomqtt.MqttError, OSError) as error:
                where = f"{self._settings.host}:{self._settings.port}"
                store.take_link(False, f"{where}: {error or type(error).__name__}")
            finally:
                self._client = None
            wait = RETRY_S[min(attempt, len(RETRY_S) - 1)]
            attempt += 1
            await asyncio.sleep(wait * random.uniform(0.7, 1.3))

    async def send(self, request: bytes, feeder: str, operator: str) -> None:
        """Publish a signed request, QoS 1. Raises SourceDown without a connection."""
        if self._client is None:
            raise SourceDown("there is no link to the broker")
        try:
            await self._client.publish(operator_topic(feeder, "request", operator), request, qos=1)
        except aiomqtt.MqttError as error:
            raise SourceDown(f"the broker did not take it: {error}") from error

    def _connect(self) -> aiomqtt.Client:
        settings = self._settings
        context = None if settings.tls_ca is None else ssl.create_default_context(cafile=str(settings.tls_ca))
        return aiomqtt.Client(
            settings.host,
            settings.port,
            identifier=f"screen-{settings.operator or 'view'}-{secrets.token_hex(4)}",
            username=settings.username or None,
            password=settings.password or None,
            tls_context=context,
            keepalive=KEEPALIVE_S,
            timeout=5,
        )

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        feeder = self._feeder or "+"
        topics = [(feeder_topic(feeder, "state"), 0), (feeder_topic(feeder, "event"), 1),
                  (feeder_topic(feeder, "status"), 1)]
        if self._settings.operator:
            topics.append((operator_topic(feeder, "reply", self._settings.operator), 1))
        for topic, qos in topics:
            await client.subscribe(topic, qos)

    def _take(self, message: aiomqtt.Message, store: Store, on_reply: Callable[[Reply], None]) -> None:
        payload = message.payload
        if not isinstance(payload, bytes):
            return
        try:
            topic = parse_topic(str(message.topic))
            if self._feeder and topic.feeder != self._feeder:
                return
            match topic.kind:
                case "state":
                    snapshot = self._snapshot.decode(payload)
                    self._feeder = self._feeder or snapshot.feeder
                    store.take_snapshot(snapshot, message.retain)
                case "event":
                    store.take_event(self._event.decode(payload))
                case "status":
                    store.take_status(self._status.decode(payload))
                case "reply":
                    on_reply(self._reply.decode(payload))
        except (MessageRefused, msgspec.DecodeError) as error:
            store.take_refused(f"{str(message.topic).removeprefix(PREFIX)}: {error}")
