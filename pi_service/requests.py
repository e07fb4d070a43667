"""Operators' requests: who asks, may they, is it fresh, is it safe; then the same switching as everyone.

A request is signed (Ed25519), names its feeder, lives at most a minute and is obeyed once. Every request and its
answer is in the audit log. Not here: the interlocks of a move (`balancer.constraints`), the move (`switching`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from balancer.decision import Move
from balancer.errors import SmartPhaseError
from balancer.feeder import Feeder
from pi_service.alarms import Alarms, UnknownAlarm
from pi_service.clock import Clock
from pi_service.config import ControlSettings
from pi_service.contract import (
    Accept,
    AckAlarm,
    Action,
    ClearTag,
    Compare,
    History,
    HistoryPage,
    MessageRefused,
    Operate,
    Phase,
    PlaceTag,
    Preview,
    PreviewResult,
    Reply,
    Request,
    SetMode,
    Undo,
    Why,
    WhyResult,
    decode,
    encode,
    operator_topic,
)
from pi_service.controller import Controller, effect_view, interlock_views
from pi_service.ingest import SignedRequest
from pi_service.modes import Modes
from pi_service.outbox import Publish
from pi_service.seal import OperatorKeys, Role, verify_request
from pi_service.store.audit import AuditLog
from pi_service.store.audit_reader import TagRecord
from pi_service.store.database import StoreError
from pi_service.store.telemetry import TelemetryStore
from pi_service.switching import Switching

LONGEST_LIFE_S = 60.0
SKEW_S = 30.0
_MAX_PAGE = 500
_PHASES: tuple[Phase, Phase, Phase] = ("R", "Y", "B")
_READS = (Why, History, Compare)
_CAREFUL = (Preview, AckAlarm, PlaceTag, ClearTag)
_ACTING = (SetMode, Operate, Accept, Undo)
MAY: dict[Role, tuple[type, ...]] = {
    "viewer": _READS,
    "field": (*_READS, *_CAREFUL),
    "operator": (*_READS, *_CAREFUL, *_ACTING),
    "engineer": (*_READS, *_CAREFUL, *_ACTING),
    "admin": (*_READS, *_CAREFUL, *_ACTING),
}
"""Which actions each role may ask for. Beyond that: tagging the feeder takes an engineer or an admin, releasing a
quarantined house one of them or the field crew, clearing somebody else's tag an admin."""
_ENGINEERS: tuple[Role, ...] = ("engineer", "admin")
_VOUCHERS: tuple[Role, ...] = ("field", "engineer", "admin")


class Declined(SmartPhaseError):
    """A request that is not done; the message is the answer."""


@dataclass(frozen=True, slots=True)
class _Previewed:
    operator: str
    house: str
    target: Phase
    until: float


