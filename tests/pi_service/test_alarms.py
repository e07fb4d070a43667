"""Alarms: raised late, cleared late, told once; files that define them; what they watch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from balancer.feeder import Feeder, Limits
from pi_service.alarms import AlarmFileError, Alarms, Condition, Definition, UnknownAlarm, load_definitions
from pi_service.clock import ManualClock
from pi_service.conditions import RateConditions, feeder_conditions
from pi_service.feeder_state import FeederState, StateSettings
from pi_service.figures import figures
from pi_service.ingest import HouseSample, MeterSample

LIMITS = Limits(phase_current_a=100.0, voltage_band_percent=6.0, vuf_percent=2.0, neutral_a=40.0)
NEUTRAL = Definition("neutral", 2, "neutral_a", "Neutral {value:.0f} A, limit {limit:.0f} A", limit="neutral_a",
                     raise_above=1.0, clear_below=0.9, raise_after_s=60, clear_after_s=120)
VOLTAGE_LOW = Definition("low", 3, "volts", "{house} {value:.0f} V ({detail})", raise_below=200, clear_above=210)
FAILED = Definition("failed", 1, "command_failed", "{house}: {detail}", clear_after_s=60)


@pytest.fixture
def alarms(clock: ManualClock) -> Alarms:
    return Alarms([NEUTRAL, VOLTAGE_LOW, FAILED], LIMITS, clock)


def states(alarms: Alarms) -> list[tuple[str, str]]:
    return [(view.name, view.state) for view in alarms.transitions()]


def neutral(alarms: Alarms, value: float | None, seconds: int, clock: ManualClock) -> list[tuple[str, str]]:
    """Hold the neutral current for some seconds, updating every second; returns the transitions."""
    for _ in range(seconds):
        alarms.update([Condition("neutral_a", value)])
        clock.advance(1)
    return states(alarms)


# ---------------------------------------------------------------- raising and clearing


def test_an_alarm_is_raised_only_after_the_value_has_stayed_too_high(alarms: Alarms, clock: ManualClock) -> None:
    assert neutral(alarms, 41.0, 60, clock) == []
    assert neutral(alarms, 41.0, 1, clock) == [("neutral", "UNACK")]
    (view,) = alarms.standing()
    assert (view.id, view.priority, view.text) == ("A000001", 2, "Neutral 41 A, limit 40 A")
    assert view.raised_at == clock.now() - 1


def test_a_short_dip_starts_the_delay_again(alarms: Alarms, clock: ManualClock) -> None:
    neutral(alarms, 41.0, 59, clock)
    neutral(alarms, 39.0, 1, clock)
    assert neutral(alarms, 41.0, 60, clock) == []


def test_hysteresis_keeps_an_alarm_between_its_thresholds(alarms: Alarms, clock: ManualClock) -> None:
    neutral(alarms, 41.0, 61, clock)
    assert neutral(alarms, 37.0, 1000, clock) == []
    assert neutral(alarms, 35.9, 120, clock) == []
    assert neutral(alarms, 35.9, 1, clock) == [("neutral", "RTN")]
    assert neutral(alarms, 37.0, 1000, clock) == []


def test_a_value_that_is_not_measured_changes_nothing(alarms: Alarms, clock: ManualClock) -> None:
    neutral(alarms, 41.0, 61, clock)
    assert neutral(alarms, None, 10_000, clock) == []
    for _ in range(1000):
        alarms.update([])
        clock.advance(1)
    assert [view.state for view in alarms.standing()] == ["UNACK"]


def test_an_alarm_on_a_low_value_mirrors_one_on_a_high_value(alarms: Alarms) -> None:
    alarms.update([Condition("volts", 199.0, "H002", "at the far end"), Condition("volts", 230.0, "H001")])
    assert [view.text for view in alarms.transitions()] == ["H002 199 V (at the far end)"]
    alarms.update([Condition("volts", 209.0, "H002")])
    assert states(alarms) == []
    alarms.update([Condition("volts", 211.0, "H002")])
    assert states(alarms) == [("low", "RTN")]


def test_an_alarm_without_thresholds_stands_while_it_is_reported(alarms: Alarms, clock: ManualClock) -> None:
    alarms.update([Condition("command_failed", house="H003", detail="no ack")])
    assert [view.text for view in alarms.transitions()] == ["H003: no ack"]
    alarms.update([])
    clock.advance(59)
    alarms.update([])
    assert states(alarms) == []
    clock.advance(1)
    alarms.update([])
    assert states(alarms) == [("failed", "RTN")]


def test_each_house_has_its_own_alarm_and_ids_follow_the_order_of_houses(alarms: Alarms) -> None:
    alarms.update([Condition("volts", 150.0, house) for house in ("H009", "H001", "H005")])
    assert [(view.id, view.house) for view in alarms.transitions()] == [
        ("A000001", "H001"), ("A000002", "H005"), ("A000003", "H009")]


def test_a_clock_that_is_set_back_delays_an_alarm_no_longer_than_its_delay() -> None:
    class Adjusted(ManualClock):
        back = 0.0

        def now(self) -> float:
            return super().now() - self.back

    clock = Adjusted(10_000.0)
    alarms = Alarms([NEUTRAL], LIMITS, clock)
    alarms.update([Condition("neutral_a", 50.0)])
    clock.back = 5000.0
    assert neutral(alarms, 50.0, 61, clock) == [("neutral", "UNACK")]


# ---------------------------------------------------------------- acknowledging


def test_acknowledged_then_normal_is_gone(alarms: Alarms, clock: ManualClock) -> None:
    neutral(alarms, 41.0, 61, clock)
    view = alarms.acknowledge("A000001", "anil")
    assert (view.state, view.acked_by, view.acked_at) == ("ACK", "anil", clock.now())
    assert neutral(alarms, 20.0, 121, clock) == [("neutral", "ACK"), ("neutral", "CLEARED")]
    assert alarms.standing() == ()


def test_normal_but_not_seen_stays_until_it_is_acknowledged(alarms: Alarms, clock: ManualClock) -> None:
    neutral(alarms, 41.0, 61, clock)
    neutral(alarms, 20.0, 121, clock)
    assert [view.state for view in alarms.standing()] == ["RTN"]
    assert alarms.acknowledge("A000001", "anil").state == "CLEARED"
    assert alarms.standing() == ()


def test_back_again_before_anyone_saw_it_is_the_same_occurrence(alarms: Alarms, clock: ManualClock) -> None:
    neutral(alarms, 41.0, 61, clock)
    neutral(alarms, 20.0, 121, clock)
    neutral(alarms, 55.0, 61, clock)
    (view,) = alarms.standing()
    assert (view.id, view.state, view.cleared_at, view.text) == ("A000001", "UNACK", None, "Neutral 55 A, limit 40 A")


def test_the_next_occurrence_gets_the_next_id(alarms: Alarms, clock: ManualClock) -> None:
    neutral(alarms, 41.0, 61, clock)
    alarms.acknowledge("A000001", "anil")
    neutral(alarms, 20.0, 121, clock)
    neutral(alarms, 41.0, 61, clock)
    assert [view.id for view in alarms.standing()] == ["A000002"]


def test_acknowledging_what_does_not_stand_or_was_acknowledged_says_so(alarms: Alarms, clock: ManualClock) -> None:
    with pytest.raises(UnknownAlarm, match="A000001 does not stand"):
        alarms.acknowledge("A000001", "anil")
    neutral(alarms, 41.0, 61, clock)
    alarms.acknowledge("A000001", "anil")
    with pytest.raises(UnknownAlarm, match="acknowledged by anil already"):
        alarms.acknowledge("A000001", "maya")


def test_the_list_shows_the_worst_first_and_then_the_newest(alarms: Alarms, clock: ManualClock) -> None:
    alarms.update([Condition("volts", 150.0, "H001")])
    clock.advance(10)
    alarms.update([*(Condition("volts", 150.0, house) for house in ("H001", "H002")),
                   Condition("command_failed", house="H009")])
    assert [view.house for view in alarms.standing()] == ["H009", "H002", "H001"]


# ---------------------------------------------------------------- over a restart


def test_alarms_stand_on_after_a_restart_and_ids_go_on(alarms: Alarms, clock: ManualClock) -> None:
    neutral(alarms, 41.0, 61, clock)
    acked = alarms.acknowledge("A000001", "anil")
    again = Alarms([NEUTRAL, VOLTAGE_LOW], LIMITS, clock, alarms.standing(), 2)
    assert again.standing() == (acked,)
    again.update([Condition("neutral_a", 45.0), Condition("volts", 100.0, "H001")])
    assert [view.id for view in again.transitions()] == ["A000002"]
    assert neutral(again, 20.0, 121, clock) == [("neutral", "CLEARED")]


def test_an_alarm_whose_definition_is_gone_is_cleared_at_the_restart(alarms: Alarms, clock: ManualClock) -> None:
    neutral(alarms, 41.0, 61, clock)
    again = Alarms([VOLTAGE_LOW], LIMITS, clock, alarms.standing(), 2)
    assert states(again) == [("neutral", "CLEARED")]
    assert again.standing() == ()


# ---------------------------------------------------------------- the file


def test_the_file_that_ships_is_good_and_every_text_says_what_to_do(alarm_file: Path) -> None:
    definitions = load_definitions(alarm_file)
    named = {definition.name: definition for definition in definitions}
    for wanted in ("neutral-current", "voltage-unbalance", "phase-overload", "voltage-band", "node-stale",
                   "command-failed", "quarantined", "meter-stale", "database", "neutral-mismatch"):
        assert wanted in named
    assert all(definition.text.endswith(".") or definition.text.endswith("{detail}") for definition in definitions)
    assert {definition.priority for definition in definitions} <= {1, 2, 3, 4}


GOOD = """
[[alarm]]
name = "a"
priority = 2
quantity = "neutral_a"
raise_above = 2.0
clear_below = 1.0
text = "{value}"
"""


@pytest.mark.parametrize(("change", "reason"), [
    (("priority = 2", "priority = 5"), "priority"),
    (("priority = 2", "priority = true"), "priority"),
    (('name = "a"', 'name = "A b"'), "name"),
    (('name = "a"', ""), "name"),
    (("raise_above", "raise_abov"), "raise_abov"),
    (("clear_below = 1.0", ""), "come together"),
    (("clear_below = 1.0", "clear_below = 3.0"), "higher than raise_above"),
    (("clear_below = 1.0", "clear_below = 1.0\nraise_below = 0.0\nclear_above = 0.5"), "above or below, not both"),
    (("raise_above = 2.0\nclear_below = 1.0", "raise_below = 2.0\nclear_above = 1.0"), "lower than raise_below"),
    (("text =", 'limit = "neutral"\ntext ='), "none of phase_current_a"),
    (("raise_above = 2.0\nclear_below = 1.0", 'limit = "neutral_a"'), "a limit needs thresholds"),
    (("text =", "raise_after_s = -1\ntext ="), "raise_after_s"),
    (('"{value}"', '"{volts}"'), "cannot be filled in"),
    (('"{value}"', '"{value"'), "cannot be filled in"),
    (('"{value}"', '"{value:q}"'), "cannot be filled in"),
    (('"{value}"', '"{}"'), "cannot be filled in"),
    (('"{value}"', '"{value.real.imag.x}"'), "cannot be filled in"),
    (('"{value}"', '" "'), "text is empty"),
    (("[[alarm]]", "[[alarm"), "not TOML"),
    (("[[alarm]]", "[[siren]]"), "siren"),
])
def test_a_broken_alarm_file_is_refused_in_one_line_that_names_it(tmp_path: Path, change: tuple[str, str],
                                                                  reason: str) -> None:
    path = tmp_path / "alarms.toml"
    path.write_text(GOOD)
    assert len(load_definitions(path)) == 1
    path.write_text(GOOD.replace(*change))
    with pytest.raises(AlarmFileError) as caught:
        load_definitions(path)
    message = str(caught.value)
    assert str(path) in message
    assert reason in message
    assert "\n" not in message


def test_a_file_that_is_missing_not_text_or_names_an_alarm_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlarmFileError, match="No such file"):
        load_definitions(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AlarmFileError, match="not TOML"):
        load_definitions(tmp_path / "binary.toml")
    (tmp_path / "twice.toml").write_text(GOOD + GOOD)
    with pytest.raises(AlarmFileError, match=r"alarm 2 \(a\): its name is taken"):
        load_definitions(tmp_path / "twice.toml")


# ---------------------------------------------------------------- what is watched


@pytest.fixture
def state(feeder: Feeder, clock: ManualClock) -> FeederState:
    return FeederState(feeder, clock, StateSettings())


def watched(state: FeederState, with_meter: bool = True) -> dict[tuple[str, str], float | None]:
    return {(c.quantity, c.house): c.value for c in feeder_conditions(state, figures(state), with_meter)}


def test_a_silent_street_is_stale_everywhere_and_measures_nothing(state: FeederState, clock: ManualClock) -> None:
    clock.advance(30)
    seen = watched(state)
    assert seen["node_age", "H009"] == 2.0
    assert seen["meter_age", ""] == 2.0
    assert seen["neutral_a", ""] is None
    assert seen["voltage_deviation_percent", "H001"] is None
    assert ("meter_age", "") not in watched(state, with_meter=False)


def test_a_plain_message_raises_no_alarm(state: FeederState, field: Any, clock: ManualClock) -> None:
    state.take(HouseSample("H001", field.reading("H001", voltage=300.0), False, clock.now(), clock.monotonic()))
    state.take(MeterSample(field.meter(neutral_current=900.0), False, clock.now(), clock.monotonic()))
    seen = watched(state)
    assert seen["neutral_a", ""] is None
    assert seen["voltage_deviation_percent", "H001"] is None


def test_sealed_values_are_watched_in_their_units(state: FeederState, field: Any, clock: ManualClock) -> None:
    state.take(HouseSample("H001", field.reading("H001", voltage=252.0), True, clock.now(), clock.monotonic()))
    state.take(MeterSample(field.meter(neutral_current=33.0, current=(50.0, 5.0, 5.0)), True, clock.now(),
                           clock.monotonic()))
    seen = watched(state)
    assert seen["neutral_a", ""] == 33.0
    assert [seen["phase_a", phase] for phase in "RYB"] == [50.0, 5.0, 5.0]
    assert seen["voltage_deviation_percent", "H001"] == pytest.approx(5.0)


def test_refusals_are_watched_per_minute(clock: ManualClock) -> None:
    rates = RateConditions()
    counters = {"received": 10, "refused-forged": 100, "shed": 7}
    rates.conditions(counters, 0.0)
    counters = {"received": 99, "refused-forged": 140, "refused-stale-seq": 2, "shed": 9}
    refused, shed = rates.conditions(counters, 59.0)
    assert (refused.value, refused.detail, shed.value) == (42.0, "forged 40, stale-seq 2", 2.0)
    for second in range(60, 130):
        refused, shed = rates.conditions(counters, float(second))
    assert (refused.value, shed.value) == (0.0, 0.0)
