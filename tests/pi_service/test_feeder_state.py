"""What is believed of the feeder: quality and age, what is no news, phases, the planner's observation, figures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from balancer.feeder import Feeder
from balancer.phasor import house_current, phase_sums
from pi_service.clock import ManualClock
from pi_service.contract import Ack, MessageRefused, NodeStatus
from pi_service.feeder_state import FeederState, StateSettings
from pi_service.figures import figures
from pi_service.ingest import AckReport, HouseSample, MeterSample, StatusReport
from pi_service.seal import METER


class Street:
    """Feeds a FeederState as the ingest does."""

    def __init__(self, state: FeederState, field: Any, clock: ManualClock) -> None:
        self.state, self.field, self.clock = state, field, clock

    def send(self, house: str, sealed: bool = True, **values: object) -> None:
        reading = self.field.reading(house, **values)
        self.state.take(HouseSample(house, reading, sealed, self.clock.now(), self.clock.monotonic()))

    def send_all(self, **values: object) -> None:
        for house in self.state.feeder.house_ids:
            self.send(house, **values)

    def send_meter(self, sealed: bool = True, **values: object) -> None:
        self.state.take(MeterSample(self.field.meter(**values), sealed, self.clock.now(), self.clock.monotonic()))

    def ack(self, house: str, phase: str, ts: float | None = None) -> None:
        ack = Ack(id="C000001", house=house, result="done", phase=phase, counter=1, boot=1,
                  ts=self.clock.now() if ts is None else ts)
        self.state.take(AckReport(house, ack, self.clock.now(), self.clock.monotonic()))

    def status(self, house: str, online: bool, boot: int = 1) -> None:
        self.state.take(StatusReport(house, NodeStatus(online, boot), self.clock.now(), self.clock.monotonic()))


@pytest.fixture
def make(feeder: Feeder, field: Any, clock: ManualClock) -> Any:
    return lambda **settings: Street(FeederState(feeder, clock, StateSettings(**settings)), field, clock)


@pytest.fixture
def street(make: Any) -> Street:
    return make()


def refusal(street: Street, house: str = "H001", **values: object) -> str:
    before = street.state.latest(house)
    with pytest.raises(MessageRefused) as caught:
        street.send(house, **values)
    assert street.state.latest(house) == before, "a refused reading changes nothing"
    return caught.value.reason


# ---------------------------------------------------------------- quality and age


def test_before_the_first_reading_nothing_is_known(street: Street) -> None:
    street.clock.advance(7)
    state = street.state
    assert (state.latest("H001"), state.quality("H001"), state.age_s("H001")) == (None, "B", 7.0)
    assert (state.phase("H001"), state.contact("H001"), state.online("H001")) == (-1, None, False)
    assert state.usable("H001") is None
    assert state.meter_quality() == "B"


def test_a_sealed_fresh_reading_is_good_and_grows_stale(street: Street) -> None:
    street.send("H001")
    street.clock.advance(15)
    assert (street.state.quality("H001"), street.state.age_s("H001")) == ("G", 15.0)
    street.clock.advance(0.1)
    assert street.state.quality("H001") == "B"
    assert street.state.usable("H001") is None


def test_a_plain_reading_is_shown_as_uncertain_and_decides_nothing(street: Street) -> None:
    street.send("H001", sealed=False, phase="B", voltage=229.5)
    state = street.state
    assert state.quality("H001") == "U"
    assert state.shown("H001").reading.voltage == 229.5
    assert state.usable("H001") is None
    assert state.phase("H001") == -1
    assert not state.online("H001")
    assert not state.observation().good[0]
    assert state.observation().load_kw[0] == pytest.approx(0.918)


def test_a_site_may_accept_plain_telemetry(make: Any) -> None:
    street = make(accept_plain_telemetry=True)
    street.send("H001", sealed=False, phase="B")
    assert street.state.usable("H001") is not None
    assert street.state.phase("H001") == 2
    assert street.state.observation().good[0]
    assert street.state.quality("H001") == "U"


def test_a_plain_reading_is_drawn_but_does_not_unseat_the_sealed_one(street: Street) -> None:
    street.send("H001", power=1.0)
    street.clock.advance(1)
    street.send("H001", sealed=False, phase="Y", power=9.0, seq=10**9, boot=10**9)
    state = street.state
    assert state.quality("H001") == "U"
    assert state.latest("H001").reading.power == 9.0
    assert state.phase("H001") == 0
    assert state.observation().load_kw[0] == 1.0
    assert state.observation().good[0]
    street.clock.advance(1)
    street.send("H001", power=2.0)
    assert state.quality("H001") == "G"


def test_a_plain_flood_does_not_hide_that_the_node_fell_silent(street: Street) -> None:
    street.send("H001")
    for _ in range(60):
        street.clock.advance(1)
        street.send("H001", sealed=False)
    assert street.state.age_s("H001") == 0.0
    assert street.state.trusted_age_s("H001") == 60.0


def test_a_reading_measured_long_ago_is_uncertain(street: Street) -> None:
    street.send("H001", ts=street.clock.now() - 121)
    assert street.state.quality("H001") == "U"
    assert not street.state.observation().good[0]


def test_a_sealed_reading_that_any_replay_could_be_is_uncertain(street: Street) -> None:
    street.send("H001", ts=None, seq=None, boot=None)
    assert street.state.quality("H001") == "U"
    street.send("H002", ts=None)
    assert street.state.quality("H002") == "G"


# ---------------------------------------------------------------- what is no news


def test_the_same_reading_twice_is_refused(street: Street) -> None:
    street.send("H001", seq=5)
    assert refusal(street, seq=5) == "stale-seq"
    assert refusal(street, seq=4) == "stale-seq"
    street.send("H001", seq=6)


def test_a_reading_dated_before_the_last_one_is_refused(street: Street) -> None:
    street.send("H001")
    assert refusal(street, seq=99, ts=street.clock.now() - 1) == "stale-seq"


def test_a_reading_from_the_future_is_refused(street: Street) -> None:
    assert refusal(street, ts=street.clock.now() + 11) == "future-ts"
    street.send("H001", ts=street.clock.now() + 9)


def test_a_reading_from_1970_is_taken_as_uncertain_until_the_clock_is_set(street: Street) -> None:
    street.send("H001", ts=100.0)
    assert street.state.quality("H001") == "U"
    street.send("H001")
    assert street.state.quality("H001") == "G"


def test_after_a_reboot_seq_may_start_again(street: Street) -> None:
    street.send("H001", seq=5000, boot=1)
    street.clock.advance(1)
    street.send("H001", seq=1, boot=2)


def test_a_reading_of_an_older_boot_is_refused(street: Street) -> None:
    street.send("H001", seq=5, boot=3, ts=None)
    assert refusal(street, seq=9000, boot=2, ts=None) == "stale-seq"


def test_a_reflashed_node_that_counts_boots_from_one_is_taken_by_its_time(street: Street) -> None:
    street.send("H001", seq=5, boot=30)
    street.clock.advance(1)
    street.send("H001", seq=1, boot=1)
    assert refusal(street, seq=6, boot=30, ts=street.clock.now() - 1) == "stale-seq"


def test_the_meters_readings_are_held_to_the_same_order(street: Street) -> None:
    street.send_meter(seq=5)
    with pytest.raises(MessageRefused, match="stale-seq"):
        street.send_meter(seq=5)
    with pytest.raises(MessageRefused, match="future-ts"):
        street.send_meter(ts=street.clock.now() + 60)


# ---------------------------------------------------------------- online and the confirmed phase


def test_a_node_is_online_by_its_birth_or_by_a_sealed_word_and_offline_by_its_will(street: Street) -> None:
    street.status("H001", True)
    assert street.state.online("H001")
    street.status("H001", False)
    assert not street.state.online("H001")
    street.send("H001")
    assert street.state.online("H001")


def test_a_will_that_comes_after_a_new_birth_is_not_believed(street: Street) -> None:
    street.send("H001", boot=2)
    with pytest.raises(MessageRefused, match="stale-seq"):
        street.status("H001", False, boot=1)
    assert street.state.online("H001")


def test_the_meter_has_a_status_too(street: Street) -> None:
    street.status(METER, True)
    street.send_meter()
    assert street.state.meter_quality() == "G"


def test_contact_feedback_wins_over_the_phase_that_a_node_believes(street: Street) -> None:
    street.send("H001", phase="R", relay="Y")
    assert street.state.phase("H001") == 1
    street.clock.advance(1)
    street.send("H001", phase="Y", relay="open")
    assert (street.state.contact("H001"), street.state.phase("H001")) == ("open", -1)
    street.clock.advance(1)
    street.send("H001", phase="Y", relay="fault")
    assert street.state.phase("H001") == -1


def test_an_ack_confirms_the_contact_and_a_reading_measured_before_it_does_not_undo_that(street: Street) -> None:
    street.send("H001")
    street.clock.advance(2)
    street.ack("H001", "B")
    street.send("H001", phase="R", ts=street.clock.now() - 1)
    assert street.state.phase("H001") == 2
    street.clock.advance(1)
    street.send("H001", phase="B")
    assert street.state.contact_at("H001") == street.clock.now()


def test_an_old_ack_that_is_replayed_confirms_nothing(street: Street) -> None:
    before = street.clock.now()
    street.clock.advance(3600)
    street.send("H001", phase="Y")
    street.ack("H001", "R", ts=before)
    assert street.state.phase("H001") == 1


def test_an_ack_dated_ahead_does_not_close_the_ear_to_what_follows(street: Street) -> None:
    street.ack("H001", "B", ts=street.clock.now() + 1e6)
    street.clock.advance(1)
    street.send("H001", phase="Y")
    assert street.state.phase("H001") == 1


# ---------------------------------------------------------------- the observation


def test_net_power_gives_the_load_behind_the_meter(street: Street) -> None:
    street.send("H001", power=-1.2, reactive_power=0.3, solar_injection=2.0)
    street.send("H002", voltage=230.0, current=10.0, solar_injection=1.5)
    seen = street.state.observation()
    assert (seen.load_kw[0], seen.load_kvar[0], seen.pv_kw[0]) == (pytest.approx(0.8), 0.3, 2.0)
    assert seen.load_kw[1] == pytest.approx(2.3)
    assert seen.load_kvar[1] == pytest.approx(2.3 * math.tan(math.acos(0.95)))
    assert np.isnan(seen.load_kw[2])
    assert seen.good.tolist() == [True, True] + [False] * 7
    assert seen.phase.tolist() == [0, 0] + [-1] * 7


def test_the_service_adds_its_vetoes_and_counts(street: Street) -> None:
    seen = street.state.observation(blocked={"H002": "tagged"}, switches_today={"H003": 2})
    assert seen.blocked[:3] == ("", "tagged", "")
    assert seen.switches_today[:3].tolist() == [0, 0, 2]
    assert seen.at == street.clock.now()


def test_the_transformers_values_are_there_while_the_meter_is_fresh(street: Street) -> None:
    street.send_meter(current=(1.0, 2.0, 3.0))
    assert street.state.observation().phase_current_a.tolist() == [1.0, 2.0, 3.0]
    assert street.state.observation().transformer_voltage_v.tolist() == [240.0] * 3
    street.clock.advance(16)
    assert np.isnan(street.state.observation().phase_current_a).all()


def sunny(street: Street, **more: object) -> None:
    """H001, H004 and H007 have PV of 3 kWp."""
    for house in ("H001", "H004", "H007"):
        street.send(house, solar_injection=2.0, **more)


def test_pv_that_stops_with_a_switch_is_tripped_until_it_comes_back(street: Street) -> None:
    sunny(street)
    street.clock.advance(1)
    street.ack("H001", "B")
    assert street.state.pv_tripped().tolist() == [True] + [False] * 8
    for _ in range(20):
        street.clock.advance(10)
        street.send("H001", phase="B", solar_injection=0.0)
        street.send("H004", solar_injection=2.0)
    assert street.state.pv_tripped()[0]
    street.clock.advance(10)
    street.send("H001", phase="B", solar_injection=1.9)
    street.send("H004", solar_injection=2.0)
    assert not street.state.pv_tripped().any()
    street.clock.advance(10)
    street.send("H001", phase="B", solar_injection=0.0)
    assert not street.state.pv_tripped().any(), "a cloud later is not the switch's doing"


def test_a_reading_from_before_the_switch_that_is_late_does_not_end_the_trip(street: Street) -> None:
    sunny(street)
    street.clock.advance(2)
    street.ack("H001", "B")
    street.send("H001", phase="R", solar_injection=2.0, ts=street.clock.now() - 1)
    assert street.state.pv_tripped()[0]


def test_a_switch_seen_through_an_open_contact_is_one_switch(street: Street) -> None:
    sunny(street)
    street.clock.advance(1)
    street.send("H001", relay="open", solar_injection=0.0)
    street.clock.advance(1)
    street.send("H001", phase="B", relay="B", solar_injection=0.0)
    street.send("H004", solar_injection=2.0)
    assert street.state.pv_tripped()[0]


def test_pv_is_not_tripped_when_it_made_nothing_before_or_the_sun_has_gone(street: Street) -> None:
    street.send("H001", solar_injection=0.0)
    street.send("H004", solar_injection=2.0)
    street.clock.advance(1)
    street.ack("H001", "B")
    assert not street.state.pv_tripped().any()
    street.ack("H004", "B")
    street.send("H001", phase="B", solar_injection=0.0)
    street.send("H007", solar_injection=0.0)
    assert not street.state.pv_tripped().any(), "no peer produces: it is night"


def test_a_trip_is_given_up_after_its_longest_time(street: Street) -> None:
    sunny(street)
    street.clock.advance(1)
    street.ack("H001", "B")
    street.clock.advance(600)
    sunny_peers = [street.send(house, solar_injection=2.0) for house in ("H004", "H007")]
    assert len(sunny_peers) == 2
    assert street.state.pv_tripped()[0]
    street.clock.advance(1)
    assert not street.state.pv_tripped().any()


# ---------------------------------------------------------------- figures of the feeder


def test_the_meter_is_the_truth_of_the_feeder(street: Street) -> None:
    street.send_meter(current=(30.0, 20.0, 10.0), neutral_current=17.3, line_voltage=(410.0, 416.0, 420.0))
    now = figures(street.state)
    assert [amps.value for amps in now.current_a] == [30.0, 20.0, 10.0]
    assert (now.neutral_a.value, now.neutral_a.quality) == (17.3, "G")
    assert now.unbalance_percent.value == pytest.approx(50.0)
    assert now.power_kw.value == pytest.approx(7.2)
    assert now.vuf_percent.value == pytest.approx(1.41, abs=0.02)


def test_a_plain_meter_is_shown_as_uncertain(street: Street) -> None:
    street.send_meter(sealed=False)
    assert figures(street.state).neutral_a.quality == "U"
    assert np.isnan(street.state.observation().phase_current_a).all()


def test_without_a_meter_the_houses_are_summed_as_phasors_and_vuf_is_not_guessed(street: Street) -> None:
    for house, phase, kw in (("H001", "R", 2.0), ("H002", "Y", -1.0), ("H003", "B", 1.0)):
        street.send(house, phase=phase, power=kw, reactive_power=0.5, solar_injection=1.0)
    now = figures(street.state)
    phase = np.array([0, 1, 2])
    expected = phase_sums(house_current(np.array([2.0, -1.0, 1.0]), np.full(3, 0.5), np.full(3, 230.0)), phase)
    assert now.neutral_a.value == pytest.approx(abs(expected.sum()))
    assert [amps.value for amps in now.current_a] == pytest.approx(np.abs(expected).tolist())
    assert (now.neutral_a.quality, now.vuf_percent.quality, now.vuf_percent.value) == ("U", "B", None)
    assert now.power_kw.value == pytest.approx(2.0)
    assert now.neutral_mismatch_a is None


def test_with_nothing_fresh_every_figure_is_bad(street: Street) -> None:
    now = figures(street.state)
    assert {now.neutral_a.quality, now.power_kw.quality, now.current_a[0].quality, now.vuf_percent.quality} == {"B"}
    assert now.voltage_min_v is None


def test_the_neutral_is_compared_with_the_houses_only_when_all_of_them_are_sealed_and_fresh(street: Street) -> None:
    street.send_all(phase="R", power=1.15, reactive_power=0.0)      # 9 x 5 A on R
    street.send_meter(neutral_current=45.5)
    assert figures(street.state).neutral_mismatch_a == pytest.approx(0.5)
    street.clock.advance(1)
    street.send("H001", phase="Y", power=1.15, reactive_power=0.0)      # 40 A at 0, 5 A at -120 degrees
    assert figures(street.state).neutral_mismatch_a == pytest.approx(45.5 - math.sqrt(40**2 + 5**2 - 40 * 5))
    street.clock.advance(1)
    street.send("H002", sealed=False, phase="R", power=9.0)
    assert figures(street.state).neutral_mismatch_a is None


def test_a_dead_supply_draws_no_current_whatever_is_said(street: Street) -> None:
    street.send("H001", voltage=2.0, power=1.0)
    assert figures(street.state).current_a[0].value == 0.0
    assert figures(street.state).voltage_min_v is None


def test_houses_read_dimly_still_give_the_span_of_voltages(street: Street) -> None:
    for house, volts in (("H001", 225.0), ("H002", 251.0), ("H003", 240.0)):
        street.send(house, voltage=volts)
    now = figures(street.state)
    assert (now.voltage_min_v, now.voltage_max_v) == (225.0, 251.0)
