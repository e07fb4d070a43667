"""The selector on its board: one section per invariant of firmware/core/selector.py, by its number."""

from __future__ import annotations

import pytest

from firmware.core.selector import DEFAULTS, Selector
from firmware.hal.sim import MemoryStore, SimHal

R, Y, B = range(3)
RESIDUAL_MS = DEFAULTS["residual_timeout_ms"]
MOVE_MS = RESIDUAL_MS + 1000          # no move of a healthy or faulty board takes longer without its fall-back


# ---------------------------------------------------------------- 1: one coil, one contact


def test_1_a_move_opens_everything_before_it_closes_the_next(bench):
    bench.send(B)
    seen = []
    while bench.node.busy:
        bench.run(5)
        seen.append(tuple(bench.closed))
    assert [s for i, s in enumerate(seen) if i == 0 or s != seen[i - 1]] == [(R,), (), (B,)]
    assert bench.ack()["dead_ms"] >= DEFAULTS["dead_ms"]
    bench.check_truthful()


def test_1_a_weld_on_a_dead_feeder_is_no_proof_of_an_open_contact(bench):
    bench.hal.supply = [0.0, 0.0, 0.0]
    bench.hal.weld(R)
    bench.send(Y)
    bench.rest()
    bench.hal.supply = [240.0, 240.0, 240.0]
    bench.run(1000)
    assert (bench.selector.state, bench.selector.failure) == ("FAULT", "welded")
    assert bench.closed == [R]
    bench.check_truthful()


def test_1_a_contact_that_recloses_in_the_dead_gap_stops_the_move(bench):
    bench.send(Y)
    bench.until("DEAD", 200)
    bench.hal.contacts[R].welded = True
    bench.rest()
    assert (bench.selector.state, bench.selector.failure) == ("FAULT", "reclosed")
    assert bench.hal.closings == []
    bench.check_truthful()


@pytest.mark.parametrize("state", ["CLOSING", "VERIFY", "CLOSED"])
def test_1_a_second_contact_that_closes_by_itself_drops_the_first(bench, state):
    bench.send(Y)
    bench.until(state, 500)
    bench.hal.contacts[B].welded = True
    bench.run(30)
    assert (bench.selector.state, bench.selector.failure) == ("FAULT", "overlap")
    assert bench.closed == [B]
    assert not any(contact.coil for contact in bench.hal.contacts)


def test_1_a_contact_that_recloses_while_all_should_be_open_is_a_fault(bench):
    bench.hal.supply = [0.0, 0.0, 0.0]
    bench.send(Y)
    bench.until("SAFE_OPEN", MOVE_MS)
    bench.run(1000)
    assert bench.selector.state == "SAFE_OPEN"
    bench.hal.contacts[B].welded = True
    bench.run(10)
    assert (bench.selector.state, bench.selector.failure) == ("FAULT", "reclosed")


def test_1_a_reset_leaves_no_other_coil_driven(bench):
    bench.hal.stick_open(Y)
    bench.hal.coil(Y, True)
    bench.hal.coils_together = 0
    bench.reboot()
    bench.hal.mend(Y)
    bench.run(100)
    assert bench.closed == [R]
    bench.check_truthful()


# ---------------------------------------------------------------- 2: bounded, verified or safe with a reason


def test_2_a_good_move_is_verified_quickly(bench):
    bench.send(Y)
    bench.rest(within_ms=500)
    assert (bench.selector.state, bench.selector.phase, bench.selector.failure) == ("CLOSED", Y, "")
    assert bench.store.get("verified", None) == Y


@pytest.mark.parametrize(("fault", "reason"), [("stuck", "not-closed"), ("dead", "dead-phase")])
def test_2_a_target_that_does_not_take_the_house_falls_back(bench, fault, reason):
    if fault == "stuck":
        bench.hal.stick_open(B)
    else:
        bench.hal.supply[B] = 0.0
    bench.send(B)
    bench.rest(within_ms=2 * MOVE_MS)
    assert (bench.selector.state, bench.selector.phase) == ("CLOSED", R)
    ack = bench.ack()
    assert (ack["result"], ack["reason"], ack["phase"]) == ("failed", reason, "R")
    bench.check_truthful()


def test_2_a_contact_that_closes_and_opens_again_is_not_verified(bench):
    bench.send(B)
    bench.until("VERIFY", 500)
    bench.hal.stick_open(B)
    bench.rest(within_ms=2 * MOVE_MS)
    assert (bench.selector.phase, bench.ack()["reason"]) == (R, "bounced")
    assert bench.store.get("verified", None) == R


