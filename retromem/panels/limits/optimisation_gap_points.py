"""Points of the optimisation gap: searches for the most facts stored, by construction, exposures and optimiser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from models.any_ffn import AnyFFNConfig
from models.closed_form.value_line import value_line_memory
from models.ffn import FFN
from models.ffn_kinds import DenseConfig, GatedConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, most_facts, most_facts_around, train
from retromem.panels.limits.chosen_keys import RANDOM_KEYS, ChosenKeys
from retromem.panels.limits.optimisation_gap import (
    BITS_A_FACT,
    DIM,
    NUM_VALUES,
    PAIRS,
    PUBLISHED_BITS,
    SOLVED_KEYS,
    SOLVED_PAIRS,
    TRAINED_KEYS,
    TRAINED_PAIRS,
    OptimisationConfig,
)
from retromem.panels.points import PUBLISHED, Point
from retromem.panels.published.two_token_keys import constructed, pair_table
from retromem.panels.published.two_token_noise import sigma90

_ACCURACY = 0.99
_SHARE_DISTURBED = 0.9
"""of the facts that training stores, at which both stand weight noise"""
_PAIRS_BUDGET = TrainingBudget(steps=5000, learning_rate=1e-2, goal_nats=2e-4)
_PUBLISHED_PAIRS = {
    TRAINED_PAIRS: {"facts_published": 496.0, "sigma90_published": 2.0e-2},
    SOLVED_PAIRS: {"facts_published": 696.0, "sigma90_published": 1.5e-5},
}
"""sigma90 at d = 32 and 2,080 facts"""
_OPTIMIZERS = {
    "adam": (TrainingBudget(), (1e-2, 3e-2)),
    "adamw": (TrainingBudget(optimizer="adamw", weight_decay=0.01), (1e-2, 3e-2)),
    "sgd": (TrainingBudget(optimizer="sgd"), (1.0, 3.0)),
    "muon": (TrainingBudget(optimizer="muon"), (0.1, 0.2)),
}
"""momentum 0.9 for sgd; each at two rates, chosen on another seed among .01 to .1, 1 to 10 and .01 to .2"""


def optimisation_points(config: OptimisationConfig, seed: int, keys: ChosenKeys = RANDOM_KEYS) -> list[Point]:
    """Everything of one seed."""
    table_of = partial(keys.table, dim=DIM, num_values=NUM_VALUES, seed=seed)

    def bits_of(kind: AnyFFNConfig, budgets: Sequence[TrainingBudget], expected: float) -> float:
        """A parameter, of the most facts that any of the budgets stores."""
        facts_a_bit = kind.num_params(DIM, DIM) / BITS_A_FACT

        def reaches(num_facts: int) -> bool:
            table = table_of(num_facts)
            return any(accuracy(train(kind, table, budget, seed=seed), table) >= _ACCURACY for budget in budgets)

        expected_facts = int(expected * facts_a_bit)
        return most_facts_around(reaches, expected=expected_facts, resolution=config.resolution) / facts_a_bit

    dense = DenseConfig(kind="relu", width=config.width)
    gated = GatedConfig(kind="swiglu", width=config.width)
    points = _constructions(config, table_of, seed) if config.constructions else []
    for name, kind in (("ReLU", dense), ("SwiGLU", gated)):
        published = PUBLISHED_BITS[name]
        bits_at = partial(Point, quantity="bits_per_param", series=name)
        for steps in config.exposures:
            bits = bits_of(kind, _of_exposures(steps), published[steps])
            points.append(bits_at(x=float(steps), y=bits, seed=seed))
            points.append(bits_at(labels=PUBLISHED, x=float(steps), y=published[steps]))
        if config.reads_text:
            continue  # optimisers are compared on random keys, as token pairs are
        most = max(config.exposures)
        of_optimiser = partial(Point, quantity="optimiser_bits_per_param", labels={"kind": name}, seed=seed)
        for optimizer, (budget, rates) in _OPTIMIZERS.items():
            budgets = [replace(budget, steps=most, learning_rate=rate) for rate in rates]
            points.append(of_optimiser(series=optimizer, y=bits_of(kind, budgets, published[most])))
    return points


def _of_exposures(steps: int) -> list[TrainingBudget]:
    """The better of two learning rates, as in the published sweep."""
    rates = (3e-2, 1e-1) if steps <= 300 else (1e-2, 3e-2)
    return [TrainingBudget(steps=steps, learning_rate=rate) for rate in rates]


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """A way to the weights, and where to search for the most facts that it stores."""

    series: str
    write: Callable[[KeyTable], FFN]
    expected: float
    bracket: tuple[float, float] = (0.4, 1.5)
    """shares of that, where the search starts and ends"""


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What training and a construction, which has as many parameters, are compared on."""

    name: str
    table_of: Callable[[int], KeyTable]
    """the table of so many facts"""
    num_params: int
    goal: float
    """accuracy at which facts are stored"""


