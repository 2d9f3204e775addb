"""Whether a training will fall short of its goal, told before its end from the facts that it answers by then.

While the learning rate falls along its cosine, the log odds of a right answer rise by less and less; weights that are
rounded at every step stay where they are, and gain most of it at the end, when the rounding comes to rest. What may
still be gained after a share of the steps is bounded by the trainings that came to their goal last: `make bench
ONLY=curves` measures it, on kinds and dimensions other than those on which `make bench ONLY=search` counts false
abandons.
"""

import math

FIRST_LOOK = 0.2
"""share of the steps before which nothing is told"""
_GAINED_LATE = 1.4
"""log odds: from .96 to .99"""


def falls_short(accuracy: float, goal: float, *, share_of_steps: float, rounding_aware: bool) -> bool:
    """Whether a training that answered this share of its facts at most by now will end below `goal`; never, where all
    must be right."""
    if share_of_steps < FIRST_LOOK or goal == 1:
        return False
    most = most_gained(share_of_steps, rounding_aware=rounding_aware)
    return log_odds(goal) - log_odds(accuracy) > most


def most_gained(share_of_steps: float, *, rounding_aware: bool) -> float:
    """Log odds that a training may still gain: a fifth or a quarter more than was seen at most.

    Towards the end it falls no further: kinds whose units compete gain their last facts late, and little is saved.
    """
    most = min(4.5, 17 * math.sqrt(1 - share_of_steps)) if rounding_aware else 8.5 * (1 - share_of_steps) ** 1.5
    return max(most, _GAINED_LATE)


def expected_accuracy(accuracy: float, *, share_of_steps: float, rounding_aware: bool) -> float:
    """Where a training that was abandoned would have ended, as those end that fall short."""
    gained = 1.5 if rounding_aware else 2.7 * (1 - share_of_steps) ** 2
    return 1 / (1 + math.exp(-log_odds(accuracy) - gained))


def log_odds(share: float) -> float:
    """Of a share that may be 0 or 1."""
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))
