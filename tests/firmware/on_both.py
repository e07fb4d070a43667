"""What CPython and MicroPython both run: the vectors through jwe and node, and a selector among random faults.

Prints what came out, line by line, so that two interpreters can be compared. No typing here.
MicroPython reads it from standard input; the current directory is the root.
"""

import binascii
import json

from firmware.core.jwe import NotAuthentic, header, open_sealed, seal
from firmware.core.node import Node
from firmware.core.selector import Selector
from firmware.hal.sim import MemoryStore, SimHal


class Board(SimHal):
    """A board whose noise is the same everywhere."""

    iv = bytes(16)

    def random_bytes(self, n):
        return (self.iv * n)[:n]


def envelopes(vectors):
    """Seal each plain text under its IV, and open each given envelope."""
    board = Board()
    for case in vectors["envelopes"]:
        key = binascii.unhexlify(case["key"])
        board.iv = binascii.unhexlify(case["iv"])
        print("sealed", seal(board, key, header(case["kid"], case["typ"]), case["plain"].encode()).decode())
        print("opened", open_sealed(board, key, case["kid"], case["typ"], case["sealed"].encode()).decode())
        try:
            open_sealed(board, key, case["kid"], case["typ"], case["sealed"][:-2].encode() + b"AA")
        except NotAuthentic as error:
            print("changed", error)


def commands(vectors):
    """One node on R hears each command, and its answers are read."""
    keys = {name: binascii.unhexlify(vectors["keys"][name]) for name in ("command", "telemetry")}
    keys["epoch"] = vectors["keys"]["epoch"]
    board, store = Board(unix_time=lambda: vectors["now"]), MemoryStore()
    board.close_at_start(0)
    store.put("verified", 0)
    node = Node({"house_id": vectors["house"], "fw": "vectors"}, board, store, keys)
    up = f"{vectors['house']}.{keys['epoch']}.u"
    for case in vectors["commands"]:
        board.clock_set = case["clock"]
        before = dict(node.gate.dropped)
        node.receive(case["sealed"].encode())
        while node.busy:
            board.advance(5)
            node.step()
        answers, node.outgoing = node.outgoing, []
        dropped = [kind for kind, times in node.gate.dropped.items() if times != before.get(kind, 0)]
        print("heard", case["name"], "|", " ".join(dropped))
        for _leaf, payload, _qos, _retain in answers:
            ack = json.loads(open_sealed(board, keys["telemetry"], up, "ack", payload))
            print("answered", "|".join([ack["result"], ack["reason"], ack["phase"]]), ack["id"], ack["counter"],
                  ack["last_id"], ack["last_result"], ack.get("dead_ms"))
    reading = json.loads(open_sealed(board, keys["telemetry"], up, "tel", node.telemetry({"voltage": 231.5})))
    print("reading", [reading[name] for name in sorted(reading)])


def selector(steps):
    """A selector among faults drawn from a linear congruential generator (Numerical Recipes' constants)."""
    board, store = Board(), MemoryStore()
    board.close_at_start(0)
    store.put("verified", 0)
    settings = {"dwell_s": 0, "rate_per_hour": 10**6, "hold_min_ms": 50, "hold_max_ms": 400, "retry_ms": 700}
    machine, drawn = Selector(board, store, settings), 1
    for number in range(steps):
        drawn = (drawn * 1664525 + 1013904223) % 4294967296
        what, i = drawn >> 24, (drawn >> 16) % 3
        if what < 60:
            if not machine.refusal(i, number):
                machine.move(i, number)
        elif what < 70:
            board.weld(i)
        elif what < 80:
            board.stick_open(i)
        elif what < 110:
            board.mend(i)
        elif what < 130:
            machine.reset_fault()
        elif what < 150:
            board.supply[i] = 240.0 - board.supply[i]
        elif what < 160:
            board.back_feed_ms = 600 - board.back_feed_ms
        elif what < 170:
            board.iv = bytes([255 * (what % 2)])
            board.bistable = what % 2 == 0
            board.power_cycle()
            machine = Selector(board, store, settings)
        for _ in range(1 + what // 4):
            board.advance(7)
            machine.step()
        print(board.now, machine.state, machine.failure, machine.phase, board.closed_contacts(), machine.dead_ms)
    print("overlap", board.overlap_ms)


with open("data/vectors/commands.json") as file:
    known = json.loads(file.read())
envelopes(known)
commands(known)
selector(1500)