def test_2_a_good_move_after_a_failed_one_tells_no_old_failure(make_bench):
    bench = make_bench(dwell_s=0)
    bench.hal.stick_open(B)
    assert bench.switch(B)["reason"] == "not-closed"
    bench.hal.mend(B)
    ack = bench.switch(B)
    assert (ack["result"], ack["reason"]) == ("done", "")


def test_2_the_dead_gap_that_is_told_begins_when_the_contacts_were_open_for_good(bench):
    bench.hal.back_feed_ms = 400
    bench.send(Y)
    bench.run(30)
    bench.hal.contacts[R].welded = True
    bench.run(100)
    opened_again = bench.hal.now
    bench.hal.contacts[R].welded = False
    bench.rest()
    ack = bench.ack()
    assert (ack["result"], ack["phase"]) == ("done", "Y")
    assert 0 <= bench.hal.closings[0][0] - opened_again - ack["dead_ms"] <= 5


def test_2_on_a_dead_feeder_it_ends_all_open_and_retries_until_the_feeder_is_back(bench):
    bench.hal.supply = [0.0, 0.0, 0.0]
    bench.send(Y)
    bench.rest(within_ms=2 * MOVE_MS)
    assert (bench.selector.state, bench.selector.failure) == ("SAFE_OPEN", "dead-phase")
    bench.check_truthful()
    bench.run(DEFAULTS["retry_ms"] * 2)
    assert bench.selector.state != "FAULT"
    bench.hal.supply = [240.0, 240.0, 240.0]
    bench.run(DEFAULTS["retry_ms"] + MOVE_MS)
    assert (bench.selector.state, bench.selector.phase, bench.selector.failure) == ("CLOSED", R, "")


def test_2_all_open_is_claimed_only_when_the_mirrors_prove_it(bench):
    bench.hal.supply = [0.0, 0.0, 0.0]
    bench.hal.contacts[B].release_ms = 60
    bench.send(B)
    bench.run(2000, step_ms=1)
    for _ in range(3000):
        bench.run(1, step_ms=1)
        bench.check_truthful()
    assert bench.selector.state == "SAFE_OPEN"


def test_2_a_load_side_that_stays_alive_is_waited_for_then_left_open(bench):
    bench.send(Y)
    bench.hal.genset_v = 230.0
    bench.rest(within_ms=MOVE_MS)
    assert (bench.selector.state, bench.selector.failure) == ("SAFE_OPEN", "live-bus")
    assert bench.hal.closings == []
    bench.check_truthful()


@pytest.mark.parametrize("every_ms", [5, 50])
def test_2_a_load_side_that_comes_and_goes_is_not_waited_for_forever(bench, every_ms):
    bench.send(Y)
    for _ in range(0, RESIDUAL_MS + 1000, every_ms):
        bench.hal.genset_v = 230.0 - bench.hal.genset_v
        bench.run(every_ms)
    assert (bench.selector.state, bench.selector.failure) == ("SAFE_OPEN", "live-bus")
    assert bench.hal.closings == []


def test_2_nothing_closes_onto_a_load_side_that_came_alive_in_the_dead_gap(bench):
    bench.send(Y)
    bench.until("DEAD", 200)
    bench.hal.genset_v = 230.0
    bench.run(500)
    assert bench.selector.state == "OPENING"
    assert bench.hal.closings == []
    bench.hal.genset_v = 0.0
    bench.rest()
    assert bench.selector.phase == Y


def test_2_back_feed_of_pv_is_waited_out(bench):
    bench.hal.back_feed_ms = 1500
    bench.send(Y)
    bench.rest(within_ms=MOVE_MS)
    assert bench.selector.phase == Y
    assert bench.hal.closings[0][0] > 1200


def test_2_a_contact_that_opens_by_itself_is_told_and_tried_again(bench):
    bench.hal.stick_open(R)
    bench.run(10)
    assert (bench.selector.state, bench.selector.failure) == ("SAFE_OPEN", "opened-by-itself")
    assert bench.node.phase is None
    bench.hal.mend(R)
    bench.run(100)
    assert bench.selector.state == "SAFE_OPEN" and bench.closed == []
    bench.run(DEFAULTS["retry_ms"] + MOVE_MS)
    assert (bench.selector.phase, bench.selector.failure) == (R, "")


