"""How far from its capacity a memory was, from how one training ended: where a search asks next.

Fitted on GELU, GeGLU, SiLU and bilinear FFNs, mixtures of four experts and one-neuron experts of 12 and 24 dimensions
(`make bench ONLY=curves`). It decides how many trainings a search takes, not where it ends.
"""

import math

from models.abandoning import expected_accuracy


def facts_over_capacity(accuracy: float, goal: float, *, share_of_steps: float, abandoned: bool) -> float:
    """Facts that were trained, times the most that could have been.

    Below 1 where the goal was reached, by the share of the steps that it took; above 1 by the accuracy where it was
    not.
    """
    if accuracy >= goal:
        return 1 - 0.4 * math.pow(1 - share_of_steps, 2.5)
    if abandoned:
        accuracy = min(expected_accuracy(accuracy, share_of_steps=share_of_steps), goal)
    return max(1.0, _facts_at(accuracy) / _facts_at(goal))


def _facts_at(accuracy: float) -> float:
    """Facts of which this share is answered, times those of which all are."""
    wrong = 1 - accuracy
    return 1 + 0.5 * wrong + wrong**3
