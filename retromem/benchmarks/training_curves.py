"""How accuracy rises over trainings near their capacity: what a search abandons by, and where it asks next.

Kinds and dimensions other than those that `search_speed` times. Printed beside each other: the log odds that trainings
gained after a share of their steps, at most, and the bound of `models.abandoning`; and how many times the capacity a
size was, beside what `measure.capacity_law` makes of how its training ended.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from joblib import Parallel, delayed

from models.abandoning import most_gained
from models.any_ffn import AnyFFNConfig, sized
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.memory_kinds import OneNeuronExpertsConfig
from models.training_budget import TrainingBudget
from retromem.benchmarks.in_turns import Timed
from retromem.measure.capacity_law import facts_over_capacity
from retromem.measure.trained_ffn import random_table, weight_generator

_KINDS: tuple[AnyFFNConfig, ...] = (
    *(DenseConfig(kind="gelu"), DenseConfig(kind="silu"), GatedConfig(kind="geglu"), GatedConfig(kind="bilinear")),
    *(ExpertsConfig(experts=4, top_k=1, activation="gelu"), OneNeuronExpertsConfig(heads=4)),
)
_DIMS = {"quick": (12,), "full": (12, 24)}
_BUDGETS = ((1000, 0.01), (3000, 0.01), (1500, 0.03))  # steps, learning rate
_GOAL, _FAR = 0.99, 0.85
_STEP = 1.06


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One training."""

    num_facts: int
    share_right: Mapping[float, float]
    """share of the steps -> share of the facts answered right"""

    @property
    def reached_at(self) -> float | None:
        """Share of the steps at which the goal was seen reached."""
        return next((share for share, right in self.share_right.items() if right >= _GOAL), None)

    @property
    def best(self) -> float:
        return max(self.share_right.values())


class _Watched(KeyValueModule):
    """Counts right answers at each look, and never ends."""

    share_right_at: dict[float, float]

    def _is_over(self, mean_nats: float) -> bool:
        self.share_right_at[self.steps_done / self.budget.steps] = self.share_right()
        return False


def _curve(config: AnyFFNConfig, dim: int, num_facts: int, steps: int, learning_rate: float) -> Curve:
    table, generator = random_table(num_facts, dim, num_values=16, seed=0), weight_generator(0)
    budget = TrainingBudget(steps=steps, learning_rate=learning_rate, goal_nats=0.0, max_seconds=math.inf)
    data = KeyValueData.of_one_relation(table.keys_ND, table.value_ids_N, 16)
    ffn = config.build(dim, dim, generator=generator)
    module = _Watched(ffn, data, table.codes_VE, budget, generator=generator)
    module.share_right_at = {}
    fit(module, accelerator="cpu")
    return Curve(num_facts=num_facts, share_right=module.share_right_at)


def _around_capacity(kind: AnyFFNConfig, dim: int, steps: int, learning_rate: float) -> list[Curve]:
    """From few facts to so many that the training ends far below the goal."""
    torch.set_num_threads(1)
    config = sized(kind, 8 * dim**2, dim, dim)
    facts, curves = 0.3 * config.num_params(dim, dim), list[Curve]()
    while not curves or curves[-1].best > _FAR:
        curves.append(_curve(config, dim, round(facts), steps, learning_rate))
        facts *= _STEP
    return curves


def _capacity(curves: list[Curve]) -> float | None:
    """Between the sizes around it, on a line of log odds."""
    for held, failed in pairwise(curves):
        if held.best >= _GOAL > failed.best:
            high, low = _log_odds(min(held.best, 0.9995)), _log_odds(failed.best)
            share = (high - _log_odds(_GOAL)) / (high - low)
            return held.num_facts * math.pow(failed.num_facts / held.num_facts, share)
    return None


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))


def measure(say: Callable[[str], None], tier: str) -> Iterator[Timed]:
    """Prints both tables; times nothing. Quick: 12 inputs. Full: 24 too."""
    cases = product(_KINDS, _DIMS[tier], _BUDGETS)
    found: list[list[Curve]] = Parallel(n_jobs=-1)(
        delayed(_around_capacity)(kind, dim, *budget) for kind, dim, budget in cases
    )
    curves = [curve for of_one in found for curve in of_one]
    say(f"{len(curves)} trainings; of those that reached {_GOAL:g} later than a share of their steps:")
    for share in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        gained = [
            _log_odds(_GOAL) - _log_odds(max(right for at, right in curve.share_right.items() if at <= share + 1e-9))
            for curve in curves
            if (curve.reached_at or 0) > share
        ]
        if gained:
            say(f"  {share:.1f}  {max(gained):5.2f} log odds at most ({len(gained)}); bound {most_gained(share):.2f}")
    say("facts over the capacity, beside what is expected from how the training ended:")
    ended: dict[str, list[tuple[float, float]]] = {}
    for of_one in found:
        capacity = _capacity(of_one)
        for curve in of_one if capacity else []:
            assert capacity is not None
            at, right = curve.reached_at, curve.best
            how = f"reached at {at:.1f} of its steps" if at else f"{right:.2f} right at the end"
            told = facts_over_capacity(right, _GOAL, share_of_steps=at or 1.0, abandoned=False)
            ended.setdefault(how, []).append((curve.num_facts / capacity, told))
    for how, pairs in sorted(ended.items()):
        measured, told = (statistics.median(of) for of in zip(*pairs, strict=True))
        say(f"  {how:32}{measured:.3f} ({len(pairs)}), expected {told:.3f}")
    yield from ()
