"""The joint objective: neutral and negative-sequence current, squared, over a horizon; and what a move changes.

With house currents c referred to their own phase, the neutral current is |sum c_i r_p| and three times the
negative sequence is |sum c_i u_p|, r = (1, a^2, a), u = (1, a, a^2). Both are linear in the currents, so the
objective is a quadratic form and the effect of two moves together is the two single effects plus one product.
Minimising one of the two alone leaves, or raises, the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from balancer.decision import FloatArray, IntArray
from balancer.phasor import ROT, A, ComplexArray

NEGATIVE: ComplexArray = np.array([1.0, A, A**2])
"""What turns a current referred to its own phase into its share of three times the negative sequence."""


@dataclass(frozen=True, slots=True)
class Imbalance:
    """The imbalance over K steps and its change under every single move.

    Attributes:
        value: the objective as it stands, A^2 h.
        change: (n, 3) its change when house i goes to phase p; 0 where it is there already.
        vector: (n, 3, 4K) what the move adds to the (weighted, real) imbalance vector: the product of two rows
            is half of what they change together beyond their single changes.
    """

    value: float
    change: FloatArray
    vector: FloatArray

    def pair_change(self, first: tuple[int, int], second: tuple[int, int]) -> float:
        """Change when two different houses move together, A^2 h."""
        cross = 2 * float(self.vector[first] @ self.vector[second])
        return float(self.change[first] + self.change[second]) + cross


def imbalance(current: ComplexArray, phase: IntArray, hours: FloatArray) -> Imbalance:
    """Work it out for currents (n, K), A, referred to own phase; phase (n,) 0/1/2 or -1; `hours` (K,) a step."""
    on = phase >= 0
    place = np.maximum(phase, 0)
    weight = np.sqrt(hours)
    share = np.where(on[:, None], current, 0.0) * weight
    neutral, negative = ROT[place] @ share, NEGATIVE[place] @ share                     # (K,)
    step_neutral = share[:, None, :] * (ROT[None, :] - ROT[place][:, None])[:, :, None]      # (n, 3, K)
    step_negative = share[:, None, :] * (NEGATIVE[None, :] - NEGATIVE[place][:, None])[:, :, None]
    vector = _real(np.concatenate([step_neutral, step_negative], axis=-1))
    total = _real(np.concatenate([neutral, negative]))
    change = 2 * (vector @ total) + (vector**2).sum(axis=-1)
    return Imbalance(float(total @ total), change, vector)


def _real(z: ComplexArray) -> FloatArray:
    return np.concatenate([z.real, z.imag], axis=-1)
