"""Points of the use of patterns: binarised activations, and answers in patterns that no stored fact has.

Shape legend: N facts, Q questions, D key dimension, F hidden units, E code dimension, V values, T permutations.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from models.diagnostics.activation_patterns import (
    ActivationPatterns,
    binarised,
    hidden_blocks,
    mean_positive_activations,
    read_patterns,
    right_answers,
)
from models.ffn import DenseFFN
from models.ffn_kinds import DenseConfig, LinearConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.trained_ffn import (
    KeyTable,
    accuracy,
    first_facts,
    random_table,
    train,
    unit_rows,
)
from retromem.panels.facts_stored import most_stored
from retromem.panels.points import Point
from retromem.panels.theory.pattern_use import noise_name

if TYPE_CHECKING:
    from retromem.panels.theory.pattern_use import PatternUseConfig

LEAST_QUESTIONS = 20
"""Of fewer questions on one side a share says next to nothing."""
_PERMUTATIONS, _TENTHS = 200, 10
_EXPECTED_BITS, _RESOLUTION = 2.06, 0.03


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Right answers in patterns that a stored fact has, less those in patterns that none has."""

    gap: float
    null_low: float
    """95 % of the gaps of the null lie between"""
    null_high: float


def pattern_use_points(config: "PatternUseConfig", cities: KnowledgeSet, seed: int) -> list[Point]:
    """Random facts at every load, then cities at every width."""
    return [*_random_facts(config, seed), *_held_out_wordings(config, cities, seed)]


def _random_facts(config: "PatternUseConfig", seed: int) -> list[Point]:
    ffn_config, budget = DenseConfig(kind="relu", width=config.width), TrainingBudget(steps=config.steps)
    num_params, bits_a_fact = ffn_config.num_params(config.dim, config.dim), math.log2(config.num_values)
    expected = int(_EXPECTED_BITS * num_params / bits_a_fact)
    whole = random_table(2 * expected + 3, config.dim, config.num_values, seed=seed)
    capacity = most_stored(lambda table: train(ffn_config, table, budget, seed=seed), whole, resolution=_RESOLUTION)
    points = [Point(quantity="capacity_facts", series="ReLU", y=float(capacity), seed=seed)]
    for load in config.loads:
        table = first_facts(whole, max(2, round(load * capacity)))
        ffn = train(ffn_config, table, budget, seed=seed)
        assert isinstance(ffn, DenseFFN)
        for series, y in binarised_accuracies(ffn, table, budget, seed=seed).items():
            points.append(Point(quantity="accuracy", series=series, x=load, y=y, seed=seed))
        points.append(Point(quantity="accuracy", series="chance", x=load, y=1 / config.num_values))
        untrained = train(ffn_config, table, replace(budget, steps=0), seed=seed)
        assert isinstance(untrained, DenseFFN)
        written, rows_Q = _patterns(ffn, table.keys_ND), torch.arange(len(table.keys_ND)).repeat(config.num_noisy)
        for noise in config.noises:
            questions_QD = noisy(table.keys_ND[rows_Q], noise, seed=seed)
            seen_Q = written.seen(_patterns(ffn, questions_QD))
            right_Q = _right(ffn, questions_QD, table.codes_VE, table.value_ids_N[rows_Q])
            series = noise_name(noise)
            for name, share in (
                (series, 1 - seen_Q.mean()),
                (f"{series}, untrained", _unseen(untrained, table.keys_ND, questions_QD)),
            ):
                points.append(Point(quantity="unseen_share", series=name, x=load, y=share, seed=seed))
            points += _gap_points(series, load, seen_Q, right_Q, rows_Q.numpy(), seed, f"{series}: ", "noisy_accuracy")
    return points


def _held_out_wordings(config: "PatternUseConfig", cities: KnowledgeSet, seed: int) -> list[Point]:
    facts, asked = cities.facts(), cities.ask("heldout")
    keys_ND = torch.from_numpy(facts.cues[0].key_vectors())
    codes_VE = unit_rows(facts.values.num_values, config.text_code_dim, torch.Generator().manual_seed(seed))
    table = KeyTable(keys_ND=keys_ND, value_ids_N=torch.from_numpy(facts.value_ids_N), codes_VE=codes_VE)
    questions_QD, values_Q = torch.from_numpy(asked.queries.key_vectors()), torch.from_numpy(asked.value_ids_Q)
    row_of = {fact_id: row for row, fact_id in enumerate(facts.ids_N.tolist())}
    own_QD = keys_ND[[row_of[fact_id] for fact_id in asked.fact_ids_Q.tolist()]]
    nearness_Q = functional.cosine_similarity(questions_QD, own_QD).numpy()
    alike_Q = np.empty(len(nearness_Q), dtype=np.int64)
    for number, tenth in enumerate(np.array_split(np.argsort(nearness_Q, kind="stable"), _TENTHS)):
        alike_Q[tenth] = number
    points = []
    for width in config.text_widths:
        ffn_config = DenseConfig(kind="relu", width=width)
        ffn = train(ffn_config, table, TrainingBudget(steps=config.steps), seed=seed)
        assert isinstance(ffn, DenseFFN)
        seen_Q = _patterns(ffn, keys_ND).seen(_patterns(ffn, questions_QD))
        right_Q, x = _right(ffn, questions_QD, codes_VE, values_Q), float(width)
        untrained = train(ffn_config, table, TrainingBudget(steps=0), seed=seed)
        assert isinstance(untrained, DenseFFN)
        for quantity, series, y in (
            ("heldout", "right, written wording", accuracy(ffn, table)),
            ("heldout", "in a pattern never seen", 1 - float(seen_Q.mean())),
            ("unseen_share", "held-out wording", 1 - float(seen_Q.mean())),
            ("unseen_share", "held-out wording, untrained", _unseen(untrained, keys_ND, questions_QD)),
        ):
            points.append(Point(quantity=quantity, series=series, x=x, y=y, seed=seed))
        points += _gap_points("held-out wording", x, seen_Q, right_Q, alike_Q, seed, "right, held-out, ", "heldout")
    return points


