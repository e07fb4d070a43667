"""The plan for a whole day: the few houses worth moving once, before the day, from bills and ratings alone.

A few good moves at start-up are worth more than hundreds later, and before dawn no solar is lost by them.
"""

from __future__ import annotations

import numpy as np

from balancer.decision import BoolArray, FloatArray, IntArray, Move
from balancer.objective import imbalance
from balancer.phasor import ComplexArray


def plan_day(
    current: ComplexArray, phase: IntArray, hours: FloatArray, price: FloatArray, movable: BoolArray, most: int
) -> tuple[Move, ...]:
    """The moves, best first, that lower the day's imbalance by more than their price.

    Args:
        current: (n, K) expected currents over the day, A, referred to own phase.
        phase: (n,) where the houses are, 0/1/2 or -1.
        hours: (K,) length of each step, h.
        price: (n,) price of moving each house, A^2 h.
        movable: (n,) which may be moved at all.
        most: at most so many moves.

    Takes the best single move or the best pair with the first of the best singles, again and again, and never
    moves a house twice. Stops where nothing pays.
    """
    placed = phase.copy()
    movable = movable & (phase >= 0)
    moves: list[Move] = []
    while len(moves) < most:
        step = best_step(current, placed, hours, price, movable, pairs=most - len(moves) >= 2)
        if not step:
            break
        for move in step:
            placed[move.house] = move.to_phase
            movable[move.house] = False
            moves.append(move)
    return tuple(moves)


def best_step(
    current: ComplexArray, phase: IntArray, hours: FloatArray, price: FloatArray, movable: BoolArray, pairs: bool
) -> tuple[Move, ...]:
    """The single move, or the pair, with the largest gain net of price; () where none gains anything."""
    state = imbalance(current, phase, hours)
    net = state.change + price[:, None]
    net[~movable] = np.inf
    net[np.arange(len(phase)), np.maximum(phase, 0)] = np.inf
    flat = net.ravel()
    best = int(np.argmin(flat))
    best_value, best_rows = float(flat[best]), [best]
    if pairs and len(phase) > 1:
        shortlist = np.argsort(flat, kind="stable")[:_SHORTLIST]
        shortlist = shortlist[np.isfinite(flat[shortlist])]
        vectors = state.vector.reshape(len(flat), -1)[shortlist]
        together = flat[shortlist][:, None] + flat[shortlist][None, :] + 2 * vectors @ vectors.T
        together[(shortlist // 3)[:, None] == (shortlist // 3)[None, :]] = np.inf
        if together.size:
            row, column = divmod(int(np.argmin(together)), len(shortlist))
            if together[row, column] < best_value - 1e-9:
                best_value, best_rows = float(together[row, column]), [int(shortlist[row]), int(shortlist[column])]
    if best_value >= 0:
        return ()
    ordered = sorted(best_rows, key=lambda index: flat[index])
    return tuple(Move(index // 3, int(phase[index // 3]), index % 3) for index in ordered)


_SHORTLIST = 400
"""Pairs are sought among so many of the best single moves: all of them up to 133 houses."""
