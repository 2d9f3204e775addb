"""Whether a training will fall short of its goal, told before its end from the facts that it answers by then.

While the learning rate falls along its cosine, the log odds of a right answer rise by less and less. What may still be
gained after a share of the steps is bounded by the trainings that came to their goal last; `make bench ONLY=curves`
measures the bound, on kinds and dimensions other than those on which `make bench ONLY=search` counts false abandons.
"""

import math

_MOST_GAINED, _GAINED, _FALL = 8.5, 2.7, (1.5, 2.0)
"""log odds over a whole training: a quarter more than was seen at most, and what is usual of those that fell short; and
the powers of the share of the steps that is left, by which both fall"""
FIRST_LOOK = 0.2
"""share of the steps before which nothing is told"""


def falls_short(accuracy: float, goal: float, *, share_of_steps: float) -> bool:
    """Whether a training that answers this share of its facts by now will end below `goal`; never, where all must be
    right."""
    if share_of_steps < FIRST_LOOK or goal == 1:
        return False
    return _log_odds(goal) - _log_odds(accuracy) > most_gained(share_of_steps)


def most_gained(share_of_steps: float) -> float:
    """Log odds that a training may still gain after this share of its steps."""
    return _MOST_GAINED * math.pow(1 - share_of_steps, _FALL[0])


def expected_accuracy(accuracy: float, *, share_of_steps: float) -> float:
    """Where a training that was abandoned would have ended, as those end that fall short."""
    end = _log_odds(accuracy) + _GAINED * math.pow(1 - share_of_steps, _FALL[1])
    return 1 / (1 + math.exp(-end))


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))
