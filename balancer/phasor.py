"""Phasors of a three-phase system: the common frame, its rotation, and symmetrical components.

R, Y, B stand at 0, -120 and +120 degrees. A quantity "referred to its own phase" is turned by `ROT[phase]`
to reach the common frame. Arrays may carry any further axes behind the phase axis. Rms throughout.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from balancer.decision import IntArray

ComplexArray = NDArray[np.complex128]

A = np.exp(2j * np.pi / 3)
"""The operator a: a turn by +120 degrees."""
ROT: ComplexArray = np.array([1.0, A**2, A])
"""Unit phasors of R, Y, B in the common frame."""


def house_current(p_kw: ArrayLike, q_kvar: ArrayLike, voltage_v: ArrayLike) -> ComplexArray:
    """Current of a load referred to its own phase, A: `(P - jQ) * 1000 / V`.

    `p_kw` is net import (export negative), `q_kvar` inductive positive, `voltage_v` rms phase to neutral.
    """
    p, q, v = np.asarray(p_kw, float), np.asarray(q_kvar, float), np.asarray(voltage_v, float)
    return np.asarray((p - 1j * q) * 1000.0 / v, dtype=np.complex128)


def phase_sums(current: ComplexArray, phase: IntArray) -> ComplexArray:
    """Sum house currents by phase, in the common frame: (n[, T]) and (n[, T]) give (3[, T]).

    `current` is referred to each house's own phase; a house with phase -1 (open) counts nowhere.
    """
    return np.stack([ROT[p] * np.where(phase == p, current, 0.0).sum(axis=0) for p in range(3)])


def sequence(three: ComplexArray) -> tuple[ComplexArray, ComplexArray, ComplexArray]:
    """Zero, positive and negative sequence of (3, ...) phasors R, Y, B in the common frame (Fortescue 1918)."""
    r, y, b = three
    return (r + y + b) / 3, (r + A * y + A**2 * b) / 3, (r + A**2 * y + A * b) / 3
