"""Perceptrons whose weights are -1 or +1, trained by reinforced belief propagation.

Belief propagation in its Gaussian form (Braunstein & Zecchina 2006, Phys. Rev. Lett. 96, 030201, in the dense limit,
with the Onsager term in place of one message an edge): every weight has a field, its tanh is the weight's mean, and a
sweep over all patterns gives new fields. Reinforcement adds a growing share of the old field to the new one, until
every mean is -1 or +1. Random patterns allow at most 0.83 of them a weight (Krauth & Mezard 1989).

All perceptrons of one fit see the same patterns: each is one output bit.

Shape legend: N patterns, F inputs (weights of one perceptron), O perceptrons (output bits).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_SWEEPS_A_CHECK = 5
_SMALLEST_VARIANCE = 1.0
"""of a sum. Sums of signs are odd integers, so 1 hides no error; with less, the messages of nearly polarised weights
explode and throw away what was found, and near the capacity half as many perceptrons end without an error."""


@dataclass(frozen=True, kw_only=True)
class BinaryFit:
    """The best weights that were met, and what they miss."""

    weights_OF: Float[Tensor, "O F"]
    """-1 or +1"""
    wrong_ON: Bool[Tensor, "O N"]
    """outputs of the wrong sign; an even F can also give 0, which is wrong too"""
    sweeps: int
    """times all patterns were shown"""

    @property
    def missed_share(self) -> float:
        """Share of the patterns with any wrong output."""
        return float(self.wrong_ON.any(0).float().mean())


def fit_binary_perceptrons(
    patterns_NF: Float[Tensor, "N F"],
    labels_ON: Float[Tensor, "O N"],
    *,
    sweeps: int = 1000,
    may_miss: float = 0.0,
    damping: float = 0.0,
    seed: int = 0,
) -> BinaryFit:
    """Weights of O perceptrons that give each pattern its labels, as far as `sweeps` sweeps get.

    Patterns are -1 or +1. Labels are -1, +1, or 0 where any output is right. Reinforcement reaches 95 % after `sweeps`
    sweeps: more sweeps get nearer to the capacity. The fit ends early when nothing is wrong.

    `may_miss`: this share of the patterns is given up, the same ones in all outputs. A pattern then counts as
    eps + (1 - eps) prod_o P(output o is right), with eps such that the patterns' mean weight is 1 - may_miss.
    `damping`: share of the old messages that is kept. Patterns that resemble each other need it: the Onsager term is
    that of independent ones, and without damping their messages swing ever further.
    """
    num_patterns, num_inputs = patterns_NF.shape
    generator = torch.Generator().manual_seed(seed)
    field_OF = 0.01 * torch.randn(len(labels_ON), num_inputs, generator=generator)  # breaks the tie of all weights
    mean_OF, message_ON = field_OF.tanh(), torch.zeros_like(labels_ON)
    counted_ON = labels_ON != 0
    rate = 1 - 0.05 ** (1 / sweeps)
    giving_up = _GivingUp(may_miss) if may_miss else None

    best_OF, best_errors_O = torch.ones_like(field_OF), torch.full((len(labels_ON),), num_patterns + 1)
    for sweep in range(sweeps):
        variance_O1 = (1 - mean_OF.square()).sum(1, keepdim=True) + _SMALLEST_VARIANCE
        sum_ON = mean_OF @ patterns_NF.T - variance_O1 * message_ON
        margin_ON = labels_ON * sum_ON / variance_O1.sqrt()
        new_ON = torch.where(counted_ON, labels_ON * _mills(margin_ON) / variance_O1.sqrt(), 0.0)
        curvature_ON = new_ON * (new_ON + sum_ON / variance_O1)
        if giving_up is not None:
            log_right_N = torch.where(counted_ON, torch.special.log_ndtr(margin_ON), 0.0).sum(0)
            kept_N = giving_up.kept(log_right_N)
            curvature_ON = kept_N * curvature_ON - kept_N * (1 - kept_N) * new_ON.square()
            new_ON = kept_N * new_ON
        message_ON = damping * message_ON + (1 - damping) * new_ON
        reinforcement = 1 - (1 - rate) ** sweep
        field_OF = message_ON @ patterns_NF + curvature_ON.sum(1, keepdim=True) * mean_OF + reinforcement * field_OF
        mean_OF = field_OF.tanh()
        if (sweep + 1) % _SWEEPS_A_CHECK == 0 or sweep + 1 == sweeps:
            weights_OF = torch.where(field_OF > 0, 1.0, -1.0)
            wrong_ON = _wrong(weights_OF, patterns_NF, labels_ON)
            # Perceptrons that give up the same patterns belong together; others are the best of their own.
            errors_O = wrong_ON.sum(1) if giving_up is None else wrong_ON.any(0).sum().expand(len(labels_ON))
            better_O = errors_O < best_errors_O
            best_OF = torch.where(better_O[:, None], weights_OF, best_OF)
            best_errors_O = torch.minimum(errors_O, best_errors_O)
            if not best_errors_O.any():
                break
    return BinaryFit(weights_OF=best_OF, wrong_ON=_wrong(best_OF, patterns_NF, labels_ON), sweeps=sweep + 1)


def _mills(margin: Tensor) -> Tensor:
    """phi(margin) / Phi(margin), in a form that neither overflows nor loses digits."""
    ratio: Tensor = math.sqrt(2 / math.pi) / torch.special.erfcx(margin * -math.sqrt(0.5))
    return ratio


def _wrong(weights_OF: Tensor, patterns_NF: Tensor, labels_ON: Tensor) -> Tensor:
    return ((weights_OF @ patterns_NF.T) * labels_ON <= 0) & (labels_ON != 0)


class _GivingUp:
    """Finds the eps at which a given share of the patterns is given up; it moves little from sweep to sweep."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._log_odds = 0.0

    def kept(self, log_right_N: Tensor) -> Tensor:
        """How far each pattern still counts: P / (eps' + P) for P its probability of being right, by Newton's steps."""
        for _ in range(8):
            given_up_N = torch.sigmoid(self._log_odds - log_right_N)
            slope = float((given_up_N * (1 - given_up_N)).mean())
            step = (float(given_up_N.mean()) - self._share) / max(slope, 1e-9)
            self._log_odds -= max(-1.0, min(1.0, step))
        return torch.sigmoid(log_right_N - self._log_odds)