def _gap_points(
    series: str,
    x: float,
    seen_Q: ndarray,
    right_Q: ndarray,
    alike_Q: ndarray,
    seed: int,
    shown_as: str,
    shown_in: str,
) -> list[Point]:
    numbers = {}
    for side, of_Q in (("seen", seen_Q), ("unseen", ~seen_Q)):
        if of_Q.sum() >= LEAST_QUESTIONS:
            numbers["in_" + side, series] = numbers[shown_in, f"{shown_as}pattern {side}"] = float(right_Q[of_Q].mean())
    if len(numbers) == 4:
        found = gap_beside_null(seen_Q, right_Q, alike_Q, seed=seed)
        numbers |= {("gap", series): found.gap, ("null_low", series): found.null_low}
        numbers["null_high", series] = found.null_high
    return [Point(quantity=quantity, series=of, x=x, y=y, seed=seed) for (quantity, of), y in numbers.items()]


def binarised_accuracies(ffn: DenseFFN, table: KeyTable, budget: TrainingBudget, *, seed: int) -> dict[str, float]:
    """Accuracy with activations as they are, binarised, and binarised with a linear read-out trained on them."""

    def blocks() -> list[Tensor]:
        return list(hidden_blocks(ffn.hidden, table.keys_ND))

    scale_F = mean_positive_activations(blocks())
    patterns_NF = torch.cat([binarised(h_BF, scale_F) for h_BF in blocks()])
    first_N = torch.zeros_like(table.value_ids_N)
    right_N = right_answers(
        [patterns_NF],
        lambda h_BF: h_BF @ ffn.w_out_FE,
        table.codes_VE,
        table.value_ids_N,
        first_N,
        first_N + len(table.codes_VE),
    )
    on_patterns = KeyTable(keys_ND=patterns_NF, value_ids_N=table.value_ids_N, codes_VE=table.codes_VE)
    return {
        "as they are": accuracy(ffn, table),
        "binarised": float(right_N.double().mean()),
        "binarised, read-out trained anew": accuracy(
            train(LinearConfig(), on_patterns, budget, seed=seed), on_patterns
        ),
    }


def noisy(keys_QD: Tensor, ratio: float, *, seed: int) -> Tensor:
    """Each key moved by Gaussian noise of `ratio` times its length; a ReLU FFN without biases needs no more."""
    noise_QD = torch.randn(keys_QD.shape, generator=torch.Generator().manual_seed(30_000 + seed))
    moved_QD: Tensor = keys_QD + ratio * keys_QD.norm(dim=1, keepdim=True) * functional.normalize(noise_QD, dim=1)
    return moved_QD


def gap_beside_null(seen_Q: ndarray, right_Q: ndarray, alike_Q: ndarray, *, seed: int) -> Gap:
    """The gap in accuracy between seen and unseen patterns, and that of seen ones dealt anew among like questions.

    The null permutes which questions are seen among those of one number in `alike_Q`: of one fact, or equally near to
    their key. What goes with the fact, or with nearness, is in the null too.
    """
    rng = np.random.default_rng([seed, 0x5EE4])
    groups = [np.flatnonzero(alike_Q == number) for number in np.unique(alike_Q)]
    null_T = np.empty(_PERMUTATIONS)
    for trial in range(_PERMUTATIONS):
        dealt_Q = seen_Q.copy()
        for group in groups:
            dealt_Q[group] = seen_Q[rng.permutation(group)]
        null_T[trial] = right_Q[dealt_Q].mean() - right_Q[~dealt_Q].mean()
    low, high = np.quantile(null_T, [0.025, 0.975])
    gap = float(right_Q[seen_Q].mean() - right_Q[~seen_Q].mean())
    return Gap(gap=gap, null_low=float(low), null_high=float(high))


def _unseen(ffn: DenseFFN, keys_ND: Tensor, questions_QD: Tensor) -> float:
    """Share of the questions in patterns that no key has."""
    return 1 - float(_patterns(ffn, keys_ND).seen(_patterns(ffn, questions_QD)).mean())


def _patterns(ffn: DenseFFN, keys_ND: Tensor) -> ActivationPatterns:
    return read_patterns(hidden_blocks(ffn.hidden, keys_ND))


def _right(ffn: DenseFFN, questions_QD: Tensor, codes_VE: Tensor, value_ids_Q: Tensor) -> ndarray:
    with torch.inference_mode():
        answers_Q = (ffn(questions_QD) @ codes_VE.T).argmax(1)
    right_Q: ndarray = (answers_Q == value_ids_Q).numpy()
    return right_Q
