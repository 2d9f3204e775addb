"""Points of facts in superposition: how much the hidden activations of a ReLU FFN's facts overlap.

Shape legend: N facts, D key dimension, F hidden units, E code dimension, M dimensions of a direction.
"""

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from models.closed_form.linear_memory import outer_product_memory, pseudo_inverse_memory
from models.ffn import HiddenLayerFFN
from models.ffn_kinds import DenseConfig
from models.toy_superposition import feature_dimensionality
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, random_table, train, unit_rows
from retromem.panels.points import Point
from retromem.panels.theory.superposed_facts import (
    LEAST_SQUARES,
    NEAR_ORTHOGONAL,
    OUTPUTS,
    OWN_READ_OUT,
    RANDOM,
    RANDOM_READ,
    TRAINED,
    UNTRAINED,
    SuperposedFactsConfig,
)
from retromem.theory.memory_formulas import relu_memory
from retromem.theory.superposition_bounds import (
    expected_max_coherence,
    johnson_lindenstrauss_dim,
    log2_greedy_code,
    log2_packing_upper,
    welch_bound,
)


def superposed_facts_points(config: SuperposedFactsConfig, seed: int) -> list[Point]:
    """One FFN a load, each with keys, codes and initial weights of this seed."""
    guide, points = relu_memory(config.dim, config.hidden).num_facts, []
    for load in config.loads:
        num_facts = round(load * guide)
        table = random_table(num_facts, config.dim, None, seed=seed)
        for numbers, own_seed in ((_measured(config, table, seed), seed), (_formulas(num_facts, config.hidden), None)):
            points += [
                Point(quantity=quantity, series=series, x=float(num_facts), y=y, seed=own_seed)
                for (quantity, series), y in numbers.items()
            ]
    return points


def _measured(config: SuperposedFactsConfig, table: KeyTable, seed: int) -> dict[tuple[str, str], float]:
    kind = DenseConfig(kind="relu", width=config.hidden)
    untrained = train(kind, table, TrainingBudget(steps=0), seed=seed)
    ffn = train(kind, table, TrainingBudget(steps=config.steps), seed=seed)
    assert isinstance(untrained, HiddenLayerFFN) and isinstance(ffn, HiddenLayerFFN)
    measured = {("accuracy", OWN_READ_OUT): accuracy(ffn, table)}
    with torch.no_grad():
        h_NF = ffn.hidden(table.keys_ND)
        directions = {
            TRAINED: centred(h_NF),
            UNTRAINED: centred(untrained.hidden(table.keys_ND)),
            OUTPUTS: centred(ffn(table.keys_ND)),
        }
        for name, directions_NM in directions.items():
            mean, largest = cosines(directions_NM)
            measured["mean_cosine", name], measured["largest_cosine", name] = mean, largest
            if name != OUTPUTS:
                share_N = feature_dimensionality(directions_NM.T)
                measured["fact_dimensionality", name] = float(share_N.median())
        largest = measured["largest_cosine", TRAINED]
        measured["enough_dimensions", TRAINED] = johnson_lindenstrauss_dim(len(h_NF), largest)
        measured["log2_directions_surely", TRAINED] = log2_greedy_code(config.hidden, largest)
        measured["log2_directions_at_most", TRAINED] = log2_packing_upper(config.hidden, largest)
    directions_NF = unit_rows(len(h_NF), config.hidden, torch.Generator().manual_seed(20_000 + seed))
    measured |= {
        ("accuracy", NEAR_ORTHOGONAL): _answered(centred(h_NF), outer_product_memory, table),
        ("accuracy", RANDOM_READ): _answered(directions_NF, outer_product_memory, table),
        ("accuracy", LEAST_SQUARES): _answered(centred(h_NF), pseudo_inverse_memory, table),
    }
    return measured


def _answered(h_NF: Tensor, store: Callable[[Tensor, Tensor, Tensor], Mapping[str, Tensor]], table: KeyTable) -> float:
    """Share of the facts that a linear store reads from these directions."""
    w_FE = store(h_NF, table.value_ids_N, table.codes_VE)["w_DE"]
    return float(((h_NF @ w_FE @ table.codes_VE.T).argmax(1) == table.value_ids_N).double().mean())


def _formulas(num_facts: int, hidden: int) -> dict[tuple[str, str], float]:
    # E|cosine| of two random directions: the mean of |x| under density ~ (1 - x^2)^((m - 3) / 2).
    log_mean = math.lgamma(hidden / 2) - math.lgamma((hidden + 1) / 2) - math.log(math.pi) / 2
    return {
        ("mean_cosine", RANDOM): math.exp(log_mean),
        ("largest_cosine", RANDOM): expected_max_coherence(num_facts, hidden),
        ("largest_cosine", "Welch bound"): welch_bound(num_facts, hidden),
        ("dimensions_per_fact", "hidden dimensions / facts"): hidden / num_facts,
        ("fact_dimensionality", "hidden dimensions / facts"): hidden / num_facts,
        ("fact_dimensionality", "antipodal pairs"): 0.5,
    }


def centred(x_NM: Float[Tensor, "N M"]) -> Float[Tensor, "N M"]:
    """Less the mean over the facts."""
    return x_NM - x_NM.mean(0)


def cosines(x_NM: Float[Tensor, "N M"]) -> tuple[float, float]:
    """Mean and largest |cosine| of two different rows; a row of zeros has none with any other."""
    unit_NM = functional.normalize(x_NM, dim=1)
    upper_NN = torch.ones(len(x_NM), len(x_NM), dtype=torch.bool).triu(diagonal=1)
    cosines_P = (unit_NM @ unit_NM.T)[upper_NN].abs()
    return float(cosines_P.mean()), float(cosines_P.max())
