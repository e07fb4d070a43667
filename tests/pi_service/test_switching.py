"""The life of a switch against real nodes: every way it can end, and what a restart makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware.core.selector import Selector
from pi_service.config import ControlSettings
from pi_service.contract import FINAL_STATES, Operate, Preview, PreviewResult, Undo, decode
from pi_service.store.audit import verify
from tests.pi_service.rig import Rig

HOUSE = "H002"        # on R


@pytest.fixture
def rig(tmp_path: Path, small_feeder_dir: Path) -> Rig:
    rig = Rig(tmp_path, small_feeder_dir, ControlSettings(mode="MANUAL", hold_release_s=0))
    rig.second(3)
    return rig


def move(rig: Rig, house: str = HOUSE, target: str = "B", who: str = "anil") -> str:
    """Preview and operate; the switch's id."""
    preview = decode(rig.ask(Preview(house, target), who).body, PreviewResult)
    assert [lock for lock in preview.interlocks if not lock.ok] == []
    reply = rig.ask(Operate(preview.preview_id), who)
    assert reply.ok, reply.reason
    return reply.switch_id


def states(rig: Rig, switch_id: str) -> list[str]:
    return [row.body["view"]["state"] for row in rig.station.audit.rows(
        kinds=("switch",), ref=switch_id, limit=None, newest_first=False)]


def test_a_switch_is_verified_by_contacts_and_meter(rig):
    rig.houses[HOUSE].kw = 2.5
    rig.second(2)
    switch = move(rig)
    rig.second(2)
    assert states(rig, switch) == ["PROPOSED", "AUTHORISED", "SENT", "ACKED", "VERIFIED"]
    assert rig.phase_of(HOUSE) == "B"
    proof = rig.station.audit.rows(kinds=("switch",), ref=switch, limit=1)[0].body["proof"]
    assert "meter: R -2.5" in proof and "B +2.5" in proof
    assert rig.overlap_ms == 0


def test_every_transition_is_on_disk_before_the_command_leaves(rig):
    seen: list[tuple[str, int]] = []
    deliver = rig.deliver

    def look(message):
        if message.is_command:
            view = rig.station.audit.pending()[0]
            seen.append((view.state, rig.station.audit.counter(HOUSE)))
        deliver(message)

    rig.deliver = look
    move(rig)
    assert seen == [("SENT", 2)]


def test_a_house_too_small_to_see_is_proven_by_its_contacts(rig):
    rig.houses[HOUSE].kw = 0.1
    rig.second(2)
    switch = move(rig)
    rig.second(2)
    assert rig.switch(switch).state == "VERIFIED"
    assert "too little to see" in str(rig.station.audit.rows(kinds=("switch",), ref=switch, limit=1)[0].body)


def test_a_lost_ack_is_asked_for_and_nothing_moves_twice(rig):
    rig.lose_ack = lambda house: True
    switch = move(rig)
    rig.second(5)
    assert rig.switch(switch).state == "SENT"
    rig.lose_ack = lambda house: False
    rig.second(10)
    assert rig.switch(switch).state == "VERIFIED"
    assert len(rig.houses[HOUSE].store.get("moves", [])) == 1


def test_a_command_that_never_arrived_ends_refused_once_it_has_expired(rig):
    rig.lose_command = lambda house: rig.commands_seen == 1
    switch = move(rig)
    rig.second(45)
    view = rig.switch(switch)
    assert (view.state, view.reason) == ("REFUSED", "the command never reached the node and has expired")
    assert rig.phase_of(HOUSE) == "R"


def test_a_node_that_dies_is_quarantined_and_released_when_it_proves_its_place(rig):
    rig.houses[HOUSE].dead = True
    rig.lose_command = lambda house: house == HOUSE
    rig.station.handle(f"smartphase/v1/{rig.feeder.feeder_id}/house/{HOUSE}/status", b'{"online":true}', False)
    switch = move_blind(rig)
    rig.second(200)
    assert rig.switch(switch).state == "QUARANTINED"
    assert "cannot be asked" in rig.switch(switch).reason
    locks = decode(rig.ask(Preview(HOUSE, "B")).body, PreviewResult).interlocks
    assert [lock.name for lock in locks if not lock.ok] == ["data", "service"]
    rig.houses[HOUSE].dead = False
    rig.lose_command = lambda house: False
    rig.second(130)
    assert rig.station.switching.quarantined == {}


