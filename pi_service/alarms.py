"""Alarms: definitions from TOML, raise and clear with delays and hysteresis, acknowledgement.

An alarm watches one quantity (of the feeder, of a phase, or of each house). It is raised once the value has been
beyond its threshold for `raise_after_s`, and returns once it has been back for `clear_after_s` (plant seconds).
A value that is not measured (None, or the house is not mentioned) changes nothing. A definition without
thresholds stands while its quantity is reported. States as in contract.AlarmView: UNACK, ACK, RTN (back to normal,
nobody has seen it), CLEARED. Not here: where conditions come from (`conditions`, and the controller for switches),
how alarms are stored (`store.audit`).
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from balancer.errors import SmartPhaseError
from balancer.feeder import Limits
from pi_service.clock import Clock
from pi_service.contract import AlarmView

_LIMITS = tuple(Limits.__dataclass_fields__)
_FIELDS = {"house", "value", "limit", "detail"}
Delay = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class AlarmFileError(SmartPhaseError):
    """An alarm file that cannot be taken: names the file, the alarm and the reason."""


class UnknownAlarm(SmartPhaseError):
    """No such alarm stands."""


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One alarm as the file defines it. `raise_above` with `clear_below`, or `raise_below` with `clear_above`, or
    neither: then it stands while its quantity is reported. `limit` multiplies them by a limit of the feeder."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    priority: Annotated[int, msgspec.Meta(ge=1, le=4)]
    quantity: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    text: str
    limit: str = ""
    raise_above: float | None = None
    clear_below: float | None = None
    raise_below: float | None = None
    clear_above: float | None = None
    raise_after_s: Delay = 0.0
    clear_after_s: Delay = 0.0


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alarm: list[Definition]


@dataclass(frozen=True, slots=True)
class Condition:
    """What is measured or reported now. `house` "" for the feeder; a phase's letter for `phase_a`. `value` None:
    not measured. `detail` goes into the text."""

    quantity: str
    value: float | None = 1.0
    house: str = ""
    detail: str = ""


def load_definitions(path: Path) -> tuple[Definition, ...]:
    """Read an alarm file. Raises AlarmFileError, one line, naming file, alarm and reason."""
    try:
        definitions = msgspec.toml.decode(path.read_bytes(), type=_File).alarm
    except OSError as error:
        raise AlarmFileError(f"{path}: {error.strerror}; name an existing alarm file") from error
    except msgspec.ValidationError as error:
        raise AlarmFileError(f"{path}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AlarmFileError(f"{path}: not TOML: {error}") from error
    names: set[str] = set()
    for number, definition in enumerate(definitions, start=1):
        wrong = "its name is taken already" if definition.name in names else _wrong(definition)
        if wrong:
            raise AlarmFileError(f"{path}: alarm {number} ({definition.name}): {wrong}")
        names.add(definition.name)
    return tuple(definitions)


def _wrong(definition: Definition) -> str:
    """Why a definition cannot be taken, "" where it can."""
    above = definition.raise_above, definition.clear_below
    below = definition.raise_below, definition.clear_above
    for pair, names in ((above, "raise_above and clear_below"), (below, "raise_below and clear_above")):
        if (pair[0] is None) != (pair[1] is None):
            return f"{names} come together"
    if above[0] is not None and below[0] is not None:
        return "it is raised above or below, not both"
    if above[0] is not None and above[1] is not None and above[1] > above[0]:
        return f"clear_below {above[1]:g} is higher than raise_above {above[0]:g}"
    if below[0] is not None and below[1] is not None and below[1] < below[0]:
        return f"clear_above {below[1]:g} is lower than raise_below {below[0]:g}"
    if definition.limit and definition.limit not in _LIMITS:
        return f"limit {definition.limit!r} is none of {', '.join(_LIMITS)}"
    if definition.limit and above[0] is None and below[0] is None:
        return "a limit needs thresholds"
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(definition.text) if name is not None}
        definition.text.format(house="H", value=1.0, limit=1.0, detail="d")
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        return f"text cannot be filled in ({error})"
    if fields - _FIELDS:
        return f"text uses {sorted(fields - _FIELDS)}, known are {sorted(_FIELDS)}"
    return "" if definition.text.strip() else "text is empty: say what is wrong and what to do"


@dataclass(slots=True)
class _Watch:
    """One definition on one house: the alarm that stands, and since when the value asks for a change."""

    view: AlarmView | None = None
    since: float | None = None


class Alarms:
    """The alarms of one feeder. `update` once a tick; transitions are drained by `transitions`.

    `standing` are the alarms that stood when the daemon stopped and `next_number` the first free one: both from
    the audit log, so that ids go on and an acknowledgement survives a restart.
    """

    def __init__(self, definitions: Iterable[Definition], limits: Limits, clock: Clock,
                 standing: Iterable[AlarmView] = (), next_number: int = 1) -> None:
        self._definitions = {definition.name: definition for definition in definitions}
        self._limits, self._clock, self._next = limits, clock, next_number
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._transitions: list[AlarmView] = []
        for view in standing:
            if view.name in self._definitions:
                self._watches[view.name, view.house] = _Watch(view)
            else:       # its definition is gone: nothing would ever clear it
                self._transitions.append(msgspec.structs.replace(view, state="CLEARED", cleared_at=clock.now()))

    def update(self, conditions: Iterable[Condition]) -> None:
        """Take all that is known now; raise and clear what has lasted long enough."""
        now = self._clock.now()
        by_quantity: dict[str, dict[str, Condition]] = {}
        for condition in conditions:
            by_quantity.setdefault(condition.quantity, {})[condition.house] = condition
        for name, definition in self._definitions.items():
            reported = by_quantity.get(definition.quantity, {})
            watched = {house for key, house in self._watches if key == name}
            for house in sorted(watched | reported.keys()):
                self._step(definition, house, reported.get(house), now)

    def acknowledge(self, alarm_id: str, by: str) -> AlarmView:
        """Someone has seen it. Raises UnknownAlarm where it does not stand or was acknowledged already."""
        for watch in self._watches.values():
            view = watch.view
            if view is not None and view.id == alarm_id:
                if view.state == "ACK":
                    raise UnknownAlarm(f"alarm {alarm_id} was acknowledged by {view.acked_by} already")
                state = "CLEARED" if view.state == "RTN" else "ACK"
                acked = msgspec.structs.replace(view, state=state, acked_at=self._clock.now(), acked_by=by)
                watch.view = None if state == "CLEARED" else acked
                self._transitions.append(acked)
                return acked
        raise UnknownAlarm(f"alarm {alarm_id} does not stand; look for it in the history")

    def standing(self) -> tuple[AlarmView, ...]:
        """What a screen lists: unacknowledged, acknowledged and returned; worst first, then newest."""
        views = [watch.view for watch in self._watches.values() if watch.view is not None]
        return tuple(sorted(views, key=lambda view: (view.priority, -view.raised_at, view.id)))

    def transitions(self) -> tuple[AlarmView, ...]:
        """What changed since the last call, in order: to be logged, then told."""
        done, self._transitions = tuple(self._transitions), []
        return done

    # ---------------------------------------------------------------- inside

    def _step(self, definition: Definition, house: str, condition: Condition | None, now: float) -> None:
        watch = self._watches.setdefault((definition.name, house), _Watch())
        active = watch.view is not None and watch.view.state in ("UNACK", "ACK")
        wanted = self._wanted(definition, condition, active)
        if wanted is None or wanted == active:
            watch.since = None
        else:
            watch.since = now if watch.since is None else min(watch.since, now)     # a clock may be set back
            delay = definition.raise_after_s if wanted else definition.clear_after_s
            if now - watch.since >= delay:
                watch.since = None
                self._change(definition, watch, house, condition, wanted, now)
        if watch.view is None and watch.since is None:
            del self._watches[definition.name, house]

    def _wanted(self, definition: Definition, condition: Condition | None, active: bool) -> bool | None:
        """Whether the alarm should stand by the value now; None: the value does not say."""
        scale = getattr(self._limits, definition.limit) if definition.limit else 1.0
        value = condition.value if condition is not None else None
        if definition.raise_above is not None and definition.clear_below is not None:
            if value is None:
                return None
            return value >= definition.clear_below * scale if active else value > definition.raise_above * scale
        if definition.raise_below is not None and definition.clear_above is not None:
            if value is None:
                return None
            return value <= definition.clear_above * scale if active else value < definition.raise_below * scale
        return condition is not None

    def _change(self, definition: Definition, watch: _Watch, house: str, condition: Condition | None, up: bool,
                now: float) -> None:
        view = watch.view
        if up and view is None:
            new = AlarmView(f"A{self._next:06d}", definition.name, definition.priority, "UNACK", now,
                            self._text(definition, house, condition), house)
            self._next += 1
        elif up and view is not None:       # returned, not acknowledged, and back again: the same occurrence
            text = self._text(definition, house, condition)
            new = msgspec.structs.replace(view, state="UNACK", cleared_at=None, text=text)
        else:
            assert view is not None
            state = "CLEARED" if view.state == "ACK" else "RTN"
            new = msgspec.structs.replace(view, state=state, cleared_at=now)
        watch.view = None if new.state == "CLEARED" else new
        self._transitions.append(new)

    def _text(self, definition: Definition, house: str, condition: Condition | None) -> str:
        limit = getattr(self._limits, definition.limit) if definition.limit else 0.0
        value = condition.value if condition is not None and condition.value is not None else 0.0
        return definition.text.format(house=house, value=value, limit=limit,
                                      detail=condition.detail if condition else "")
