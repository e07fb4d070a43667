"""A simulated board: contacts with delays, bounce, welds and stuck coils, on a supply of three phases.

What is simulated is what safety depends on: a mirror that proves a contact open only when it is, a load side
that PV and motors keep alive for a while after opening, and faults that hit at the worst time. Time is the
simulation's: `advance(ms)`. The plant sets `supply` (V rms of R, Y, B at the house) and `back_feed_ms`.
"""

from firmware.hal.crypto import Crypto

_MASK = 0x3FFFFFFF          # ticks wrap, as on the board


class MemoryStore:
    """A store that outlives a reboot as an object. Copies, so that nothing changes behind its back."""

    def __init__(self):
        self.values = {}
        self.writes = 0

    def get(self, key, default):
        value = self.values.get(key, default)
        return value.copy() if isinstance(value, (list, dict)) else value

    def put(self, key, value):
        self.values[key] = value.copy() if isinstance(value, (list, dict)) else value
        self.writes += 1


class _Contact:
    """One pole: it follows its coil after a delay and bounces when closing; a fault may hold it."""

    def __init__(self, operate_ms, release_ms, bounce_ms):
        self.operate_ms = operate_ms
        self.release_ms = release_ms
        self.bounce_ms = bounce_ms
        self.coil = False
        self.changed_at = 0
        self.settled = False           # the position before the last change of the coil
        self.welded = False
        self.sticks = False            # welds when it closes next
        self.stuck_open = False

    def drive(self, on, now):
        if on != self.coil:
            self.settled = self.closed(now)
            self.coil = on
            self.changed_at = now

    def closed(self, now):
        """Whether current can flow: a bouncing contact counts as closed."""
        if self.welded:
            return True
        if self.stuck_open:
            return False
        after = now - self.changed_at
        if self.coil:
            return self.settled or after >= self.operate_ms
        return self.settled and after < self.release_ms

    def at_rest(self, now):
        """Nothing will change by itself any more."""
        return now - self.changed_at > self.operate_ms + self.bounce_ms + self.release_ms

    def proven_open(self, now):
        """The mirror: never says open while the contact is closed; chatters while it bounces."""
        if self.closed(now):
            bouncing = self.coil and self.operate_ms <= now - self.changed_at < self.operate_ms + self.bounce_ms
            return bouncing and not self.settled and (now - self.changed_at) % 2 == 1 and not self.welded
        return True


class SimHal(Crypto):
    """The board of one house. `overlap_ms` counts the time with two contacts closed: it must stay 0."""

    def __init__(self, unix_time=lambda: 0, operate_ms=18, release_ms=12, bounce_ms=4, bistable=True):
        self._unix_time = unix_time
        self.now = 0                                   # ms, never wraps: the simulation's own
        self.contacts = [_Contact(operate_ms, release_ms, bounce_ms) for _ in range(3)]
        self.supply = [240.0, 240.0, 240.0]
        self.back_feed_ms = 0                          # how long the load side stays alive after opening
        self.clock_set = True
        self.bistable = bistable
        self.overlap_ms = 0
        self._opened_at = -10**9
        self._was_live = False

    # ------------------------------------------------------------ what the core asks

    def ticks_ms(self):
        return self.now & _MASK

    def ticks_diff(self, later, earlier):
        return ((later - earlier + (_MASK + 1) // 2) & _MASK) - (_MASK + 1) // 2

    def unix_time(self):
        return self._unix_time() if self.clock_set else None

    def coil(self, i, on):
        self.contacts[i].drive(on, self.now)

    def mirror(self, i):
        return self.contacts[i].proven_open(self.now)

    def load_voltage(self):
        closed = self.closed_contacts()
        if closed:
            return max(self.supply[i] for i in closed)
        after = self.now - self._opened_at
        if self.back_feed_ms and after < self.back_feed_ms:
            return 240.0 * (1 - after / self.back_feed_ms)
        return 0.0

    # ------------------------------------------------------------ what the plant does

    def closed_contacts(self):
        """Indices of the contacts that carry current now."""
        return [i for i in range(3) if self.contacts[i].closed(self.now)]

    def advance(self, ms):
        """Let `ms` milliseconds pass, counting every one with two phases together."""
        while ms > 0:
            hop = ms if all(contact.at_rest(self.now) for contact in self.contacts) else 1
            self.now += hop
            ms -= hop
            closed = self.closed_contacts()
            for i in closed:
                self.contacts[i].welded |= self.contacts[i].sticks
            if len(closed) > 1:
                self.overlap_ms += hop
            if self._was_live and not closed:
                self._opened_at = self.now - hop + 1
            self._was_live = any(self.supply[i] > 50 for i in closed)

    def weld(self, i):
        """Contact i sticks closed as soon as it is closed (at once, if it is)."""
        contact = self.contacts[i]
        contact.sticks = True
        contact.welded = contact.closed(self.now)

    def mend(self, i):
        """Contact i is free again."""
        contact = self.contacts[i]
        contact.welded = contact.sticks = contact.stuck_open = False

    def stick_open(self, i):
        """Contact i does not close any more: a broken coil or pole."""
        self.contacts[i].stuck_open = True

    def close_at_start(self, i):
        """The house stands on contact i from before the simulation began."""
        self.contacts[i].coil = self.contacts[i].settled = True
        self._was_live = True

    def power_cycle(self):
        """The board loses power: coils drop, bistable contacts stay, others open."""
        for contact in self.contacts:
            if not self.bistable:
                contact.drive(False, self.now)
        self.advance(100)
