"""One feeder's station: everything that the Pi knows and does, without a socket. The functional core.

The shell (`service`, or a lockstep day) hands it what arrived, tells it that time passed, and sends what it puts
into `outgoing`. The order inside a tick: what arrived is believed, switches under way are judged, alarms follow,
then the control cycle may begin something new.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from balancer.constraints import HardLimits
from balancer.planner import Planner, PlannerSettings
from pi_service.alarms import Alarms, Condition, load_definitions
from pi_service.clock import Clock, local_day_start
from pi_service.command_watch import CommandWatch, clearing
from pi_service.conditions import RateConditions, feeder_conditions, store_conditions
from pi_service.config import StationConfig
from pi_service.contract import (
    AlarmView,
    Event,
    MessageRefused,
    NodeStatus,
    Snapshot,
    SwitchView,
    TagKind,
    encode,
    feeder_topic,
    house_topic,
    meter_topic,
    operator_topic,
)
from pi_service.controller import Controller
from pi_service.feeder_state import FeederState, StateSettings
from pi_service.figures import Figures, figures
from pi_service.ingest import AckReport, Arrival, HouseSample, Ingest, IngestSettings, MeterSample, SignedRequest
from pi_service.modes import Modes
from pi_service.outbox import Publish
from pi_service.paths import data_dir
from pi_service.publisher import Control, Publisher
from pi_service.requests import Requests
from pi_service.seal import Sealer
from pi_service.site import Site
from pi_service.store.audit import AuditLog
from pi_service.store.database import StoreError
from pi_service.store.telemetry import TelemetrySettings, TelemetryStore
from pi_service.switching import Switching

_FORECAST_EVERY_S = 3600.0
_LOG_RETRY_S = 5.0


class Station:
    """See the module. Not safe for threads: one loop owns it."""

    def __init__(self, config: StationConfig, site: Site, clock: Clock, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        feeder, now = site.feeder, clock.now()
        control, telemetry = config.control, config.telemetry
        self._config, self._site, self._clock, self._data = config, site, clock, data
        self.outgoing: deque[Publish] = deque()
        self.audit = AuditLog(data / "audit.db", now)
        self.telemetry = TelemetryStore(data / "telemetry.db", feeder, now,
                                        TelemetrySettings(commit_s=telemetry.commit_s))
        sealer = Sealer(site.nodes)
        self.ingest = Ingest(feeder, sealer, clock, IngestSettings(queue=telemetry.queue))
        self.state = FeederState(feeder, clock, StateSettings(
            stale_after_s=telemetry.stale_after_s, accept_plain_telemetry=control.accept_plain_telemetry))
        self.planner = Planner(feeder, PlannerSettings(
            limits=HardLimits(max_switches_per_day=control.max_switches_per_day),
            pv_reconnect_s=control.pv_reconnect_s))
        self.switching = Switching(feeder, self.audit, self.state, sealer, clock, control, self._send_command,
                                   self._switch_changed)
        self.modes = Modes(self.audit, clock, control.mode, control.hold_release_s)
        self.controller = Controller(feeder, self.planner, self.state, self.audit, self.switching, self.modes, clock,
                                     control)
        self.alarms = Alarms(load_definitions(data_dir() / "alarms" / "default.toml"), feeder.limits, clock,
                             self.audit.standing_alarms(), int(self.audit.next_id("A")[1:]))
        self._requests = Requests(feeder, site.operators, self.audit, self.telemetry, self.controller,
                                  self.switching, self.modes, self.alarms, clock, control, self._compare,
                                  lambda words: self._tell(Event(clock.now(), "tag", words)),
                                  lambda words: self._tell(Event(clock.now(), "mode", words)))
        self._publisher = Publisher(feeder, clock, config.broker_name, config.speed)
        self._houses = {house.house_id: house for house in feeder.houses}
        self._rates = RateConditions()
        self._failed: dict[str, tuple[float, str]] = {}
        self._commands = CommandWatch()
        self._broker_up = False
        self._log_fault = ""
        self._log_tried = clock.monotonic()
        self._forecast_at = now
        self.progress = {"ingest": clock.monotonic(), "writer": clock.monotonic(), "controller": clock.monotonic()}
        self._recall()
        pending = [view.id for view in self.audit.pending()]
        self._attempt(lambda: self._note("started", pending=pending))

    # ------------------------------------------------------------ the link

    @property
    def feeder_id(self) -> str:
        return self._site.feeder.feeder_id

    @property
    def subscriptions(self) -> tuple[tuple[str, int], ...]:
        feeder = self.feeder_id
        return (
            (house_topic(feeder, "+", "telemetry"), 0), (house_topic(feeder, "+", "status"), 1),
            (house_topic(feeder, "+", "ack"), 1), (meter_topic(feeder, "telemetry"), 0),
            (meter_topic(feeder, "status"), 1), (operator_topic(feeder, "request", "+"), 1),
        )

    @property
    def watched(self) -> tuple[tuple[str, int], ...]:
        """What a daemon listens to besides: the nodes' commands, for such as are not its own."""
        return ((house_topic(self.feeder_id, "+", "command"), 1),)

    @property
    def birth(self) -> Publish:
        return self._status(True)

    @property
    def will(self) -> Publish:
        return self._status(False)

    def link_up(self) -> None:
        """The broker is there: whatever was under way when the daemon stopped is asked about now."""
        if not self._broker_up:
            self._broker_up = True
            self._attempt(self.switching.link_up if self.switching.in_flight else self.switching.reconcile)

    def link_down(self) -> None:
        self._broker_up = False

    def handle(self, topic: str, payload: bytes, retained: bool) -> None:
        """Queue what arrived; cheap, never raises."""
        if topic.endswith("/command"):
            self._see_command(topic, payload, retained)
        else:
            self.ingest.put(topic, payload, retained)

    # ------------------------------------------------------------ the work

    def process(self, limit: int | None = None) -> int:
        """Take what arrived, in order. Returns how many messages left the queue."""
        before = self.ingest.taken
        for arrival in self.ingest.take(limit):
            try:
                self._take(arrival)
            except MessageRefused as refusal:
                self.ingest.refuse(getattr(arrival, "house", "") or getattr(arrival, "operator", "meter"), refusal)
        self.progress["ingest"] = self._clock.monotonic()
        return self.ingest.taken - before

    def tick(self) -> None:
        """Time has passed: judge, alarm, decide. Call about five times a second."""
        now, shown = self._clock.now(), figures(self.state)
        self._try_log()
        if self._broker_up:
            self._attempt(self.switching.tick)
        self._attempt(lambda: self._guard(shown))
        self._watch(shown)
        if self._broker_up:
            self._attempt(lambda: self.controller.cycle(shown))
        self.progress["controller"] = self._clock.monotonic()
        self.telemetry.tick(now)
        if not self.telemetry.fault:
            self.progress["writer"] = self._clock.monotonic()
        if now - self._forecast_at >= _FORECAST_EVERY_S or now < self._forecast_at:
            self._remember(now)

    def snapshot(self) -> Snapshot:
        """What screens draw."""
        now = self._clock.now()
        counters = {**self.ingest.counters, "rows-written": self.telemetry.written, "rows-lost": self.telemetry.lost}
        return self._publisher.snapshot(
            self.state, figures(self.state), self._control(now), self.alarms.standing(),
            self.telemetry.neutral_history(now), counters)

    def snapshot_message(self) -> Publish:
        return Publish(feeder_topic(self.feeder_id, "state"), encode(self.snapshot()), retain=True)

    @property
    def in_flight(self) -> bool:
        return bool(self.switching.in_flight)

    def close(self) -> None:
        """Write what is not written yet."""
        now = self._clock.now()
        self._remember(now)
        self._attempt(lambda: self._note("stopped"))
        self.telemetry.close(now)
        self.audit.close()

    # ------------------------------------------------------------ the log that may refuse

    def _attempt(self, work: Callable[[], object]) -> None:
        """Do a part of the work. A log that cannot be written stops this part only, and holds the feeder."""
        try:
            work()
        except StoreError as error:
            self._log_fault = str(error)

    def _try_log(self) -> None:
        """Whether the log can be written again; asked every few seconds while it cannot."""
        now = self._clock.monotonic()
        if self._log_fault and now - self._log_tried >= _LOG_RETRY_S:
            self._log_tried, fault, self._log_fault = now, self._log_fault, ""
            self._attempt(lambda: self._note("audit log can be written again", fault=fault))

    def _note(self, what: str, **detail: object) -> None:
        self.audit.record_system(self._clock.now(), what, **detail)

    # ------------------------------------------------------------ what arrives

    def _take(self, arrival: Arrival) -> None:
        if isinstance(arrival, SignedRequest):
            self.outgoing.append(self._requests.answer(arrival))
            return
        self.state.take(arrival)
        if isinstance(arrival, HouseSample):
            held = self.state.latest(arrival.house)
            if held is not None:
                self.telemetry.add_reading(self._houses[arrival.house], held, self.state.phase(arrival.house))
        elif isinstance(arrival, MeterSample):
            meter = self.state.latest_meter()
            if meter is not None:
                self.telemetry.add_meter(meter)
        elif isinstance(arrival, AckReport):
            self._attempt(lambda: self.switching.acknowledged(arrival.ack))

    def _see_command(self, topic: str, payload: bytes, retained: bool) -> None:
        try:
            self._commands.check(topic, payload, retained)
        except MessageRefused as refusal:
            self.ingest.refuse(topic, refusal)
            if refusal.reason == "planted-command":
                self.outgoing.append(clearing(topic))

    def _send_command(self, message: Publish) -> None:
        self._commands.sent(message)
        self.outgoing.append(message)

    # ------------------------------------------------------------ parts of a tick

    def _guard(self, shown: Figures) -> None:
        tag = next((f"{tag.kind} by {tag.by}: {tag.reason}" for tag in self.audit.tags()
                    if not tag.house and tag.kind != "caution"), "")
        danger = self.controller.danger(shown, self._broker_up, tag, self._config.telemetry.meter)
        if self._log_fault:
            danger = f"nothing may move unlogged: {self._log_fault}"
        if self.modes.guard(danger):
            self._tell(Event(self._clock.now(), "mode", f"{self.modes.mode}: {self.modes.reason}"))

    def _watch(self, shown: Figures) -> None:
        """Alarms: logged, then told; told also where they cannot be logged."""
        conditions = feeder_conditions(self.state, shown, self._config.telemetry.meter)
        conditions += store_conditions(self.telemetry, self.audit)
        if self._log_fault:
            conditions.append(Condition("database", detail=self._log_fault))
        conditions += self._rates.conditions(self.ingest.counters, self._clock.monotonic())
        conditions += [Condition("quarantined", house=house, detail=f"since {switch_id}")
                       for house, switch_id in self.switching.quarantined.items()]
        day = local_day_start(self._clock.now())
        conditions += [Condition("command_failed", house=house, detail=words)
                       for house, (at, words) in sorted(self._failed.items()) if at >= day]
        if "open neutral" in self.modes.reason:
            conditions.append(Condition("open_neutral", detail=self.modes.reason))
        self.alarms.update(conditions)
        for alarm in self.alarms.transitions():
            self._attempt(partial(self.audit.record_alarm, self._clock.now(), alarm))
            self._tell(Event(self._clock.now(), "alarm", _alarm_words(alarm), alarm=alarm))

    def _switch_changed(self, view: SwitchView) -> None:
        if view.state in ("FAILED", "QUARANTINED"):
            self._failed[view.house] = (self._clock.now(), f"{view.id}: {view.reason}")
        elif view.state == "VERIFIED":
            self._failed.pop(view.house, None)
        words = f"{view.id} {view.house} {view.from_phase}>{view.to_phase} {view.state}"
        self._tell(Event(self._clock.now(), "switch", f"{words}: {view.reason}", switch=view))

    def _tell(self, event: Event) -> None:
        self.outgoing.append(Publish(feeder_topic(self.feeder_id, "event"), encode(event), qos=1))

    def _control(self, now: float) -> Control:
        tags: dict[str, tuple[TagKind, str]] = {
            house: ("control-inhibit", switch_id) for house, switch_id in self.switching.quarantined.items()}
        tags |= {tag.house: (tag.kind, tag.id) for tag in self.audit.tags()}
        in_flight = self.switching.in_flight
        return Control(
            mode=self.modes.mode, mode_by=self.modes.by, mode_reason=self.modes.reason,
            decision=self.controller.decision, switches=self.audit.switches(limit=50),
            in_flight=in_flight[0] if in_flight else None, proposal=self.controller.proposal_view(),
            switches_today=self.audit.switches_since(local_day_start(now)), notes=self.controller.notes(), tags=tags)

    def _status(self, online: bool) -> Publish:
        return Publish(feeder_topic(self.feeder_id, "status"), encode(NodeStatus(online)), qos=1,
                       retain=True)

    def _compare(self, since: float, until: float) -> msgspec.Struct:
        from pi_service.compare import compare  # only wanted where someone asks

        return compare(self._site.feeder, self.telemetry, self.audit, since, until)

    # ------------------------------------------------------------ the forecast's memory

    def _recall(self) -> None:
        path = self._data / "forecast.npz"
        if not path.exists():
            return
        try:
            with np.load(path) as kept:
                self.planner.forecast.restore(dict(kept))
        except (OSError, ValueError, KeyError) as error:
            fault = str(error)
            self._attempt(lambda: self._note("forecast not read, learning anew", error=fault))

    def _remember(self, now: float) -> None:
        """Whole or not at all: written beside, then renamed."""
        self._forecast_at = now
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **self.planner.forecast.state())
        beside = self._data / "forecast.npz.new"
        try:
            beside.write_bytes(buffer.getvalue())
            os.replace(beside, self._data / "forecast.npz")
        except OSError as error:
            fault = str(error)
            self._attempt(lambda: self._note("forecast not kept", error=fault))


def _alarm_words(alarm: AlarmView) -> str:
    return f"{alarm.priority} {alarm.name} {alarm.state}: {alarm.text}"
