"""How accuracy rises over trainings near their capacity: what a search abandons by, and where it asks next.

Kinds and dimensions other than those that `search_speed` times. Printed beside each other: the log odds that trainings
gained after a share of their steps, at most, and the bound of `models.abandoning`; and how many times the capacity a
size was, beside what `measure.capacity_law` makes of how its training ended.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from joblib import Parallel, delayed

from models.abandoning import falls_short, log_odds, most_gained
from models.any_ffn import AnyFFNConfig, sized
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.memory_kinds import OneNeuronExpertsConfig
from models.precisions import Precision
from models.training_budget import TrainingBudget
from retromem.benchmarks.in_turns import Timed
from retromem.measure.capacity_law import facts_over_capacity
from retromem.measure.trained_ffn import unit_rows, weight_generator

_KINDS: tuple[AnyFFNConfig, ...] = (
    *(DenseConfig(kind="gelu"), DenseConfig(kind="silu"), GatedConfig(kind="geglu"), GatedConfig(kind="bilinear")),
    *(ExpertsConfig(experts=4, top_k=1, activation="gelu"), OneNeuronExpertsConfig(heads=4)),
)
_ROUNDED: tuple[AnyFFNConfig, ...] = (DenseConfig(kind="gelu"), GatedConfig(kind="geglu"))
_DIMS = {"quick": (12,), "full": (12, 24, 48)}
_BUDGETS = ((1000, 0.01), (3000, 0.01), (1500, 0.03))  # steps, learning rate
_ROUNDED_BUDGETS = {"quick": ((4000, 0.03),), "full": ((2000, 0.02), (4000, 0.03))}
_PRECISIONS: tuple[Precision, ...] = ("midrise4", "int4")
_GOAL, _FAR = 0.99, 0.85
_STEP, _FAR_STEP, _NEAR = 1.06, 1.25, 0.4
"""from one number of facts to the next; the larger one where less than this share of the steps was enough"""
_FIRST_BITS = 0.5
"""a parameter: fewer than any of them holds"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """An FFN, how it is trained, and what it is to learn."""

    kind: AnyFFNConfig
    dim: int
    steps: int
    learning_rate: float
    code_dim: int
    num_params: int
    num_values: int = 16
    rounds_to: Precision | None = None


def _cases(tier: str) -> tuple[list[Case], list[Case]]:
    """Of weights as they are trained, and of weights that are rounded at every step."""
    plain = [
        Case(kind=kind, dim=dim, code_dim=dim, num_params=8 * dim**2, steps=steps, learning_rate=rate)
        for kind, dim, (steps, rate) in product(_KINDS, _DIMS[tier], _BUDGETS)
    ]
    rounded = [
        Case(
            kind=kind,
            dim=32,
            code_dim=16,
            num_params=3000,
            num_values=64,
            steps=steps,
            learning_rate=rate,
            rounds_to=precision,
        )
        for kind, precision, (steps, rate) in product(_ROUNDED, _PRECISIONS, _ROUNDED_BUDGETS[tier])
    ]
    return plain, rounded


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


def _curve(case: Case, config: AnyFFNConfig, num_facts: int) -> Curve:
    generator = weight_generator(0)
    keys_ND, codes_VE = unit_rows(num_facts, case.dim, generator), unit_rows(case.num_values, case.code_dim, generator)
    value_ids_N = torch.randint(case.num_values, (num_facts,), generator=generator)
    budget = TrainingBudget(
        steps=case.steps,
        learning_rate=case.learning_rate,
        rounding="aware" if case.rounds_to else "after",
        goal_nats=0.0,
        max_seconds=math.inf,
    )
    data = KeyValueData.of_one_relation(keys_ND, value_ids_N, case.num_values)
    ffn = config.build(case.dim, case.code_dim, generator=generator)
    module = _Watched(ffn, data, codes_VE, budget, generator=generator, rounds_to=case.rounds_to)
    module.share_right_at = {}
    fit(module, accelerator="cpu")
    return Curve(num_facts=num_facts, share_right=module.share_right_at)


def _around_capacity(case: Case) -> list[Curve]:
    """From few facts to so many that the training ends far below the goal."""
    torch.set_num_threads(1)
    config = sized(case.kind, case.num_params, case.dim, case.code_dim)
    num_params = config.num_params(case.dim, case.code_dim)
    facts, curves = _FIRST_BITS * num_params / math.log2(case.num_values), list[Curve]()
    while not curves or curves[-1].best > _FAR:
        curves.append(_curve(case, config, round(facts)))
        facts *= _STEP if (curves[-1].reached_at or 1) > _NEAR else _FAR_STEP
    return curves


def _capacity(curves: Sequence[Curve]) -> float | None:
    """Between the sizes around it, on a line of log odds."""
    for held, failed in pairwise(curves):
        if held.best >= _GOAL > failed.best:
            high, low = log_odds(min(held.best, 0.9995)), log_odds(failed.best)
            share = (high - log_odds(_GOAL)) / (high - low)
            return held.num_facts * math.pow(failed.num_facts / held.num_facts, share)
    return None


def measure(say: Callable[[str], None], tier: str) -> Iterator[Timed]:
    """Prints both tables, for both ways to train; times nothing. Quick: fewer dimensions and budgets."""
    for cases in _cases(tier):
        rounding_aware = cases[0].rounds_to is not None
        found: list[list[Curve]] = Parallel(n_jobs=-1)(delayed(_around_capacity)(case) for case in cases)
        say("weights that are rounded at every step" if rounding_aware else "weights as they are trained")
        _tell_gains([curve for of_one in found for curve in of_one], say, rounding_aware=rounding_aware)
        _tell_ends(cases, found, say, rounding_aware=rounding_aware)
    yield from ()


def _tell_gains(curves: Sequence[Curve], say: Callable[[str], None], *, rounding_aware: bool) -> None:
    say(f"{len(curves)} trainings; log odds gained after a share of the steps, where {_GOAL:g} was reached later:")
    for share in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975):
        gained = [
            log_odds(_GOAL) - log_odds(max(right for at, right in curve.share_right.items() if at <= share + 1e-9))
            for curve in curves
            if (curve.reached_at or 0) > share
        ]
        if gained:
            bound = most_gained(share, rounding_aware=rounding_aware)
            say(f"  {share:<6}{max(gained):6.2f} log odds at most ({len(gained)}); abandoned by {bound:.2f}")


def _abandoned(curve: Curve, *, rounding_aware: bool) -> tuple[float, float] | None:
    """Share of the steps and of right answers at the look that would have ended this training."""
    most = 0.0
    for share, right in curve.share_right.items():
        most = max(most, right)
        if share < 1 and falls_short(most, _GOAL, share_of_steps=share, rounding_aware=rounding_aware):
            return share, most
    return None


def _capacity_text(case: Case, capacity: float) -> str:
    """With the times that minibatches show a fact: the fewer, the less is held (`EXPOSURES_ENOUGH`)."""
    budget = TrainingBudget()
    batch = capacity if capacity <= budget.full_batch_up_to else budget.batch_size
    config = sized(case.kind, case.num_params, case.dim, case.code_dim)
    bits = capacity * math.log2(case.num_values) / config.num_params(case.dim, case.code_dim)
    return (
        f"{config.label}, {case.dim} inputs, {case.steps} steps: {capacity:,.0f} facts, {bits:.2f} bits per parameter, "
        f"each shown {case.steps * batch / capacity:.0f} times"
    )


def _tell_ends(
    cases: Sequence[Case], found: Sequence[Sequence[Curve]], say: Callable[[str], None], *, rounding_aware: bool
) -> None:
    say("facts over the capacity, beside what is expected from how the training ended:")
    ended: dict[str, list[tuple[float, float]]] = {}
    for case, curves in zip(cases, found, strict=True):
        capacity = _capacity(curves)
        if capacity:
            say(f"  {_capacity_text(case, capacity)}")
        for curve in curves if capacity else []:
            assert capacity is not None
            over, (at, right) = curve.num_facts / capacity, (curve.reached_at, curve.best)
            how = f"reached at {at:.1f} of its steps" if at else f"{right:.2f} right at the end"
            told = facts_over_capacity(right, _GOAL, share_of_steps=at or 1.0, rounding_aware=rounding_aware)
            ended.setdefault(how, []).append((over, told))
            look = _abandoned(curve, rounding_aware=rounding_aware) if not at else None
            if look:
                told = facts_over_capacity(
                    look[1], _GOAL, share_of_steps=look[0], rounding_aware=rounding_aware, abandoned=True
                )
                ended.setdefault(f"abandoned with {look[1]:.1f} right", []).append((over, told))
    for how, pairs in sorted(ended.items()):
        measured, told = (statistics.median(of) for of in zip(*pairs, strict=True))
        say(f"  {how:32}{measured:.3f} ({len(pairs)}), expected {told:.3f}")
