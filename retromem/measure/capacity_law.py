"""How far from its capacity a memory was, from how one training ended: where a search asks next.

Fitted on GELU, GeGLU, SiLU and bilinear FFNs, mixtures of four experts and one-neuron experts of 12 to 48 dimensions,
and on rounded GELU and GeGLU FFNs of 32 (`make bench ONLY=curves`). It decides how many trainings a search takes, and
where between a success and a failure a tenth beyond it the search ends.
"""

import math

from models.abandoning import expected_accuracy, log_odds

_LOG_ODDS_OF_SIZE = 4.2
"""that a memory e times as large gains paraphrased: 3 to 8, of weights and of product codes (18 searches of `make
report`)"""


def facts_over_capacity(
    accuracy: float, goal: float, *, share_of_steps: float, rounding_aware: bool, abandoned: bool = False
) -> float:
    """Facts that were trained, times the most that could have been.

    Below 1 where the goal was reached, by the share of the steps that it took; above 1 by the accuracy where it was
    not.
    """
    left = 1 - share_of_steps
    if accuracy >= goal:
        return max(0.6, 1 - 1.5 * left) if rounding_aware else 1 - 0.4 * math.pow(left, 2.5)
    at = _facts_rounded_at if rounding_aware else _facts_at
    if not abandoned:
        return max(1.0, at(accuracy) / at(goal))
    accuracy = expected_accuracy(accuracy, share_of_steps=share_of_steps, rounding_aware=rounding_aware)
    beyond = max(0.0, at(min(accuracy, goal)) / at(goal) - 1)
    # Trainings that end far below the goal fall off more slowly with the facts than those around it: of rounded weights
    # twice as slowly on random keys, three to four times on cities.
    return 1 + 2.5 * beyond if rounding_aware else min(1 + 1.5 * beyond + 15 * beyond**2, 3.0)


def _facts_at(accuracy: float) -> float:
    """Facts of which this share is answered, times those of which all are."""
    wrong = 1 - accuracy
    return 1 + 0.5 * wrong + wrong**3


def _facts_rounded_at(accuracy: float) -> float:
    """The same of weights that are rounded at every step."""
    return 1 + 0.35 * math.sqrt(1 - accuracy)


def facts_over_capacity_in_new_words(accuracy: float, goal: float) -> float:
    """The same from the accuracy alone, of weights and of an index, where paraphrased questions are asked."""
    short = log_odds(goal) - log_odds(min(max(accuracy, 0.02), 0.998))
    return math.exp(short / _LOG_ODDS_OF_SIZE)
