"""Every action of the control room, as data: its keys, its words, the authority it needs, where it is offered.

The key bindings, the footer, the help screen and the check of authority all read this one table. What an action
does is the `do_<id>` method of the screens that it names. No action of this table moves a relay: those that may end
in a switch open a dialog, and only the dialog's own button sends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

EVERYONE: frozenset[str] = frozenset()
READERS = frozenset({"viewer", "operator", "engineer", "field", "admin"})
OPERATORS = frozenset({"operator", "engineer", "admin"})
TAGGERS = OPERATORS | {"field"}

MAIN, ALARMS, LOG, COMPARE = "main", "alarms", "log", "compare"
EVERYWHERE = frozenset({MAIN, ALARMS, LOG, COMPARE})


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a person can do.

    Attributes:
        id: its name; the handler is `do_<id>`.
        keys: as the toolkit names them; the first is the one that is shown.
        key_label: how the footer and the help write the key.
        label: one word for the footer, "" where it is only in the help.
        help: what it does, a sentence.
        roles: who may; EVERYONE (empty) needs no key at all.
        screens: where it works.
        control: it acts on the plant: refused unless what is on the screen is live.
        keep: how long the footer keeps it when it is narrow; the lowest goes first.
    """

    id: str
    keys: tuple[str, ...]
    key_label: str
    label: str
    help: str
    roles: frozenset[str]
    screens: frozenset[str]
    control: bool = False
    keep: int = 0


ACTIONS: tuple[Action, ...] = (
    Action("operate", ("enter", "o"), "Enter", "Move", "Move the selected house: see the effect, then confirm",
           OPERATORS, frozenset({MAIN}), control=True, keep=90),
    Action("accept", ("p",), "p", "Accept", "Accept the proposed move (in MANUAL)",
           OPERATORS, frozenset({MAIN}), control=True, keep=35),
    Action("undo", ("u",), "u", "Undo", "Choose a switch in the log; again: take it back, with the same checks",
           OPERATORS, frozenset({MAIN, LOG}), control=True, keep=80),
    Action("acknowledge", ("a",), "a", "Ack", "Choose an alarm; again: acknowledge it",
           TAGGERS, frozenset({MAIN, ALARMS}), control=True, keep=85),
    Action("mode", ("m",), "m", "Mode", "Change between AUTO, MANUAL and HOLD",
           OPERATORS, frozenset({MAIN}), control=True, keep=80),
    Action("tag", ("t",), "t", "Tag", "Tag or untag the selected house (T: the whole feeder)",
           TAGGERS, frozenset({MAIN}), control=True, keep=60),
    Action("tag_feeder", ("T",), "T", "", "Tag or untag the whole feeder",
           TAGGERS, frozenset({MAIN}), control=True),
    Action("why", ("w",), "w", "Why", "Why the selected house was moved, or was not",
           READERS, frozenset({MAIN}), keep=55),
    Action("sort", ("s",), "s", "Sort", "Sort the houses by the next column (S: turn the order round)",
           EVERYONE, frozenset({MAIN}), keep=20),
    Action("reverse", ("S",), "S", "", "Turn the order of the houses round", EVERYONE, frozenset({MAIN})),
    Action("filter", ("slash",), "/", "Filter",
           "Show only houses with these words: R Y B, bad, tag, pv, note, or part of the id or pole",
           EVERYONE, frozenset({MAIN}), keep=50),
    Action("help", ("question_mark", "f1"), "?", "Help", "This page", EVERYONE, EVERYWHERE, keep=100),
    Action("alarms", ("f3",), "F3", "Alm", "All alarms, with what to do", EVERYONE, EVERYWHERE, keep=41),
    Action("log", ("f4",), "F4", "Log", "The whole switch log, with its reasons", EVERYONE, EVERYWHERE, keep=40),
    Action("compare", ("f6",), "F6", "Comp", "Today with and without switching, side by side",
           EVERYONE, EVERYWHERE, keep=44),
    Action("report", ("f7",), "F7", "PDF", "Write today's report as PDF", EVERYONE, EVERYWHERE, keep=43),
    Action("back", ("escape",), "Esc", "Back", "Back; on the main screen: clear the filter, return to the houses",
           EVERYONE, EVERYWHERE, keep=15),
    Action("redraw", ("ctrl+l",), "Ctrl+L", "", "Draw the screen anew", EVERYONE, EVERYWHERE),
    Action("quit", ("q", "ctrl+c"), "q", "Quit", "Leave the control room; the Pi goes on",
           EVERYONE, EVERYWHERE, keep=10),
)
BY_ID = {action.id: action for action in ACTIONS}


def of_screen(screen: str) -> Iterable[Action]:
    """The actions that `screen` offers, in the order of the table."""
    return (action for action in ACTIONS if screen in action.screens)


def barred_by_role(action: Action, role: str, has_key: bool) -> str:
    """Why a person of this role may not do this, "" where they may. The Pi checks again, with its own list."""
    if not action.roles:
        return ""
    if not has_key:
        return f"{action.label or action.id}: this session is view-only; start it with --operator NAME and its key"
    if role not in action.roles:
        return f"{action.label or action.id}: a {role} may not; it takes one of {', '.join(sorted(action.roles))}"
    return ""