def test_2_a_fault_stays_until_a_person_resets_it(bench):
    bench.hal.weld(R)
    bench.send(Y)
    bench.rest()
    assert bench.ack()["result"] == "failed"
    bench.reboot()
    bench.run(60_000)
    assert (bench.selector.state, bench.selector.failure, bench.node.phase) == ("FAULT", "welded", None)
    bench.send(B)
    assert bench.ack()["reason"] == "fault"
    bench.hal.mend(R)
    bench.selector.reset_fault()
    bench.rest()
    assert (bench.selector.state, bench.selector.phase, bench.selector.failure) == ("CLOSED", R, "")
    bench.reboot()
    assert bench.selector.state == "CLOSED"


def test_2_a_reset_with_the_feeder_dead_tries_the_last_phase_once_then_stays_open(bench):
    bench.hal.weld(R)
    bench.send(Y)
    bench.rest()
    bench.hal.mend(R)
    bench.hal.supply = [0.0, 0.0, 0.0]
    bench.selector.reset_fault()
    bench.rest()
    assert (bench.selector.state, bench.selector.failure) == ("SAFE_OPEN", "dead-phase")
    assert [contact for _, contact in bench.hal.closings] == [R]


def test_2_there_is_nothing_to_reset_where_there_is_no_fault(bench):
    bench.selector.reset_fault()
    assert (bench.selector.state, bench.closed) == ("CLOSED", [R])
    bench.send(Y)
    bench.run(100)
    bench.selector.reset_fault()
    bench.rest()
    assert bench.ack()["result"] == "done"


def test_2_a_fault_drops_the_coil_in_the_very_step_that_sees_it(bench):
    bench.hal.contacts[B].welded = True
    bench.node.step()
    assert bench.selector.state == "FAULT"
    assert not any(contact.coil for contact in bench.hal.contacts)


def test_2_in_a_fault_the_coils_are_released_again_and_again(bench):
    bench.hal.weld(R)
    bench.send(Y)
    bench.rest()
    bench.hal.coil(B, True)
    bench.run(5)
    assert not any(contact.coil for contact in bench.hal.contacts)


def test_2_a_fault_before_the_first_phase_was_ever_verified_can_be_reset(make_bench):
    bench = make_bench(on=None)
    bench.hal.contacts[Y].welded = True
    bench.rest()
    assert bench.selector.state == "FAULT"
    bench.hal.mend(Y)
    bench.selector.reset_fault()
    bench.rest()
    assert (bench.selector.state, bench.selector.failure) == ("SAFE_OPEN", "never-commissioned")


def test_2_the_clock_of_the_board_may_wrap_in_the_middle_of_a_move(bench):
    bench.hal.now = 0x3FFFFFFF - 60
    for contact in bench.hal.contacts:
        contact.changed_at = bench.hal.now - 1000
    bench.send(Y)
    bench.rest(within_ms=500)
    assert bench.selector.phase == Y
    assert bench.ack()["dead_ms"] < 500


def test_2_the_clock_of_the_board_may_wrap_while_it_waits_for_a_live_load_side(bench):
    bench.hal.now = 0x3FFFFFFF - 60
    for contact in bench.hal.contacts:
        contact.changed_at = bench.hal.now - 1000
    bench.hal.genset_v = 230.0
    bench.send(Y)
    bench.rest(within_ms=MOVE_MS)
    assert bench.selector.failure == "live-bus"


# ---------------------------------------------------------------- 3 and 4: see also test_jwe_and_commands.py


def test_3_the_same_command_again_gives_the_same_answer_and_no_motion(bench):
    payload = bench.send(Y)
    bench.rest()
    first = bench.ack()
    bench.node.receive(payload)
    bench.run(1000)
    assert bench.ack() == first
    assert bench.hal.closings == [(bench.hal.closings[0][0], Y)]


def test_4_the_counter_is_on_disk_before_anything_moves(bench):
    bench.send(Y)
    names = [name for name, _, coils in bench.store.log if coils == (True, False, False)]
    assert names.index("counter") < names.index("intent")
    assert bench.store.get("counter", 0) == 1


# ---------------------------------------------------------------- 5: dwell and rate


def test_5_the_dwell_holds_also_after_a_reboot(make_bench):
    bench = make_bench(dwell_s=600)
    assert bench.switch(Y)["result"] == "done"
    bench.reboot()
    assert bench.switch(B)["reason"] == "dwell"
    bench.run(600_000, step_ms=1000)
    assert bench.switch(B)["result"] == "done"


def test_5_going_back_where_it_came_from_needs_no_dwell(make_bench):
    bench = make_bench(dwell_s=600)
    bench.switch(Y)
    bench.reboot()
    assert bench.switch(R)["result"] == "done"


