"""The snapshot: everything a screen draws, copied from what is known, and fit for the wire."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from balancer.feeder import Feeder
from pi_service.clock import ManualClock
from pi_service.contract import Ack, AlarmView, Snapshot, SwitchView, encode
from pi_service.feeder_state import FeederState
from pi_service.figures import figures
from pi_service.ingest import AckReport, HouseSample, MeterSample
from pi_service.publisher import SHOWN, Control, Publisher


class Screen:
    """A state to feed and the snapshot of it, as it comes out of the broker."""

    def __init__(self, feeder: Feeder, field: Any, clock: ManualClock) -> None:
        self.state = FeederState(feeder, clock)
        self.field, self.clock = field, clock
        self.publisher = Publisher(feeder, clock, "mosquitto 127.0.0.1:1883", 60.0)

    def send(self, house: str, sealed: bool = True, **values: object) -> None:
        reading = self.field.reading(house, **values)
        self.state.take(HouseSample(house, reading, sealed, self.clock.now(), self.clock.monotonic()))

    def send_meter(self, **values: object) -> None:
        self.state.take(MeterSample(self.field.meter(**values), True, self.clock.now(), self.clock.monotonic()))

    def snapshot(self, alarms: tuple[AlarmView, ...] = (), **control: Any) -> Snapshot:
        built = self.publisher.snapshot(self.state, figures(self.state), Control(mode="AUTO", **control), alarms,
                                        (None,) * 59 + (12.5,), {"shed": 0, "received": 9})
        return msgspec.json.decode(encode(built), type=Snapshot)


@pytest.fixture
def screen(feeder: Feeder, field: Any, clock: ManualClock) -> Screen:
    return Screen(feeder, field, clock)


def test_before_anything_came_a_screen_has_the_street_and_no_values(screen: Screen) -> None:
    seen = screen.snapshot()
    assert (seen.feeder, seen.name, seen.sent) == ("KL-TST-0001", "Small street", 1)
    assert [house.quality for house in seen.houses] == ["B"] * 9
    assert [house.phase for house in seen.houses] == list("RRRYRRRYR"), "as the feeder folder has it"
    assert seen.neutral_a.value is None
    assert (seen.neutral_limit_a, seen.vuf_limit_percent, seen.phase_limit_a) == (40.0, 2.0, 133.0)
    assert [phase.houses for phase in seen.phases] == [7, 2, 0]


def test_snapshots_are_numbered_and_carry_plant_time(screen: Screen) -> None:
    assert [screen.snapshot().sent for _ in range(3)] == [1, 2, 3]
    assert screen.snapshot().at == screen.clock.now()


def test_a_house_shows_its_last_fresh_reading_with_net_power_and_age(screen: Screen) -> None:
    screen.send("H001", voltage=231.0, current=4.0, solar_injection=2.0, phase="B")
    screen.send("H002", sealed=False, voltage=229.5, current=4.2, solar_injection=2.1)
    screen.clock.advance(3)
    first, second, *_ = screen.snapshot().houses
    assert (first.phase, first.quality, first.age_s, first.online) == ("B", "G", 3.0, True)
    assert (first.voltage_v, first.current_a, first.solar_kw, first.pole) == (231.0, 4.0, 2.0, "P01")
    assert first.power_kw == pytest.approx(0.924 - 2.0)
    assert (second.quality, second.online, second.voltage_v) == ("U", False, 229.5)


def test_a_stale_house_keeps_its_phase_and_loses_its_values(screen: Screen) -> None:
    screen.send("H001", phase="Y")
    screen.clock.advance(100)
    house = screen.snapshot().houses[0]
    assert (house.phase, house.quality, house.voltage_v, house.power_kw) == ("Y", "B", None, None)
    assert house.age_s == 100.0


def test_a_house_between_contacts_is_drawn_open(screen: Screen) -> None:
    screen.send("H001", relay="open")
    assert screen.snapshot().houses[0].phase == "open"


def test_the_phases_come_from_the_meter(screen: Screen) -> None:
    screen.send_meter(current=(30.0, 20.0, 10.0), power=(6.0, 4.0, 2.0))
    seen = screen.snapshot()
    assert [phase.current_a.value for phase in seen.phases] == [30.0, 20.0, 10.0]
    assert [phase.power_kw.value for phase in seen.phases] == [6.0, 4.0, 2.0]
    assert [phase.voltage_v.quality for phase in seen.phases] == ["G"] * 3
    assert seen.power_kw.value == 12.0


def test_what_the_controller_and_the_alarms_say_is_passed_on(screen: Screen) -> None:
    switches = tuple(SwitchView(f"S{n:06d}", 1.0, "AUTO", "H001", "R", "B", "VERIFIED") for n in range(80, 0, -1))
    alarm = AlarmView("A000001", "node-stale", 3, "UNACK", 1.0, "H001 silent", "H001")
    seen = screen.snapshot(
        alarms=(alarm,), mode_by="anil", mode_reason="day work", decision="nothing worth a switch", switches=switches,
        in_flight=switches[0], switches_today={"H001": 2}, notes={"H002": "dwell 12 min"},
        tags={"H003": ("caution", "T000001"), "": ("do-not-operate", "T000002")})
    assert (seen.mode_by, seen.mode_reason, seen.decision) == ("anil", "day work", "nothing worth a switch")
    assert (len(seen.switches), seen.switches[0].id, seen.in_flight.id) == (SHOWN, "S000080", "S000080")
    assert (seen.houses[0].switches_today, seen.houses[1].note, seen.houses[2].tag) == (2, "dwell 12 min", "caution")
    assert (seen.feeder_tag, seen.feeder_tag_id) == ("do-not-operate", "T000002")
    assert seen.alarms == (alarm,)
    assert seen.neutral_history_a[-1] == 12.5
    assert seen.counters == {"received": 9, "shed": 0}
    assert (seen.broker, seen.speed) == ("mosquitto 127.0.0.1:1883", 60.0)


def test_a_confirmed_ack_moves_the_house_on_the_screen_at_once(screen: Screen) -> None:
    screen.send("H001")
    screen.clock.advance(1)
    ack = Ack(id="C000001", house="H001", result="done", phase="B", counter=1, boot=1, ts=screen.clock.now())
    screen.state.take(AckReport("H001", ack, screen.clock.now(), screen.clock.monotonic()))
    seen = screen.snapshot()
    assert seen.houses[0].phase == "B"
    assert [phase.houses for phase in seen.phases] == [6, 2, 1]
