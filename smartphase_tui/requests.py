"""Asking the Pi: signed requests out, each waiting for its own reply, refused here where it is hopeless."""

from __future__ import annotations

import asyncio
import secrets
from typing import TypeVar

import msgspec

from balancer.errors import SmartPhaseError
from pi_service.contract import Action, Reply, Request, encode
from smartphase_tui.operator import Operator
from smartphase_tui.sources.source import Source, SourceDown
from smartphase_tui.store import Store

REPLY_WITHIN_S = 10.0
VALID_S = 30.0
T = TypeVar("T")


class Refused(SmartPhaseError):
    """What was asked for was not done; the message says why and what to do."""


class Requests:
    """The requests of one operator."""

    def __init__(self, store: Store, source: Source, operator: Operator) -> None:
        self._store = store
        self._source = source
        self._operator = operator
        self._session = secrets.token_hex(5)
        self._count = 0
        self._waiting: dict[str, asyncio.Future[Reply]] = {}

    def take_reply(self, reply: Reply) -> None:
        """A reply came; one that nobody waits for is another session's of the same operator."""
        waiting = self._waiting.pop(reply.request_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    async def ask(self, action: Action, within_s: float = REPLY_WITHIN_S) -> Reply:
        """Send `action` and return the Pi's reply.

        Raises Refused: no key, nothing live on the screen, no answer in time, or the Pi's own refusal.
        """
        sign = self._operator.sign
        if sign is None:
            raise Refused("this session is view-only; start it with --operator NAME and its key")
        freshness, snapshot = self._store.freshness(), self._store.snapshot
        if not freshness.live or snapshot is None:
            raise Refused(f"{freshness.why}; nothing was sent")
        self._count += 1
        now = self._store.clock.wall()
        request = Request(
            id=f"{self._operator.name}-{self._session}-{self._count}", operator=self._operator.name,
            feeder=snapshot.feeder, issued=now, expires=now + VALID_S, action=action,
        )
        signed = await asyncio.to_thread(sign, encode(request))
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = waiting
        try:
            await self._source.send(signed, snapshot.feeder, self._operator.name)
            reply: Reply = await asyncio.wait_for(waiting, within_s)
        except SourceDown as error:
            raise Refused(f"{error}; nothing was sent") from error
        except TimeoutError as error:
            raise Refused(
                f"no answer from the Pi within {within_s:.0f} s; look at the log before you ask again"
            ) from error
        finally:
            self._waiting.pop(request.id, None)
        if not reply.ok:
            raise Refused(reply.reason or "the Pi refused and gave no reason")
        return reply


def body(reply: Reply, kind: type[T]) -> T:
    """What a reply carries. Raises Refused where it is not that."""
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except msgspec.DecodeError as error:
        raise Refused(f"the Pi's answer cannot be read ({error}): are the versions the same?") from error
