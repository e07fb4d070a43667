"""Puts the house on R, Y or B and keeps two phases from ever meeting. Pure; driven by `step()`.

Hardware assumed: three contacts, each with a mirror (force-guided) auxiliary contact that proves it open
(IEC 60947-4-1 Annex F), an interlock in the coil circuit, and the voltage sensor on the load side. "The load
voltage is zero" never proves a contact open: with a weld on a dead feeder the short comes when the feeder
returns. Only the mirrors prove it.

Invariants, each with a test of its number:
 1. At most one coil is driven and one contact closed at any instant.
 2. Every transition ends verified CLOSED, or all open (SAFE_OPEN, proven by the mirrors) or FAULT with a reason,
    in bounded time. A FAULT stays through power loss, until a person at the house resets it.
 3. The same command id gives the same acknowledgement and no motion          (commands.py).
 4. The command counter strictly increases, through power loss                 (commands.py).
 5. Dwell and hourly rate survive a reboot.
 6. Losing the Pi or the broker never moves a contact: nothing here knows of them.
 7. The intent is stored before anything moves.
 8. Power-up: a sole closed contact that is the last verified one is kept (bistable contacts: the house never
    noticed). Otherwise all open, a random hold of 2 to 30 s, then the last verified phase.
"""

BOOT_HOLD = "BOOT_HOLD"
OPENING = "OPENING"
DEAD = "DEAD"
CLOSING = "CLOSING"
VERIFY = "VERIFY"
CLOSED = "CLOSED"
SAFE_OPEN = "SAFE_OPEN"
FAULT = "FAULT"

_RESTING = (CLOSED, SAFE_OPEN, FAULT)

LEAST_DEAD_MS = 50     # whatever a configuration says: below this an arc of the old phase may still burn

DEFAULTS = {
    "open_timeout_ms": 250,       # mirrors must prove all contacts open by then
    "residual_v": 25,             # below this the load side counts as dead
    "residual_timeout_ms": 3000,  # PV and motors may feed it for some 2 s
    "dead_ms": 80,                # proven gap between two phases
    "close_timeout_ms": 250,
    "verify_ms": 60,
    "live_v": 150,                # a closed contact must bring at least this
    "hold_min_ms": 2000,
    "hold_max_ms": 30000,
    "retry_ms": 30000,            # from SAFE_OPEN back to the last verified phase
    "dwell_s": 60,                # least time on a phase; going back where it came from is exempt
    "rate_per_hour": 6,
}