class Requests:
    """Takes signed requests and answers each of them once."""

    def __init__(
        self, feeder: Feeder, operators: Mapping[str, OperatorKeys], audit: AuditLog, telemetry: TelemetryStore,
        controller: Controller, switching: Switching, modes: Modes, alarms: Alarms, clock: Clock,
        settings: ControlSettings, compare: Callable[[float, float], msgspec.Struct],
        tell_tag: Callable[[str], None], tell_mode: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._feeder, self._operators, self._audit, self._telemetry = feeder, operators, audit, telemetry
        self._controller, self._switching, self._modes, self._alarms = controller, switching, modes, alarms
        self._clock, self._settings, self._compare, self._tell_tag = clock, settings, compare, tell_tag
        self._tell_mode = tell_mode
        self._previews: dict[str, _Previewed] = {}
        self._next_preview = 1
        self._answered: dict[str, float] = {}

    def answer(self, signed: SignedRequest) -> Publish:
        """Do what is asked or say why not. Raises MessageRefused where nobody known is asking: no answer then."""
        operator, payload = verify_request(signed.payload, self._operators)
        request = decode(payload, Request)
        if not operator == request.operator == signed.operator:
            raise MessageRefused("wrong-operator", f"{operator} signed as {request.operator} for {signed.operator}")
        replayed = self._is_replay(request)
        try:
            if replayed:
                raise Declined("it was answered before; a request is obeyed once")
            self._admit(request)
            reply = self._do(request)
        except (Declined, UnknownAlarm, StoreError) as declined:
            reply = Reply(request.id, False, str(declined))
        # Reading is not logged where it was allowed: a screen asks for pages all day. Nor is a replay: whoever can
        # repeat a message could fill the log with it.
        if not replayed and not (reply.ok and isinstance(request.action, _READS)):
            with contextlib.suppress(StoreError):       # what it did is logged by itself, or was not done
                self._audit.record_request(self._clock.now(), request.id, operator, request.action, reply.ok,
                                           reply.reason)
        return Publish(operator_topic(self._feeder.feeder_id, "reply", operator), encode(reply), qos=1)

    # ------------------------------------------------------------ may they

    def _is_replay(self, request: Request) -> bool:
        """Whether this id was answered before; from now on it was. Ids of the last minutes are kept in memory,
        those in the log for ever: what lies between has expired."""
        now = self._clock.wall()
        for old in [key for key, until in self._answered.items() if until < now]:
            del self._answered[old]
        if request.id in self._answered or self._audit.request_seen(request.id):
            return True
        self._answered[request.id] = now + LONGEST_LIFE_S + SKEW_S
        return False

    def _admit(self, request: Request) -> None:
        now = self._clock.wall()
        if request.feeder != self._feeder.feeder_id:
            raise Declined(f"this is {self._feeder.feeder_id}, the request is for {request.feeder}")
        if request.expires - request.issued > LONGEST_LIFE_S or request.issued > now + SKEW_S:
            raise Declined("its times are not plausible; set this machine's clock")
        if now > request.expires:
            raise Declined("it has expired; ask again")
        role = self._role(request)
        if not isinstance(request.action, MAY[role]):
            raise Declined(f"a {role} may not do this; ask {_who_may(request.action)}")
        if isinstance(request.action, PlaceTag) and not request.action.house and role not in _ENGINEERS:
            raise Declined(f"a {role} may not tag the feeder; ask an engineer")

    def _role(self, request: Request) -> Role:
        role = self._operators[request.operator].role(self._feeder.feeder_id)
        if role is None:
            raise Declined(f"{request.operator} has no role on {self._feeder.feeder_id}; ask an admin")
        return role

    # ------------------------------------------------------------ what is asked

    def _do(self, request: Request) -> Reply:
        who, action = request.operator, request.action
        match action:
            case SetMode():
                return self._set_mode(request, action)
            case Preview():
                return self._preview(request, action)
            case Operate():
                return self._operate(request, action)
            case Accept():
                return self._accept(request, action)
            case Undo():
                return self._undo(request, action)
            case AckAlarm():
                return Reply(request.id, True, f"{self._alarms.acknowledge(action.alarm_id, who).name} acknowledged")
            case PlaceTag():
                return self._place_tag(request, action)
            case ClearTag():
                return self._clear_tag(request, action)
            case Why():
                self._known(action.house)
                return _with(request, WhyResult(action.house, self._controller.why(action.house)))
            case History():
                return _with(request, self._history(action))
            case Compare():
                return self._compare_reply(request, action)

    def _set_mode(self, request: Request, action: SetMode) -> Reply:
        self._modes.choose(action.mode, request.operator, action.reason)
        words = f"{self._feeder.feeder_id} is in {self._modes.mode}"
        if self._modes.mode != action.mode:
            words += f" ({self._modes.reason}); {action.mode} comes when that is over"
        self._tell_mode(f"{words}, set by {request.operator}")
        return Reply(request.id, True, words)

    def _preview(self, request: Request, action: Preview) -> Reply:
        self._known(action.house)
        move, effect, interlocks = self._controller.examine(action.house, action.target)
        if move.from_phase < 0:
            raise Declined(f"{action.house} is on no known phase; wait for its node")
        preview_id = f"V{self._next_preview:06d}"
        self._next_preview += 1
        now = self._clock.monotonic()
        self._previews = {key: one for key, one in self._previews.items() if one.until > now}
        self._previews[preview_id] = _Previewed(
            request.operator, action.house, action.target, now + self._settings.preview_s)
        return _with(request, PreviewResult(
            preview_id, action.house, _PHASES[move.from_phase], action.target,
            effect_view(effect) if effect else None, interlock_views(interlocks), self._settings.preview_s))

    def _operate(self, request: Request, action: Operate) -> Reply:
        previewed = self._previews.pop(action.preview_id, None)
        if previewed is None or previewed.operator != request.operator:
            raise Declined("no such preview; select the house again")
        if self._clock.monotonic() > previewed.until:
            raise Declined(f"the preview is older than {self._settings.preview_s:.0f} s; select the house again")
        return self._move(request, previewed.house, previewed.target, action.reason or "by hand")

    def _accept(self, request: Request, action: Accept) -> Reply:
        move = self._controller.proposed(action.proposal_id)
        if move is None:
            raise Declined("the proposal has changed; look at the new one")
        house = self._feeder.houses[move.house].house_id
        return self._move(request, house, _PHASES[move.to_phase], f"accepted {action.proposal_id}")

    def _undo(self, request: Request, action: Undo) -> Reply:
        old = self._audit.switch(action.switch_id)
        if old is None or old.state != "VERIFIED":
            raise Declined(f"{action.switch_id} moved nothing that could be undone")
        if old.undone_by:
            raise Declined(f"{action.switch_id} was undone by {old.undone_by} already")
        later = next((v for v in self._audit.switches(limit=None)
                      if v.house == old.house and v.id > old.id and v.state == "VERIFIED"), None)
        if later is not None:
            raise Declined(f"{old.house} was moved again by {later.id}; undo that one")
        return self._move(request, old.house, old.from_phase, action.reason or f"undo of {old.id}", undo_of=old.id)

    def _move(self, request: Request, house: str, target: Phase, reason: str, undo_of: str = "") -> Reply:
        move, effect, interlocks = self._controller.examine(house, target, undo=bool(undo_of))
        failed = next((lock for lock in interlocks if not lock.ok), None)
        if failed is not None:
            raise Declined(f"{failed.name}: {failed.detail}")
        view = self._switching.start(Move(move.house, move.from_phase, move.to_phase), request.operator, reason,
                                     interlocks, effect, undo_of)
        return Reply(request.id, True, f"{view.id} {view.house} {view.from_phase}>{view.to_phase} sent",
                     switch_id=view.id)

    def _place_tag(self, request: Request, action: PlaceTag) -> Reply:
        if action.house:
            self._known(action.house)
        if not action.reason.strip():
            raise Declined("a tag needs a reason: say what is being done")
        if any(tag.house == action.house for tag in self._audit.tags()):
            raise Declined(f"{action.house or 'the feeder'} carries a tag already; clear it first")
        tag = TagRecord(self._audit.next_id("T"), action.house, action.kind, request.operator, action.reason,
                        self._clock.now())
        self._audit.record_tag(self._clock.now(), tag)
        words = f"{tag.id} {tag.kind} on {action.house or 'the feeder'}: {action.reason}"
        self._tell_tag(words)
        return Reply(request.id, True, words)

    def _clear_tag(self, request: Request, action: ClearTag) -> Reply:
        role = self._role(request)
        quarantined = self._switching.quarantined.items()
        house = next((house for house, switch_id in quarantined if switch_id == action.tag_id), None)
        if house is not None:
            return self._release(request, house, role)
        tag = next((one for one in self._audit.tags() if one.id == action.tag_id), None)
        if tag is None:
            raise Declined(f"no tag {action.tag_id} stands")
        if tag.by != request.operator and role != "admin":
            raise Declined(f"{tag.id} is {tag.by}'s; only they or an admin clear it")
        now = self._clock.now()
        self._audit.record_tag(now, msgspec.structs.replace(tag, cleared_by=request.operator, cleared_at=now))
        words = f"{tag.id} on {tag.house or 'the feeder'} cleared by {request.operator}"
        self._tell_tag(words)
        return Reply(request.id, True, words)

    def _release(self, request: Request, house: str, role: Role) -> Reply:
        """A quarantine is shown as a tag under its switch's id, and cleared like one by who can vouch for it."""
        if role not in _VOUCHERS:
            raise Declined(f"{house} is quarantined; the field crew, an engineer or an admin releases it")
        self._switching.release(house, request.operator, self._clock.now())
        words = f"{house} released from quarantine by {request.operator}"
        self._tell_tag(words)
        return Reply(request.id, True, words)

    def _history(self, action: History) -> HistoryPage:
        limit = max(1, min(action.limit, _MAX_PAGE))
        found: list[object]
        match action.kind:
            case "switches":
                found = list(self._audit.switches(limit + 1, action.since, action.until))
            case "alarms":
                found = list(self._audit.alarms(limit + 1, action.since, action.until))
            case "feeder":
                found = list(self._telemetry.feeder_minutes(action.since, action.until, limit + 1))
            case "audit":
                found = list(self._audit.rows(action.since, action.until, limit=limit + 1))
        rows = tuple(msgspec.to_builtins(one) for one in found[:limit])
        return HistoryPage(action.kind, rows, len(found) > limit)

    def _compare_reply(self, request: Request, action: Compare) -> Reply:
        try:
            return _with(request, self._compare(action.since, action.until))
        except SmartPhaseError as error:
            raise Declined(str(error)) from error

    def _known(self, house: str) -> None:
        if house not in self._feeder.house_ids:
            raise Declined(f"{self._feeder.feeder_id} has no house {house}")


def _who_may(action: Action) -> str:
    """The roles that an action takes, in words."""
    return "an operator, engineer or admin" if isinstance(action, _ACTING) else \
        "an operator, engineer, admin or the field crew"


def _with(request: Request, body: msgspec.Struct) -> Reply:
    return Reply(request.id, True, body=msgspec.Raw(encode(body)))
