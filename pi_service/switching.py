"""The life of one switch, from PROPOSED to its final state; AUTO, a person and an undo all take this way.

    PROPOSED -> AUTHORISED -> SENT -> ACKED -> VERIFIED
    REFUSED (nothing moved)    FAILED -> ROLLBACK_SENT -> ROLLED_BACK | QUARANTINED

Each transition is committed to audit.db before its side effect. An answer that does not come is asked for with a
query, never by sending the command again. After a restart whatever was under way is asked about in the same way.
Not here: which move is worth making (`controller`), whether the meters prove it (`evidence`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from balancer.decision import Effect, Interlock, Move
from balancer.feeder import PHASES, Feeder
from pi_service.clock import Clock
from pi_service.config import ControlSettings
from pi_service.contract import (
    FINAL_STATES,
    Ack,
    Command,
    Contact,
    Phase,
    SwitchState,
    SwitchView,
    encode,
    house_topic,
)
from pi_service.evidence import Before, Proof, Verdict, judge, seen_now
from pi_service.feeder_state import FeederState
from pi_service.outbox import Publish
from pi_service.seal import Sealer
from pi_service.store.audit import AuditLog

Purpose = Literal["forward", "rollback"]


@dataclass
class _Live:
    """A switch under way. `command` is the id of the switch command that counts now; `asked` queries went out."""

    view: SwitchView
    before: Before | None
    purpose: Purpose = "forward"
    command: str = ""
    command_expires: float = 0.0
    query: str = ""
    asked: int = 0
    waiting_since: float = 0.0
    acked_at: float = 0.0
    home_at: float | None = None        # since when the node says that the house is back; the proof is awaited
    notes: list[str] = field(default_factory=list)


class Switching:
    """All switches of one feeder. `publish` hands out sealed commands; `changed` is told of every transition."""

    def __init__(
        self, feeder: Feeder, audit: AuditLog, state: FeederState, sealer: Sealer, clock: Clock,
        settings: ControlSettings, publish: Callable[[Publish], None], changed: Callable[[SwitchView], None],
    ) -> None:
        self._feeder, self._audit, self._state, self._sealer = feeder, audit, state, sealer
        self._clock, self._settings, self._publish, self._changed = clock, settings, publish, changed
        self._live: dict[str, _Live] = {}
        self._quarantine, self._silent = _quarantined(audit)
        self._release_asked: dict[str, float] = {}

    # ------------------------------------------------------------ asked by the rest of the daemon

    @property
    def in_flight(self) -> tuple[SwitchView, ...]:
        """Switches that have not ended, oldest first."""
        return tuple(self._live[key].view for key in sorted(self._live))

    @property
    def full(self) -> bool:
        """Whether no further switch may start now."""
        return len(self._live) >= self._settings.max_in_flight

    @property
    def quarantined(self) -> dict[str, str]:
        """House ids that may not be moved because a switch of theirs ended badly, with the switch's id."""
        return dict(self._quarantine)

    def start(
        self, move: Move, origin: str, reason: str, interlocks: Sequence[Interlock], effect: Effect | None,
        undo_of: str = "",
    ) -> SwitchView:
        """Begin a switch whose interlocks were just checked; one that does not hold makes it REFUSED."""
        now = self._clock.now()
        view = SwitchView(
            id=self._audit.next_id("S"), at=now, origin=origin, house=self._feeder.houses[move.house].house_id,
            from_phase=_name(move.from_phase), to_phase=_name(move.to_phase), state="PROPOSED", reason=reason,
            predicted_neutral_a=effect.neutral_after_a if effect else None,
            neutral_before_a=seen_now(self._state, self._feeder.houses[move.house].house_id).neutral_a,
            undo_of=undo_of,
        )
        live = _Live(view, seen_now(self._state, view.house))
        self._record(live, view, interlocks=[{"name": i.name, "ok": i.ok, "detail": i.detail} for i in interlocks])
        failed = next((lock for lock in interlocks if not lock.ok), None)
        if failed is not None:
            self._end(live, "REFUSED", f"{failed.name}: {failed.detail}")
        else:
            self._step(live, "AUTHORISED")
            self._send_switch(live, "forward", view.to_phase)
        return live.view

    def acknowledged(self, ack: Ack) -> None:
        """Take a node's word on a command of ours; one that no switch waits for is only an old echo."""
        for live in list(self._live.values()):
            if ack.house == live.view.house and ack.id in (live.command, live.query):
                self._answered(live, ack)
                return
        if ack.house in self._quarantine and ack.result == "state":
            self._maybe_release(ack)

    def tick(self) -> None:
        """Time has passed: ask where no answer came, judge what the meters show, look after quarantined houses."""
        for live in list(self._live.values()):
            if live.view.state in ("PROPOSED", "AUTHORISED"):
                self._end(live, "REFUSED", "it was not sent: the audit log could not be written")
            elif live.home_at is not None:
                self._verify_return(live, live.home_at)
            elif live.view.state == "ACKED":
                self._verify(live)
            elif self._clock.monotonic() - live.waiting_since >= self._patience(live):
                self._ask_or_give_up(live)
        self._ask_quarantined()

    def reconcile(self) -> None:
        """After a restart: what was not sent is refused, what was sent is asked about. Nothing is sent again."""
        for view in self._audit.pending():
            # What the meter showed before the switch is too old to compare with: the contacts must prove it.
            live = _Live(view, None, waiting_since=self._clock.monotonic(), acked_at=self._clock.now())
            if view.state in ("PROPOSED", "AUTHORISED"):
                self._end(live, "REFUSED", "the daemon restarted before it was sent")
                continue
            live.purpose = "rollback" if view.state in ("ROLLBACK_SENT", "FAILED") else "forward"
            live.command = self._last_command(view)
            live.notes.append("reconciled after a restart")
            self._live[view.id] = live
            self._ask(live)

    def link_up(self) -> None:
        """The broker is back: nobody could have answered meanwhile, so the waiting begins anew."""
        for live in self._live.values():
            live.waiting_since = self._clock.monotonic()

    def release(self, house: str, by: str, at: float) -> bool:
        """A person vouches for a quarantined house; False where it is not quarantined."""
        if house not in self._quarantine:
            return False
        body = {"released": True, "by": by}
        self._audit.append("quarantine", at, body, ref=self._quarantine[house], house=house)
        del self._quarantine[house]
        return True

    # ------------------------------------------------------------ answers

    def _answered(self, live: _Live, ack: Ack) -> None:
        result: str = ack.result
        phase, reason = ack.phase, ack.reason
        if result == "state":
            if ack.last_id != live.command:
                self._command_never_arrived(live, phase)
                return
            result = ack.last_result
            if result == "moving":
                live.waiting_since = self._clock.monotonic()    # counts as asked: one that never rests is given up
                return
        live.asked = 0
        if live.view.state == "FAILED":
            self._after_failure(live, phase)
        elif live.purpose == "rollback":
            self._rolled_back(live, result, phase, reason)
        elif result == "done" and phase == live.view.to_phase:
            if live.view.state == "SENT":
                live.acked_at, live.waiting_since = self._clock.now(), self._clock.monotonic()
                self._step(live, "ACKED", ack=ack)
        elif result == "refused":
            self._end(live, "REFUSED", f"the node refused: {reason}", ack=ack)
        else:
            self._fail(live, f"the node says {result}, contact {phase}{': ' + reason if reason else ''}", ack=ack)

    def _command_never_arrived(self, live: _Live, phase: Contact) -> None:
        """The node knows nothing of the command: harmless once it has expired, until then ask again."""
        live.asked = 0
        if self._clock.wall() <= live.command_expires:
            live.waiting_since = self._clock.monotonic()
        elif live.purpose == "rollback" or live.view.state == "FAILED":
            self._after_failure(live, phase)
        else:
            self._end(live, "REFUSED", "the command never reached the node and has expired")

    def _after_failure(self, live: _Live, phase: Contact) -> None:
        """The node was asked where the house is, after a failure or a restart within one."""
        if phase == live.view.from_phase:
            self._await_return(live)
        elif live.view.state == "FAILED":
            self._send_rollback(live)
        else:
            self._quarantine_now(live, f"the node does not go back: contact {phase}")

    def _rolled_back(self, live: _Live, result: str, phase: Contact, reason: str) -> None:
        if result == "done" and phase == live.view.from_phase:
            self._await_return(live)
        else:
            self._quarantine_now(live, f"rolling back {result}, contact {phase}{': ' + reason if reason else ''}")

    # ------------------------------------------------------------ proof

    def _verify(self, live: _Live) -> None:
        over = self._clock.monotonic() - live.waiting_since >= self._settings.verify_timeout_s
        proof: Proof = judge(self._state, live.view, live.before, live.acked_at, over)
        if proof.verdict is Verdict.PROVEN:
            self._end(live, "VERIFIED", live.view.reason, proof=proof.words)
        elif proof.verdict is Verdict.DISPROVEN:
            self._fail(live, proof.words)

    def _await_return(self, live: _Live) -> None:
        if live.home_at is None:
            live.home_at = live.waiting_since = self._clock.monotonic()
            live.acked_at = self._clock.now()

    def _verify_return(self, live: _Live, home_at: float) -> None:
        """A node that was wrong once is not believed that the house is back either."""
        over = self._clock.monotonic() - home_at >= self._settings.verify_timeout_s
        proof = judge(self._state, live.view, live.before, live.acked_at, over, returning=True)
        if proof.verdict is Verdict.PROVEN:
            self._end(live, "ROLLED_BACK", live.view.reason, proof=proof.words)
        elif proof.verdict is Verdict.DISPROVEN:
            self._quarantine_now(live, f"going back is not proven: {proof.words}")

    def _fail(self, live: _Live, reason: str, **detail: object) -> None:
        self._record(live, msgspec.structs.replace(live.view, state="FAILED", reason=reason), **detail)
        live.purpose, live.waiting_since = "rollback", self._clock.monotonic()
        self._send_rollback(live)

    # ------------------------------------------------------------ asking

    def _patience(self, live: _Live) -> float:
        return self._settings.ack_timeout_s if live.asked <= 1 else self._settings.query_retry_s

    def _ask_or_give_up(self, live: _Live) -> None:
        if live.asked < self._settings.query_attempts:
            self._ask(live)
        elif live.view.state == "SENT":
            self._record(live, msgspec.structs.replace(live.view, state="FAILED", reason="the node does not answer"))
            self._quarantine_now(live, "the node does not answer: where the house is cannot be asked", silent=True)
        else:
            self._quarantine_now(live, "the node does not answer after a failure", silent=True)

    def _ask(self, live: _Live) -> None:
        live.query = self._command(live.view.house, live.view.id, "query", None)
        live.asked += 1
        live.waiting_since = self._clock.monotonic()

    # ------------------------------------------------------------ sending

    def _send_switch(self, live: _Live, purpose: Purpose, target: Phase) -> None:
        state: SwitchState = "SENT" if purpose == "forward" else "ROLLBACK_SENT"
        command = self._log_command(live.view.house, self._audit.next_id("C"), live.view.id, "switch", target)
        self._step(live, state, before=live.before)
        live.purpose, live.asked, live.query, live.home_at = purpose, 0, "", None
        live.command, live.command_expires = command.id, command.expires
        live.waiting_since = self._clock.monotonic()
        self._publish_command(command)

    def _send_rollback(self, live: _Live) -> None:
        self._send_switch(live, "rollback", live.view.from_phase)

    def _command(self, house: str, switch_id: str, cmd: Literal["switch", "query"], target: Phase | None) -> str:
        command_id = self._audit.next_id("C")
        self._publish_command(self._log_command(house, command_id, switch_id, cmd, target))
        return command_id

    def _log_command(
        self, house: str, command_id: str, switch_id: str, cmd: Literal["switch", "query"], target: Phase | None
    ) -> Command:
        """The counter is on disk before the command can be sent."""
        wall, counter = self._clock.wall(), self._audit.counter(house)
        self._audit.record_command(self._clock.now(), house, command_id, switch_id, cmd, counter, target=target)
        return Command(cmd=cmd, id=command_id, house=house, counter=counter, issued=wall,
                       expires=wall + self._settings.command_life_s, target=target)

    def _publish_command(self, command: Command) -> None:
        sealed = self._sealer.seal_command(command.house, encode(command))
        self._publish(Publish(house_topic(self._feeder.feeder_id, command.house, "command"), sealed, qos=1))

    # ------------------------------------------------------------ transitions

    def _step(self, live: _Live, state: SwitchState, **detail: object) -> None:
        self._record(live, msgspec.structs.replace(live.view, state=state), **detail)

    def _end(self, live: _Live, state: SwitchState, reason: str, **detail: object) -> None:
        assert state in FINAL_STATES
        after = seen_now(self._state, live.view.house).neutral_a if state == "VERIFIED" else None
        self._record(live, msgspec.structs.replace(
            live.view, state=state, reason=reason, neutral_after_a=after, finished_at=self._clock.now()), **detail)

    def _record(self, live: _Live, view: SwitchView, **detail: object) -> None:
        """On disk first; only then it is so. Raises StoreError, and nothing has changed, where it is refused."""
        if live.notes:
            detail["notes"] = tuple(live.notes)
        self._audit.record_switch(self._clock.now(), view, **{k: v for k, v in detail.items() if v is not None})
        live.view = view
        if view.state in FINAL_STATES:
            self._live.pop(view.id, None)
        else:
            self._live[view.id] = live
        self._changed(view)

    # ------------------------------------------------------------ quarantine and restart

    def _quarantine_now(self, live: _Live, reason: str, silent: bool = False) -> None:
        """`silent`: the node only fell silent, so that its proof of place releases it; else a person does."""
        view = live.view
        body = {"released": False, "silent": silent}
        self._audit.append("quarantine", self._clock.now(), body, ref=view.id, house=view.house)
        self._quarantine[view.house] = view.id
        (self._silent.add if silent else self._silent.discard)(view.house)
        self._end(live, "QUARANTINED", reason)

    def _ask_quarantined(self) -> None:
        """A quarantined house whose node is back is asked, slowly, whether it can prove where it is."""
        now = self._clock.monotonic()
        for house, switch_id in sorted(self._quarantine.items()):
            due = now - self._release_asked.get(house, -self._settings.query_retry_s) >= self._settings.query_retry_s
            if due and house in self._silent and self._state.online(house) and self._state.usable(house) is not None:
                self._release_asked[house] = now
                self._command(house, switch_id, "query", None)

    def _maybe_release(self, ack: Ack) -> None:
        """The node names one closed contact, no failure, and its fresh reading says the same: it is trusted again."""
        held = self._state.usable(ack.house)
        agrees = held is not None and held.reading.relay == ack.phase
        if ack.house in self._silent and ack.phase in PHASES and not ack.reason and agrees:
            self.release(ack.house, "the node", self._clock.now())

    def _last_command(self, view: SwitchView) -> str:
        for row in self._audit.rows(kinds=("command",), house=view.house, limit=None):
            if row.body["switch"] == view.id and row.body["cmd"] == "switch":
                return row.ref
        return ""


def _quarantined(audit: AuditLog) -> tuple[dict[str, str], set[str]]:
    """House ids with the switch that ended badly; and those among them whose node only fell silent."""
    standing: dict[str, str] = {}
    silent: set[str] = set()
    for row in audit.rows(kinds=("quarantine",), limit=None, newest_first=False):
        silent.discard(row.house)
        standing.pop(row.house, None)
        if not row.body["released"]:
            standing[row.house] = row.ref
            if row.body.get("silent"):
                silent.add(row.house)
    return standing, silent


def _name(phase: int) -> Phase:
    names: tuple[Phase, Phase, Phase] = ("R", "Y", "B")
    return names[phase]
