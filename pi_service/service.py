"""`smartphased`: the asyncio shell around one station. Sockets, signals, the watchdog; no decision.

The watchdog of systemd is fed only while ingest, writer and controller have all moved: a controller that hangs, or
a disk that takes nothing, ends in a restart and not in a daemon that only looks alive.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from balancer.errors import SmartPhaseError
from pi_service.clock import Clock
from pi_service.config import Config, load_config
from pi_service.link import LinkDown, MqttLink
from pi_service.notify import notify, watchdog_interval_s
from pi_service.outbox import Publish
from pi_service.site import load_site
from pi_service.station import Station

log = logging.getLogger("smartphased")

TICK_S = 0.2
SNAPSHOT_S = 1.0
FAREWELL_S = 2.5
STALLED_S = 10.0
"""Ingest, writer or controller that did not move for so long stop the watchdog's food."""


class Service:
    """Runs a station on a broker until it is stopped."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.station = Station(config.station, load_site(config), clock, Path(config.site.data))
        self._clock = clock
        self._arrived = asyncio.Event()
        self.link = MqttLink(
            config.broker, client_id=f"smartphased-{self.station.feeder_id}",
            subscriptions=(*self.station.subscriptions, *self.station.watched), will=self.station.will,
            birth=self.station.birth,
            on_message=self._on_message, on_up=self._on_up, on_down=self._on_down)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then the farewell is said and the databases are closed."""
        tasks = [asyncio.create_task(work) for work in (
            self.link.run(), self._work(), self._tell_screens(), self._feed_watchdog())]
        stopping = asyncio.create_task(stop.wait())
        notify("READY=1")
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()               # a task that ends by itself has failed: say why
        finally:
            notify("STOPPING=1")
            stopping.cancel()
            await _end(tasks)
            self.station.close()

    # ------------------------------------------------------------ the loops

    async def _work(self) -> None:
        """Take what arrived as it comes, and tell the station five times a second that time passes."""
        while True:
            # Not wait_for: before Python 3.12 it swallows a cancellation that meets an arrival, and nothing would stop.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._arrived.wait()
            self._arrived.clear()
            self.station.process()
            self.station.tick()
            await self._send()
            await asyncio.sleep(0.02)       # arrivals of the next moment are taken together

    async def _tell_screens(self) -> None:
        while True:
            await asyncio.sleep(SNAPSHOT_S)
            if self.link.up.is_set():
                await self._publish(self.station.snapshot_message())

    async def _feed_watchdog(self) -> None:
        every = watchdog_interval_s()
        while True:
            await asyncio.sleep(every or 3600.0)
            stalled = [name for name, at in self.station.progress.items() if self._clock.monotonic() - at > STALLED_S]
            if stalled:
                log.error("%s did not move for %.0f s: the watchdog is not fed", ", ".join(stalled), STALLED_S)
            else:
                notify("WATCHDOG=1")

    async def _send(self) -> None:
        """Send what the station has to say. What cannot be sent now waits; a command does not: it is asked about."""
        outgoing = self.station.outgoing
        while outgoing and self.link.up.is_set():
            message = outgoing.popleft()
            if not await self._publish(message) and not message.is_command:
                outgoing.appendleft(message)
                break
        if not self.link.up.is_set():
            kept = [message for message in outgoing if not message.is_command][-1000:]
            outgoing.clear()
            outgoing.extend(kept)

    async def _publish(self, message: Publish) -> bool:
        """Whether it was sent."""
        try:
            await self.link.publish(message)
        except LinkDown as error:
            log.warning("%s", error)
            return False
        return True

    # ------------------------------------------------------------ the link's callbacks

    def _on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        self.station.handle(topic, payload, retained)
        self._arrived.set()

    def _on_up(self) -> None:
        log.info("connected to the broker")
        self.station.link_up()

    def _on_down(self) -> None:
        log.warning("the broker is gone; every house stays where it is")
        self.station.link_down()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended.

    Once is not enough before Python 3.12: a `wait_for`, and a publication has one inside, swallows a cancellation
    that meets its result. The time between leaves room for the farewell.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=FAREWELL_S)


async def serve(config: Config) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await Service(config, config.make_clock()).run(stop)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `smartphased`. Returns 0 after a clean stop, 1 on a fault, 2 on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="smartphased", description="Balances the phases of one low-voltage feeder.",
        epilog="example: smartphased --config /etc/smartphase/smartphased.toml")
    parser.add_argument("--config", type=Path, required=True, help="the site's smartphased.toml")
    parser.add_argument("--verbose", action="store_true", help="log more")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, stream=sys.stderr,
                        format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(load_config(options.config)))
    except SmartPhaseError as error:
        print(f"smartphased: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
