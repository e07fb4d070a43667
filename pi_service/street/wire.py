"""One MQTT connection of something in the street: a house's node, the meter, or a lockstep station.

paho on the event loop without a thread: a publication is on the socket when `publish` returns, which lets sixty
connections live in one process and a lockstep day know what is under way. Not here: the daemon's own link.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from balancer.errors import SmartPhaseError
from pi_service.link import retry_delay_s
from pi_service.outbox import Publish

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

CONNECT_TIMEOUT_S = 15.0
KEEPALIVE_S = 30
OnMessage = Callable[[str, bytes, bool], None]
"""Topic, payload, retained."""


class WireError(SmartPhaseError):
    """The connection could not be made; names the broker."""


@dataclass(frozen=True, slots=True)
class WireSettings:
    """Who connects, what the broker says when it dies, what it says at connect, and what it listens to."""

    client_id: str
    will: Publish
    birth: Callable[[], Publish]
    subscriptions: Sequence[tuple[str, int]] = field(default=())


class Wire:
    """A connection. QoS 1 publications wait while there is none and go out at the next one."""

    def __init__(self, settings: WireSettings, on_message: OnMessage) -> None:
        self._settings = settings
        self._on_message = on_message
        self._client: paho.Client | None = None
        self._ready: asyncio.Future[None] | None = None
        self._waiting: list[Publish] = []
        self._writing = False
        self.lost = asyncio.Event()
        """Set while there is no connection."""
        self.lost.set()
        self.wanted = asyncio.Event()
        """Cleared: `keep` does not connect (the node is dead)."""
        self.wanted.set()

    @property
    def up(self) -> bool:
        return not self.lost.is_set()

    @property
    def waiting(self) -> tuple[str, ...]:
        """Topics of what goes out at the next connection, after the birth."""
        return tuple(message.topic for message in self._waiting)

    async def connect(self, host: str, port: int) -> None:
        """Connect, subscribe, say the birth, then what waited. Raises WireError."""
        loop = asyncio.get_running_loop()
        client, ready = self._new_client(loop), loop.create_future()
        self._client, self._ready = client, ready
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.run_in_executor(None, client.connect, host, port, KEEPALIVE_S)
                self._flush(client)
                await ready
        except (OSError, TimeoutError, WireError) as error:
            _break(client)
            self._client = None
            raise WireError(f"broker {host}:{port}: {self._settings.client_id} cannot connect: "
                            f"{error or 'no answer'}") from error
        finally:
            self._ready = None
        self.lost.clear()
        self.publish(self._settings.birth())
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self.publish(message)

    def publish(self, message: Publish) -> bool:
        """Put a message on the socket; without a connection QoS 1 waits and QoS 0 is lost. True when sent."""
        client = self._client
        if client is None or not self.up:
            if message.qos:
                self._waiting.append(message)
            return False
        client.publish(message.topic, message.payload, message.qos, message.retain)
        self._flush(client)
        return True

    def cut(self) -> None:
        """Break the connection without a word, as a dead node does: the broker publishes the will."""
        client = self._client
        if client is not None:
            _break(client)
        self._down(client)

    async def close(self) -> None:
        """Say the will in person and disconnect."""
        client = self._client
        if client is not None and self.up:
            self.publish(self._settings.will)
            client.disconnect()
            self._flush(client)
        self._down(client)

    async def keep(self, host: str, port: int) -> None:
        """Connect and, whenever the connection is lost, connect again with growing pauses; until cancelled."""
        failures = 0
        while True:
            await self.lost.wait()
            await self.wanted.wait()
            try:
                await self.connect(host, port)
                failures = 0
            except WireError:
                failures += 1
                await asyncio.sleep(retry_delay_s(failures, random.random()))

    def beat(self) -> None:
        """Keep the connection alive; call every few seconds."""
        if self._client is not None and self.up:
            self._client.loop_misc()

    # ---------------------------------------------------------------- paho's side

    def _new_client(self, loop: asyncio.AbstractEventLoop) -> paho.Client:
        settings = self._settings
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=settings.client_id, clean_session=True)
        client.max_inflight_messages_set(1000)
        client.will_set(settings.will.topic, settings.will.payload, settings.will.qos, settings.will.retain)
        client.on_connect = self._connected
        client.on_subscribe = lambda *_: self._is_ready()
        client.on_disconnect = lambda broken, *_: self._down(broken)
        client.on_message = self._message

        def listen(client: paho.Client, _: object, sock: SocketLike) -> None:
            if isinstance(sock, socket.socket):     # else a second small message waits 40 ms for the first one's ACK
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            loop.call_soon_threadsafe(loop.add_reader, sock.fileno(), self._readable, client)

        def forget(_: paho.Client, __: object, sock: SocketLike) -> None:
            loop.remove_reader(sock.fileno())
            loop.remove_writer(sock.fileno())
            self._writing = False

        client.on_socket_open = listen
        client.on_socket_close = forget
        return client

    def _connected(self, client: paho.Client, _: object, __: object, reason: ReasonCode, ___: object) -> None:
        if reason.is_failure:
            if self._ready is not None and not self._ready.done():
                self._ready.set_exception(WireError(str(reason)))
        elif self._settings.subscriptions:
            client.subscribe(list(self._settings.subscriptions))
        else:
            self._is_ready()

    def _is_ready(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def _message(self, _: paho.Client, __: object, message: paho.MQTTMessage) -> None:
        self._on_message(message.topic, bytes(message.payload), message.retain)

    def _readable(self, client: paho.Client) -> None:
        client.loop_read()
        self._flush(client)

    def _flush(self, client: paho.Client) -> None:
        """Write what paho holds back; where the socket is full, go on when it takes more."""
        if client.want_write():
            client.loop_write()
        sock = client.socket()
        if sock is None:
            return
        loop = asyncio.get_running_loop()
        if client.want_write() and not self._writing:
            self._writing = True
            loop.add_writer(sock.fileno(), self._flush, client)
        elif self._writing and not client.want_write():
            self._writing = False
            loop.remove_writer(sock.fileno())

    def _down(self, client: paho.Client | None) -> None:
        """The connection is gone; word of an earlier one that comes late changes nothing."""
        if client is not self._client:
            return
        self._client = None
        self.lost.set()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(WireError("the connection broke"))


def _break(client: paho.Client) -> None:
    sock = client.socket()
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        client.loop_read()
