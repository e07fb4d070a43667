"""The MQTT connection of the daemon: it comes back by itself, says birth and death, hands on what arrives.

Not here: what a message means (`ingest`, `requests`) and what is sent when (`station`, `service`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import aiomqtt

from balancer.errors import SmartPhaseError
from pi_service.config import BrokerSettings
from pi_service.outbox import Publish

log = logging.getLogger(__name__)

KEEPALIVE_S = 10
TIMEOUT_S = 10.0
FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 15.0
INCOMING_LIMIT = 100_000
"""Messages that aiomqtt may hold while the loop is busy; the station's own queue behind it sheds with a count."""


class LinkDown(SmartPhaseError):
    """The message was not sent: there is no connection to the broker, or it broke before the acknowledgement."""


class MqttLink:
    """One connection, kept alive for as long as `run` runs.

    `will` is published by the broker when this machine dies, and by `run` itself when it is cancelled; `birth` at
    every connect, after the subscriptions stand. The three callbacks run in the event loop and must not block.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        *,
        client_id: str,
        subscriptions: Sequence[tuple[str, int]],
        will: Publish,
        birth: Publish,
        on_message: Callable[[str, bytes, bool], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._subscriptions = list(subscriptions)
        self._will = will
        self._birth = birth
        self._on_message = on_message
        self._on_up = on_up
        self._on_down = on_down
        self._jitter = jitter
        self._client: aiomqtt.Client | None = None
        self.up = asyncio.Event()
        self.connects = 0

    async def run(self) -> None:
        """Connect, listen, reconnect; ends only by cancellation. No error of the broker or the net leaves it."""
        failures = 0
        while True:
            try:
                before = self.connects
                await self._one_connection()
            except (aiomqtt.MqttError, OSError) as error:
                failures = 0 if self.connects > before else failures + 1
                delay = retry_delay_s(failures, self._jitter())
                log.warning("broker %s:%d: %s; again in %.1f s",
                            self._broker.host, self._broker.port, error, delay)
                await asyncio.sleep(delay)

    async def publish(self, message: Publish) -> None:
        """Send; with QoS 1, until acknowledged. Raises LinkDown."""
        client = self._client
        if client is None:
            raise LinkDown(f"no connection to {self._broker.host}:{self._broker.port}; {message.topic} not sent")
        try:
            await client.publish(message.topic, message.payload, qos=message.qos, retain=message.retain)
        except (aiomqtt.MqttError, ValueError) as error:
            raise LinkDown(f"{message.topic} not sent: {error}") from error

    async def _one_connection(self) -> None:
        async with self._new_client() as client:
            await client.subscribe(self._subscriptions)
            await client.publish(self._birth.topic, self._birth.payload, self._birth.qos, self._birth.retain)
            self._client = client
            self.connects += 1
            self.up.set()
            self._on_up()
            try:
                async for message in client.messages:
                    self._on_message(message.topic.value, _bytes(message.payload), message.retain)
            except asyncio.CancelledError:
                await self._say_farewell(client)
                raise
            finally:
                self._client = None
                self.up.clear()
                self._on_down()

    async def _say_farewell(self, client: aiomqtt.Client) -> None:
        """A clean disconnect suppresses the will: say the same in person."""
        will = self._will
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            await asyncio.wait_for(client.publish(will.topic, will.payload, will.qos, will.retain), timeout=2)

    def _new_client(self) -> aiomqtt.Client:
        broker, will = self._broker, self._will
        return aiomqtt.Client(
            broker.host,
            broker.port,
            identifier=self._client_id,
            username=broker.username or None,
            password=_secret(broker.password_file),
            will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
            keepalive=KEEPALIVE_S,
            timeout=TIMEOUT_S,
            max_queued_incoming_messages=INCOMING_LIMIT,
            max_inflight_messages=200,
            tls_params=_tls(broker),
            # Without it a second small message waits 40 ms for the first one's acknowledgement.
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )


def retry_delay_s(failures: int, jitter: float) -> float:
    """How long to wait after `failures` failed connects in a row; `jitter` in 0..1 spreads a street's return."""
    ceiling = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures, 10))
    return ceiling * (0.5 + 0.5 * jitter)


def _tls(broker: BrokerSettings) -> aiomqtt.TLSParameters | None:
    if not broker.tls:
        return None
    return aiomqtt.TLSParameters(
        ca_certs=broker.ca, certfile=broker.certificate or None, keyfile=broker.key or None)


def _secret(file: str) -> str | None:
    return Path(file).read_text(encoding="utf-8").strip() if file else None


def _bytes(payload: object) -> bytes:
    if isinstance(payload, bytes | bytearray):
        return bytes(payload)
    return b"" if payload is None else str(payload).encode()