def move_blind(rig: Rig) -> str:
    """Start a switch although the house is about to fall silent."""
    move_, effect, locks = rig.station.controller.examine(HOUSE, "B")
    return rig.station.switching.start(move_, "anil", "test", locks, effect).id


class LyingSelector(Selector):
    """Says that the contact is where it was told to be, and moves nothing."""

    claim = ""

    @property
    def contact(self):
        return self.claim or Selector.contact.fget(self)


def test_an_ack_that_lies_is_disproven_and_rolled_back(rig):
    house = rig.houses[HOUSE]
    house.kw = 2.0
    rig.second(2)
    selector = house.node.selector
    selector.__class__ = LyingSelector

    def claim(command):
        selector.claim = command["target"]
        house.node._acknowledge(command, "done", "")

    house.node._start = claim
    switch = move(rig)
    rig.second(8)
    assert "FAILED" in states(rig, switch)
    assert rig.switch(switch).state in ("ROLLED_BACK", "QUARANTINED")
    assert rig.phase_of(HOUSE) == "R"
    assert any(e.alarm and e.alarm.name == "command-failed" for e in rig.events())


def test_a_welded_contact_ends_in_quarantine_with_an_alarm(rig):
    rig.houses[HOUSE].hal.weld(0)
    switch = move(rig)
    rig.second(40)
    assert rig.switch(switch).state == "QUARANTINED"
    assert rig.phase_of(HOUSE) == "R"
    assert rig.overlap_ms == 0
    assert {e.alarm.name for e in rig.events() if e.alarm} >= {"quarantined"}


def test_a_contact_that_does_not_close_falls_back_and_ends_rolled_back(rig):
    rig.houses[HOUSE].hal.stick_open(2)
    switch = move(rig)
    rig.second(5)
    assert states(rig, switch)[-3:] == ["FAILED", "ROLLBACK_SENT", "ROLLED_BACK"]
    assert rig.phase_of(HOUSE) == "R"


def test_undo_puts_the_house_back_and_only_once(rig):
    switch = move(rig)
    rig.second(3)
    undo = rig.ask(Undo(switch))
    rig.second(3)
    assert undo.ok
    assert rig.phase_of(HOUSE) == "R"
    assert rig.switch(undo.switch_id).undo_of == switch
    assert rig.switch(switch).undone_by == undo.switch_id
    again = rig.ask(Undo(switch))
    assert (again.ok, again.reason) == (False, f"{switch} was undone by {undo.switch_id} already")


def test_one_switch_at_a_time(rig):
    first = decode(rig.ask(Preview(HOUSE, "B")).body, PreviewResult)
    other = decode(rig.ask(Preview("H005", "B"), "devi").body, PreviewResult)
    rig.lose_ack = lambda house: True
    assert rig.ask(Operate(first.preview_id)).ok
    refused = rig.ask(Operate(other.preview_id), "devi")
    assert (refused.ok, refused.reason) == (False, "in flight: S000001 moves H002")


def _move_and_wait(rig: Rig) -> None:
    move(rig)
    rig.second(5)


@pytest.mark.parametrize("died_in", ["PROPOSED", "AUTHORISED", "SENT", "ACKED", "FAILED", "ROLLBACK_SENT"])
def test_killed_in_any_state_it_comes_back_asks_and_moves_nothing_twice(rig, died_in):
    class Killed(Exception):
        pass

    if died_in in ("FAILED", "ROLLBACK_SENT"):
        rig.houses[HOUSE].hal.stick_open(2)
    changed = rig.station.switching._changed

    def die(view):
        changed(view)
        if view.state == died_in:
            raise Killed

    rig.station.switching._changed = die
    with pytest.raises(Killed):
        _move_and_wait(rig)
    rig.kill()
    rig.start()
    rig.second(60)
    view = rig.station.audit.switches(1)[0]
    assert view.state in FINAL_STATES
    moves = len(rig.houses[HOUSE].store.get("moves", []))
    assert moves <= {"PROPOSED": 0, "AUTHORISED": 0, "SENT": 0, "ACKED": 1}.get(died_in, 1)
    assert (view.state == "VERIFIED") == (rig.phase_of(HOUSE) == "B")
    assert rig.overlap_ms == 0
    assert verify(rig.data / "audit.db").ok


def test_a_counter_is_never_given_out_twice_across_restarts(rig):
    move(rig)
    rig.second(2)
    used = rig.station.audit.counter(HOUSE)
    rig.kill()
    rig.start()
    assert rig.station.audit.counter(HOUSE) == used