def test_5_the_hourly_rate_holds_also_after_a_reboot_and_on_the_way_back(make_bench):
    bench = make_bench(dwell_s=0, rate_per_hour=3)
    for target in (Y, B, Y):
        assert bench.switch(target)["result"] == "done"
    bench.reboot()
    assert bench.switch(B)["reason"] == "rate"
    assert bench.closed == [Y]
    bench.run(3_600_000, step_ms=5000)
    assert bench.switch(B)["result"] == "done"


# ---------------------------------------------------------------- 6: nobody there


def test_6_without_pi_and_broker_nothing_moves(bench):
    bench.switch(Y)
    moved = len(bench.hal.closings)
    bench.run(24 * 3_600_000, step_ms=20_000)
    assert len(bench.hal.closings) == moved
    assert bench.closed == [Y]


# ---------------------------------------------------------------- 7: intent first


def test_7_intent_and_move_count_are_stored_while_the_old_coil_still_holds(bench):
    bench.send(Y)
    stored = {name: (value, coils) for name, value, coils in bench.store.log}
    assert stored["intent"] == (Y, (True, False, False))
    assert stored["last_switch"] == (["C000001", "moving", "Y"], (True, False, False))
    assert stored["moves"][1] == (True, False, False)
    assert not any(contact.coil for contact in bench.hal.contacts)


# ---------------------------------------------------------------- 8: power-up


def test_8_a_house_on_its_verified_phase_does_not_notice_a_reset(bench):
    bench.reboot()
    for _ in range(1000):
        bench.run(5)
        assert bench.closed == [R]
    assert bench.node.phase == R


def test_8_during_the_hold_and_a_retry_no_other_move_can_begin(make_bench):
    bench = make_bench(bistable=False)
    bench.hal.power_cycle()
    bench.reboot()
    bench.send(Y)
    assert bench.ack()["reason"] == "busy"
    bench.rest()
    assert bench.closed == [R]
    bench.hal.stick_open(R)
    bench.run(10)
    bench.run(DEFAULTS["retry_ms"])
    assert bench.selector.state in ("OPENING", "DEAD", "CLOSING")
    bench.send(Y)
    assert bench.ack()["reason"] == "busy"


@pytest.mark.parametrize(("noise", "hold_ms"), [(b"\x00", 2000), (b"\x80", 16_000), (b"\xff", 30_000)])
def test_8_contacts_that_dropped_close_after_a_random_hold(make_bench, noise, hold_ms):
    bench = make_bench(bistable=False)
    bench.hal.noise = noise
    bench.hal.power_cycle()
    began = bench.hal.now
    bench.reboot()
    bench.rest()
    assert hold_ms <= bench.hal.closings[0][0] - began < hold_ms + 500
    assert bench.closed == [R]


def test_8_another_contact_than_the_verified_one_is_opened_first(make_bench):
    bench = make_bench()
    bench.store.put("verified", B)
    bench.reboot()
    bench.run(100)
    assert bench.closed == []
    bench.rest()
    assert bench.closed == [B]
    bench.check_truthful()


def test_8_two_closed_contacts_at_power_up_are_both_released(bench):
    bench.hal.contacts[Y].settled = bench.hal.contacts[Y].coil = True
    bench.reboot()
    bench.run(50)
    assert bench.closed == []
    bench.rest()
    assert bench.closed == [R]


def test_8_never_commissioned_stays_open_until_it_is_told_a_phase(make_bench):
    bench = make_bench(on=None)
    bench.rest()
    for _ in range(12_000):
        bench.run(5)
        assert (bench.selector.state, bench.selector.failure) == ("SAFE_OPEN", "never-commissioned")
    assert bench.hal.closings == []
    assert bench.switch(B)["result"] == "done"


def test_8_a_reset_in_any_instant_of_a_move_ends_on_a_verified_phase_and_is_answered(make_bench):
    for cut_ms in range(0, 260, 4):
        bench = make_bench()
        bench.send(Y)
        bench.run(cut_ms, step_ms=1)
        if bench.acks():
            break
        bench.reboot()
        bench.rest()
        bench.check_truthful()
        ack = bench.ack()
        assert ack["phase"] == "RYB"[bench.node.phase]
        assert (ack["result"], ack["reason"]) == (("done", "") if ack["phase"] == "Y" else ("failed", "rebooted"))
    assert cut_ms > 150


def test_no_configuration_makes_the_gap_between_two_phases_shorter_than_50_ms():
    hal, store = SimHal(lambda: 1000.0), MemoryStore()
    store.put("verified", 0)
    hal.close_at_start(0)
    selector = Selector(hal, store, {"dead_ms": 0})
    selector.move(1, 1000.0)
    while not selector.resting:
        hal.advance(5)
        selector.step()
    assert selector.phase == 1
    assert selector.dead_ms >= 50