class Selector:
    """One house's selector. `state`, `phase` (0/1/2 verified closed, else None), `failure` ("" or why)."""

    def __init__(self, hal, store, config):
        self._hal = hal
        self._store = store
        self._set = dict(DEFAULTS)
        self._set.update({k: config[k] for k in DEFAULTS if k in config})
        self._set["dead_ms"] = max(self._set["dead_ms"], LEAST_DEAD_MS)
        self.failure = ""
        self.dead_ms = None
        self.phase = None
        self._target = None
        self._fallback = None
        self._since = hal.ticks_ms()
        self._move_since = self._since
        self._opened_at = None
        self._hold_ms = 0
        self._boot()

    # ------------------------------------------------------------ asked from outside

    @property
    def resting(self):
        return self.state in _RESTING

    @property
    def contact(self):
        """What the mirrors say: "R", "Y", "B", "open", or "fault" where two are not proven open."""
        closed = [i for i in range(3) if not self._hal.mirror(i)]
        if len(closed) > 1:
            return "fault"
        return "RYB"[closed[0]] if closed else "open"

    @property
    def verified(self):
        """The phase that was last verified closed, 0/1/2 or None; kept through power loss."""
        return self._store.get("verified", None)

    def refusal(self, target, now_s):
        """Why a move to `target` may not start now, a fixed word, or ""."""
        if target not in (0, 1, 2):
            return "bad-target"
        if self.state == FAULT:
            return "fault"
        if not self.resting:
            return "busy"
        if self.state == CLOSED and self.phase == target:
            return "same-phase"
        moves = [t for t in self._store.get("moves", []) if now_s - t < 3600]
        if len(moves) >= self._set["rate_per_hour"]:
            return "rate"
        going_back = target == self._store.get("previous", None)
        if self.state == CLOSED and moves and now_s - moves[-1] < self._set["dwell_s"] and not going_back:
            return "dwell"
        return ""

    def move(self, target, now_s):
        """Start the move; the caller has seen no `refusal`. The intent is on disk before a coil changes."""
        moves = [t for t in self._store.get("moves", []) if now_s - t < 3600]
        moves.append(now_s)
        self._store.put("moves", moves)
        self._store.put("intent", target)
        self._fallback = self.phase
        self.failure = ""
        self._open_towards(target)

    def reset_fault(self):
        """By a person at the house: leave FAULT, all open, and try the last verified phase again."""
        if self.state == FAULT:
            self._store.put("fault", "")
            self._start_again()

    # ------------------------------------------------------------ the machine

    def step(self):
        """Advance as far as time and the contacts allow. Call every few milliseconds while not resting."""
        getattr(self, "_in_" + self.state.lower())()

    def _boot(self):
        self.failure = self._store.get("fault", "")
        closed = [i for i in range(3) if not self._hal.mirror(i)]
        keep = not self.failure and len(closed) == 1 and closed[0] == self.verified
        for i in range(3):
            if not keep or i != closed[0]:
                self._hal.coil(i, False)
        if self.failure:
            self._go(FAULT)
            return
        if keep:
            self._hal.coil(closed[0], True)
            self._rest_closed(closed[0])
            return
        spread = self._set["hold_max_ms"] - self._set["hold_min_ms"]
        pick = int.from_bytes(self._hal.random_bytes(2), "big")
        self._hold_ms = self._set["hold_min_ms"] + spread * pick // 65535
        self._go(BOOT_HOLD)

    def _in_boot_hold(self):
        if self._elapsed() >= self._hold_ms:
            self._start_again()

    def _in_opening(self):
        if not self._all_open():
            self._opened_at = None
            if self._elapsed() > self._set["open_timeout_ms"]:
                self._fault("welded")
            return
        if self._target is None:
            self._rest_open(self.failure)
            return
        if self._opened_at is None:
            self._opened_at = self._hal.ticks_ms()
        if self._hal.load_voltage() < self._set["residual_v"]:
            self._go(DEAD)
        elif self._out_of_patience():
            self._rest_open("live-bus")

    def _in_dead(self):
        if not self._all_open():
            self._fault("reclosed")
        elif self._hal.load_voltage() >= self._set["residual_v"]:
            if self._out_of_patience():       # a load side that comes and goes would keep it between the two
                self._rest_open("live-bus")
            else:
                self._go(OPENING)
        elif self._elapsed() >= self._set["dead_ms"]:
            self.dead_ms = self._hal.ticks_diff(self._hal.ticks_ms(), self._opened_at)
            self._hal.coil(self._target, True)
            self._go(CLOSING)

    def _in_closing(self):
        if self._others_closed(self._target):
            self._fault("overlap")
        elif not self._hal.mirror(self._target):
            self._go(VERIFY)
        elif self._elapsed() > self._set["close_timeout_ms"]:
            self._fall_back("not-closed")

    def _in_verify(self):
        if self._others_closed(self._target):
            self._fault("overlap")
        elif self._hal.mirror(self._target):
            if self._elapsed() > self._set["close_timeout_ms"]:
                self._fall_back("bounced")
        elif self._elapsed() >= self._set["verify_ms"]:
            if self._hal.load_voltage() >= self._set["live_v"]:
                self._verified_closed()
            else:
                self._fall_back("dead-phase")

    def _in_closed(self):
        if self._others_closed(self.phase):
            self._fault("overlap")
        elif self._hal.mirror(self.phase):
            self._rest_open("opened-by-itself")

    def _in_safe_open(self):
        if not self._all_open():
            self._fault("reclosed")
        elif self.verified is not None and self._elapsed() >= self._set["retry_ms"]:
            self._start_again()

    def _in_fault(self):
        self._release()

    # ------------------------------------------------------------ small moves

    def _go(self, state):
        self.state = state
        self._since = self._hal.ticks_ms()

    def _elapsed(self):
        return self._hal.ticks_diff(self._hal.ticks_ms(), self._since)

    def _out_of_patience(self):
        waited = self._hal.ticks_diff(self._hal.ticks_ms(), self._move_since)
        return waited > self._set["residual_timeout_ms"]

    def _release(self):
        for i in range(3):
            self._hal.coil(i, False)

    def _all_open(self):
        return all(self._hal.mirror(i) for i in range(3))

    def _others_closed(self, phase):
        return any(not self._hal.mirror(i) for i in range(3) if i != phase)

    def _start_again(self):
        """Towards the last verified phase, with nothing to fall back to."""
        self.failure = "never-commissioned" if self.verified is None else ""
        self._fallback = None
        self._open_towards(self.verified)

    def _open_towards(self, target):
        """Open all, then close on `target`; None: stay open, for the reason in `failure`."""
        self.phase = None
        self._target = target
        self._opened_at = None
        self._move_since = self._hal.ticks_ms()
        self._release()
        self._go(OPENING)

    def _fall_back(self, failure):
        """The target did not take the house: go back to where it was, once; then stay open and retry slowly."""
        self.failure = failure
        back, self._fallback = self._fallback, None
        self._open_towards(back)      # where it cannot go back, the contact still has to be seen to open

    def _verified_closed(self):
        before = self.verified
        if before != self._target:
            self._store.put("previous", before)
            self._store.put("verified", self._target)
        self._rest_closed(self._target)

    def _rest_closed(self, phase):
        self.phase = phase
        self._target = phase
        self._go(CLOSED)

    def _rest_open(self, failure):
        """Only where the mirrors prove all open."""
        self.failure = failure
        self.phase = None
        self._release()
        self._go(SAFE_OPEN)

    def _fault(self, failure):
        self.failure = failure
        self.phase = None
        self._release()
        self._store.put("fault", failure)
        self._go(FAULT)
