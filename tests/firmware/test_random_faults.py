"""A node, its board and anything that may happen to both, in any order: what must hold, holds always."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from firmware.core.selector import DEFAULTS
from tests.firmware.bench import Bench

CONTACT = st.sampled_from((0, 1, 2))
HOLD_MS, RETRY_MS = 300, 2000
ONE_WAY_MS = sum(DEFAULTS[name] for name in ("open_timeout_ms", "residual_timeout_ms", "dead_ms", "close_timeout_ms"))
LONGEST_MS = HOLD_MS + 2 * (ONE_WAY_MS + DEFAULTS["close_timeout_ms"]) + DEFAULTS["open_timeout_ms"] + 100


class AnyOrder(RuleBasedStateMachine):
    """Commands, replays, resets and every fault of the board, with the time between them random too."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(dwell_s=0, rate_per_hour=10**6, hold_min_ms=0, hold_max_ms=HOLD_MS, retry_ms=RETRY_MS)
        self.sent: list[bytes] = []
        self.asked: set[str] = set()
        self.answered: dict[str, dict[str, object]] = {}
        self.moving_ms = 0

    # ------------------------------------------------------------ what the Pi, the air and people do

    @rule(to=CONTACT)
    def switch(self, to: int) -> None:
        self.sent.append(self.bench.send(to))
        self.asked.add(f"C{self.bench.counter:06d}")
        self.listen()

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        before, state = len(self.bench.hal.closings), self.bench.selector.state
        self.bench.node.receive(data.draw(st.sampled_from(self.sent)))
        assert (len(self.bench.hal.closings), self.bench.selector.state) == (before, state)
        for ack in self.bench.acks():
            assert ack["reason"] == "old-counter" or ack == self.answered[ack["id"]]

    @rule(i=CONTACT)
    def mend(self, i: int) -> None:
        self.bench.hal.mend(i)

    @rule()
    def reset_fault(self) -> None:
        self.bench.selector.reset_fault()

    # ------------------------------------------------------------ what goes wrong

    @rule(i=CONTACT)
    def weld(self, i: int) -> None:
        self.bench.hal.weld(i)

    @rule(i=CONTACT)
    def stick_open(self, i: int) -> None:
        self.bench.hal.stick_open(i)

    @rule(i=CONTACT, alive=st.booleans())
    def phase_goes_or_comes(self, i: int, alive: bool) -> None:
        self.bench.hal.supply[i] = 240.0 * alive

    @rule(alive=st.booleans())
    def feeder_goes_or_comes(self, alive: bool) -> None:
        self.bench.hal.supply = [240.0 * alive] * 3

    @rule(ms=st.sampled_from((0, 60, 400, 2000, 5000)))
    def house_feeds_back(self, ms: int) -> None:
        self.bench.hal.back_feed_ms = ms

    @rule(volts=st.sampled_from((0.0, 0.0, 30.0, 230.0)))
    def genset_starts_or_stops(self, volts: float) -> None:
        self.bench.hal.genset_v = volts

    @rule(noise=st.binary(min_size=1, max_size=1))
    def watchdog(self, noise: bytes) -> None:
        self.listen()
        self.bench.hal.noise = noise
        self.bench.reboot()
        self.moving_ms = 0

    # ------------------------------------------------------------ time, and what must hold

    @rule(ms=st.sampled_from((5, 15, 30, 60, 100, 150)))
    def soon(self, ms: int) -> None:
        self.let_pass(ms)

    @rule(ms=st.sampled_from((500, 3500, 10_000)))
    def later(self, ms: int) -> None:
        self.let_pass(ms)

    def let_pass(self, ms: int) -> None:
        for _ in range(0, ms, 5):
            self.bench.run(5)
            self.moving_ms = 0 if self.bench.selector.resting else self.moving_ms + 5
            assert self.moving_ms <= LONGEST_MS, f"{self.bench.selector.state} for {self.moving_ms} ms"
            self.bench.check_truthful()
            self.listen()

    def listen(self) -> None:
        for ack in self.bench.acks():
            assert ack["id"] not in self.answered, f"{ack['id']} answered twice"
            self.answered[ack["id"]] = ack
            where = "".join("RYB"[i] for i in self.bench.closed)
            assert ack["result"] == "refused" or ack["phase"] == (where or "open")
            assert ack["result"] != "done" or self.bench.selector.state == "CLOSED"

    def teardown(self) -> None:
        self.let_pass(LONGEST_MS + 100)
        assert set(self.answered) == self.asked
        for i in range(3):
            self.bench.hal.mend(i)
        self.bench.hal.supply, self.bench.hal.genset_v = [240.0] * 3, 0.0
        self.bench.run(10)
        self.bench.selector.reset_fault()
        self.let_pass(RETRY_MS + LONGEST_MS)
        assert self.bench.selector.state == "CLOSED", "mended, fed and reset, the house has its supply back"


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True,
                                      database=None, suppress_health_check=[HealthCheck.too_slow])
TestInAnyOrder = AnyOrder.TestCase
