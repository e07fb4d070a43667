"""How unbalanced three currents or voltages are, by the field's named formulas. Percent where the name says so.

Never feed these with the magnitudes of single-phase house sensors: an error of 0.5 % there reads as a VUF
of almost 1 %. The truth comes from the three-phase meter at the transformer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from balancer.decision import FloatArray
from balancer.phasor import ComplexArray, sequence


def neutral_current_a(current: ComplexArray) -> FloatArray:
    """|Ir + Iy + Ib| = 3 |I0|, A; `current` is (3, ...) in the common frame."""
    return np.asarray(np.abs(current.sum(axis=0)))


def negative_sequence_a(current: ComplexArray) -> FloatArray:
    """3 |I2|, A: on the neutral current's scale, so that the two can be added; `current` is (3, ...)."""
    return np.asarray(3 * np.abs(sequence(current)[2]))


def vuf_percent(voltage: ComplexArray) -> FloatArray:
    """Voltage unbalance factor |V2| / |V1|, %; `voltage` is (3, ...) phasors, to neutral or to earth alike."""
    _, positive, negative = sequence(voltage)
    return np.asarray(100 * np.abs(negative) / np.abs(positive))


def vuf_from_line_voltages(uab: ArrayLike, ubc: ArrayLike, uca: ArrayLike) -> FloatArray:
    """The same factor from three line-to-line magnitudes, % (IEC 61000-4-30:2015, 5.7.1).

    nan where the three cannot close a triangle with a positive sequence (one of them dead, say).
    """
    u = np.stack(np.broadcast_arrays(*(np.asarray(x, float) for x in (uab, ubc, uca))))
    with np.errstate(invalid="ignore", divide="ignore"):
        beta = (u**4).sum(axis=0) / (u**2).sum(axis=0) ** 2
        root = np.sqrt(3 - 6 * np.where(beta < 1 / 3, 1 / 3, beta))     # rounding may fall just below 1/3
        return np.asarray(100 * np.sqrt((1 - root) / (1 + root)))


def lvur_percent(uab: ArrayLike, ubc: ArrayLike, uca: ArrayLike) -> FloatArray:
    """Line voltage unbalance rate: largest deviation from the mean of the three, % (NEMA MG 1)."""
    return _largest_deviation_percent(np.stack(np.broadcast_arrays(*(np.asarray(x, float) for x in (uab, ubc, uca)))))


def pvur_percent(vr: ArrayLike, vy: ArrayLike, vb: ArrayLike) -> FloatArray:
    """Phase voltage unbalance rate: as LVUR, on phase-to-neutral magnitudes, % (IEEE Std 141)."""
    return _largest_deviation_percent(np.stack(np.broadcast_arrays(*(np.asarray(x, float) for x in (vr, vy, vb)))))


def current_unbalance_percent(magnitudes: ArrayLike) -> FloatArray:
    """Largest deviation of the phase currents from their mean, %; (3, ...) rms. 0 where nothing flows."""
    return _largest_deviation_percent(np.asarray(magnitudes, float))


def _largest_deviation_percent(three: FloatArray) -> FloatArray:
    mean = three.mean(axis=0)
    spread = np.abs(three - mean).max(axis=0)
    return np.asarray(100 * np.divide(spread, mean, out=np.zeros_like(mean), where=mean > 0))
