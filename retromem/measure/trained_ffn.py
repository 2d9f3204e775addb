"""Train one FFN on a table of keys and values, full batch: for published settings and panels about FFNs alone.

The training is that of an FFN memory; a test shows that weights, accuracy and bits come out the same on both roads.
Relations, packing and a ledger are left out.

Shape legend: N facts, D key dimension, V values, E code dimension.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.any_ffn import AnyFFNConfig
from models.ffn import FFN
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.precisions import Precision
from models.training_budget import TrainingBudget
from models.weight_packing import add_noise, load_packed, packed
from retromem.measure.bits import CalibrationFit, bits_ce, log2_calibrated, true_probability
from retromem.measure.capacity import search_capacity
from retromem.measure.settings import CapacitySearch

WEIGHT_SEEDS = 10_000
"""added to the seed of a table: the memory that is written with this sum has the same first weights"""


@dataclass(frozen=True, kw_only=True)
class KeyTable:
    """N keys, the value of each, and the code that stands for each value."""

    keys_ND: Float[Tensor, "N D"]
    value_ids_N: Int64[Tensor, " N"]
    codes_VE: Float[Tensor, "V E"]


def unit_rows(rows: int, dim: int, generator: torch.Generator) -> Float[Tensor, "N D"]:
    """Random unit vectors."""
    return torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator), dim=1)


def random_table(num_facts: int, dim: int, num_values: int | None, *, seed: int) -> KeyTable:
    """Random unit keys and codes; a value of its own for each key (None), or `num_values` drawn uniformly."""
    generator = torch.Generator().manual_seed(seed)
    keys_ND = unit_rows(num_facts, dim, generator)
    codes_VE = unit_rows(num_values or num_facts, dim, generator)
    if num_values is None:
        value_ids_N = torch.arange(num_facts)
    else:
        value_ids_N = torch.randint(num_values, (num_facts,), generator=generator)
    return KeyTable(keys_ND=keys_ND, value_ids_N=value_ids_N, codes_VE=codes_VE)


def first_facts(table: KeyTable, num_facts: int) -> KeyTable:
    """The table's first facts, so that searches ask for nested sets."""
    return KeyTable(
        keys_ND=table.keys_ND[:num_facts], value_ids_N=table.value_ids_N[:num_facts], codes_VE=table.codes_VE
    )


def weight_generator(seed: int) -> torch.Generator:
    """For first weights: another stream than that of the keys, whose numbers would not be random to them."""
    return torch.Generator().manual_seed(WEIGHT_SEEDS + seed)


def train(config: AnyFFNConfig, table: KeyTable, budget: TrainingBudget, *, seed: int, accelerator: str = "cpu") -> FFN:
    """An FFN of this kind, trained. Small ones train fastest on the processor; `auto` takes what Lightning finds."""
    generator = weight_generator(seed)
    ffn = config.build(table.keys_ND.shape[1], table.codes_VE.shape[1], generator=generator)
    train_built(ffn, table, budget, generator=generator, accelerator=accelerator)
    return ffn


def train_built(
    ffn: FFN, table: KeyTable, budget: TrainingBudget, *, generator: torch.Generator, accelerator: str = "cpu"
) -> None:
    """Trains full batch on the whole table, in place; the FFN is left in evaluation mode.

    Never cut short by the clock, which would look like a lack of capacity.
    """
    data = KeyValueData.of_one_relation(table.keys_ND, table.value_ids_N, len(table.codes_VE))
    full_batch = replace(budget, full_batch_up_to=len(table.keys_ND), max_seconds=math.inf)
    fit(KeyValueModule(ffn, data, table.codes_VE, full_batch, generator=generator), accelerator=accelerator)
    ffn.cpu().eval()


def accuracy(ffn: FFN, table: KeyTable) -> float:
    """Share of the keys whose own value scores highest."""
    with torch.inference_mode():
        answers_N = (ffn(table.keys_ND) @ table.codes_VE.T).argmax(1)
    return float((answers_N == table.value_ids_N).double().mean())


def stored_bits(ffn: FFN, table: KeyTable) -> float:
    """Bits of the table that the answers are worth, by cross-entropy, after (T, eps) were fitted on the same facts.

    Its values were drawn uniformly.
    """
    with torch.inference_mode():
        log_probs_NV = torch.log_softmax(ffn(table.keys_ND) @ table.codes_VE.T, dim=1).double().numpy()
    true_N, num_values = table.value_ids_N.numpy(), len(table.codes_VE)
    prior_N, demand_bits = np.full(len(true_N), 1 / num_values), len(true_N) * math.log2(num_values)
    fitted = CalibrationFit(num_facts=len(true_N))
    for _ in range(fitted.num_passes):
        fitted.add(log_probs_NV, true_N, prior_N)
        fitted.end_pass()
    probability_N = true_probability(log_probs_NV, true_N, np.array([fitted.result.temperature]))[:, 0]
    return bits_ce(demand_bits, log2_calibrated(probability_N, prior_N, fitted.result.epsilon), len(true_N))


def rounded(ffn: FFN, precision: Precision) -> FFN:
    """The same FFN with its weights as they would be stored; the one given is changed."""
    load_packed(ffn, packed(ffn, precision), precision)
    return ffn


def perturbed_accuracy(ffn: FFN, table: KeyTable, relative_noise: float, *, trials: int, seed: int) -> float:
    """Mean accuracy under Gaussian weight noise, in units of each matrix's RMS. The FFN is left as it was."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(trials):
        noisy = deepcopy(ffn)
        add_noise(noisy, relative_noise, generator)
        found.append(accuracy(noisy, table))
    return sum(found) / trials


def most_facts(reaches: Callable[[int], bool], *, low: int, high: int, resolution: float) -> int:
    """The largest N that `reaches(N)`; RuntimeError where the bracket does not hold it: such a number says nothing."""
    search = CapacitySearch(low=low, high=high, resolution=resolution)
    found = search_capacity(reaches, search, num_available=high)
    if found.censored:
        raise RuntimeError(f"even {high} facts were stored: the search must start from a wider range")
    return found.num_facts


def most_facts_around(
    reaches: Callable[[int], bool], *, expected: int, resolution: float, high: int | None = None
) -> int:
    """The largest N that `reaches(N)`, searched for from half of what is expected: upwards, or by halves below it.

    Never from few facts upwards: of fewer than 100 one wrong answer is too many for .99, and would end it there.
    0 where none was found. RuntimeError where `high`, twice what is expected if not given, was reached.
    """
    known = cache(reaches)
    start = max(1, expected // 2)
    if known(start):
        return most_facts(known, low=start, high=high or 2 * expected + 3, resolution=resolution)
    return bisected(known, good=0, bad=start, resolution=resolution)


def bisected(reaches: Callable[[int], bool], *, good: int, bad: int, resolution: float) -> int:
    """The end of a plain bisection between a number that is reached (or 0) and one that is not: no look beyond it."""
    while bad - good > max(1.0, resolution * good):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if reaches(middle) else (good, middle)
    return good