def _constructions(config: OptimisationConfig, table_of: Callable[[int], KeyTable], seed: int) -> list[Point]:
    points = [] if config.reads_text else _on_pairs(config, seed)  # pairs have keys of their own
    gated = GatedConfig(kind="swiglu", width=config.width, bias=True)
    num_params = gated.num_params(DIM, DIM)
    trained = _Writer(
        series=TRAINED_KEYS,
        write=lambda table: train(gated, table, TrainingBudget(), seed=seed),
        expected=2.64 * num_params / BITS_A_FACT,
    )
    solved = _Writer(
        series=SOLVED_KEYS,
        write=lambda table: _on_a_line(gated, table, seed=seed),
        expected=3.07 * num_params / BITS_A_FACT,
        bracket=(0.9, 1.12),  # beyond what it can hold it takes many times as long
    )
    task = _Task(name=config.key_name, table_of=table_of, num_params=num_params, goal=_ACCURACY)
    return points + _compared(task, [trained, solved], config.resolution / 2, seed)


def _on_pairs(config: OptimisationConfig, seed: int) -> list[Point]:
    pairs = DenseConfig(kind="relu", width=DIM)
    trained = _Writer(
        series=TRAINED_PAIRS,
        write=lambda table: train(pairs, table, _PAIRS_BUDGET, seed=seed),
        expected=_PUBLISHED_PAIRS[TRAINED_PAIRS]["facts_published"],
    )
    solved = _Writer(
        series=SOLVED_PAIRS,
        write=lambda table: constructed(DIM, len(table.keys_ND), seed=seed),
        expected=_PUBLISHED_PAIRS[SOLVED_PAIRS]["facts_published"],
        bracket=(0.4, 1.4),  # there are 1,024 pairs
    )
    task = _Task(name=PAIRS, table_of=partial(pair_table, DIM), num_params=5 * DIM**2, goal=1.0)
    points = _compared(task, [trained, solved], config.resolution / 2, seed)
    for series, published in _PUBLISHED_PAIRS.items():
        points += [Point(quantity=of, series=series, labels={"task": PAIRS}, y=y) for of, y in published.items()]
    return points


def _compared(task: _Task, writers: Sequence[_Writer], resolution: float, seed: int) -> list[Point]:
    """Facts, bits and sigma90 of each, the trained one first: both stand the noise at one load."""
    points: list[Point] = []
    at_load = 0
    for writer in writers:

        def reaches(num_facts: int, writer: _Writer = writer) -> bool:
            table = task.table_of(num_facts)
            return accuracy(writer.write(table), table) >= task.goal

        low, high = (int(share * writer.expected) for share in writer.bracket)
        facts = most_facts(reaches, low=low, high=high, resolution=resolution)
        if not facts:
            raise RuntimeError(f"{writer.series}: not even {low} facts were stored; the search must start from fewer")
        at_load = at_load or int(_SHARE_DISTURBED * facts)
        table = task.table_of(at_load)
        found = {
            "facts": float(facts),
            "stored_bits_per_param": facts * BITS_A_FACT / task.num_params,
            "sigma90": sigma90(writer.write(table), table),
        }
        labels = {"task": task.name}
        points += [Point(quantity=of, series=writer.series, labels=labels, y=y, seed=seed) for of, y in found.items()]
    return points


def _on_a_line(config: GatedConfig, table: KeyTable, *, seed: int) -> FFN:
    weights = value_line_memory(
        table.keys_ND,
        table.value_ids_N,
        table.codes_VE,
        units=config.units(DIM, DIM),
        goal_accuracy=_ACCURACY,
        # Another stream than that of the keys.
        generator=torch.Generator().manual_seed(20_000 + seed),
    )
    ffn = config.build(DIM, DIM, generator=torch.Generator())
    ffn.load_state_dict(weights)
    return ffn.eval()
