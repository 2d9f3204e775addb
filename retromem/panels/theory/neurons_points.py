"""Points of hidden units read as key-value memories: the units, rotations of the layer, and permuted labels.

Shape legend: N facts, D key dimension, F hidden units, E code dimension.
"""

from dataclasses import replace

import torch
from jaxtyping import Int64
from torch import Tensor

from models.any_ffn import AnyFFNConfig, sized
from models.diagnostics.key_value_neurons import (
    key_value_agreement,
    random_rotation,
    rotated,
    top_triggers,
    trigger_purity,
)
from models.diagnostics.unit_ablation import deciding_units
from models.ffn import HiddenLayerFFN
from models.ffn_kinds import DenseConfig, GatedConfig, TopKConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, random_table, train, unit_rows
from retromem.panels.facts_stored import facts_around, facts_stored
from retromem.panels.points import Point
from retromem.panels.theory.neurons import GROUPED, RANDOM, NeuronsConfig, written_to

_KINDS: dict[str, tuple[AnyFFNConfig, float]] = {
    "ReLU": (DenseConfig(kind="relu"), 2.03),
    "GELU": (DenseConfig(kind="gelu"), 2.24),
    "SwiGLU": (GatedConfig(kind="swiglu"), 2.64),
    "k winners": (TopKConfig(active_share=0.1), 1.1),
}
"""and the bits per parameter around which its capacity is searched for"""


def neurons_points(config: NeuronsConfig, seed: int) -> list[Point]:
    """Every kind at every load on random keys, and at the first load on keys in groups."""
    budget, points = TrainingBudget(steps=config.steps), []
    for kind, (open_config, bits) in _KINDS.items():
        ffn_config = sized(open_config, config.num_params, config.dim, config.dim)
        around = facts_around(ffn_config, config.dim, config.num_values, bits, seed=seed)
        capacity = facts_stored(ffn_config, around, budget, seed=seed, resolution=0.05)
        written = []
        for load in config.loads:
            table = random_table(max(2, round(load * capacity)), config.dim, config.num_values, seed=seed)
            written.append(({"written": written_to(load), "keys": RANDOM}, table, table.value_ids_N))
        in_groups, groups_N = grouped_table(
            max(2, round(config.loads[0] * capacity)), config.dim, config.num_values, seed=seed
        )
        written.append(({"written": written_to(config.loads[0]), "keys": GROUPED}, in_groups, groups_N))
        for labels, table, labels_N in written:
            ffn = train(ffn_config, table, budget, seed=seed)
            assert isinstance(ffn, HiddenLayerFFN)
            with torch.no_grad():
                read = _readings(config, ffn, table, labels_N, kind == "SwiGLU", seed)
            read |= {"facts": float(len(labels_N)), "accuracy": accuracy(ffn, table)}
            points += [Point(quantity=of, series=kind, labels=labels, y=y, seed=seed) for of, y in read.items()]
    return points


def grouped_table(num_facts: int, dim: int, num_values: int, *, seed: int) -> tuple[KeyTable, Int64[Tensor, " N"]]:
    """Random values for keys in as many groups as there are values, and the group of each key.

    A key is its group's centre plus noise of the same length, brought back to unit length: two keys of a group have a
    cosine of about 1/2, any others of about 0.
    """
    table = random_table(num_facts, dim, num_values, seed=seed)
    generator = torch.Generator().manual_seed(20_000 + seed)
    centres_GD = unit_rows(num_values, dim, generator)
    groups_N = torch.randint(num_values, (num_facts,), generator=generator)
    keys_ND = torch.nn.functional.normalize(centres_GD[groups_N] + table.keys_ND, dim=1)
    return replace(table, keys_ND=keys_ND), groups_N


def _readings(
    config: NeuronsConfig, ffn: HiddenLayerFFN, table: KeyTable, labels_N: Tensor, both_signs: bool, seed: int
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(30_000 + seed)
    h_NF, w_out_FE = ffn.hidden(table.keys_ND), ffn.w_out_FE
    first_N = torch.zeros_like(table.value_ids_N)
    end_N = torch.full_like(first_N, len(table.codes_VE))
    read: dict[str, float] = {}

    def read_units(h_NF: Tensor, w_out_FE: Tensor, permutations: int) -> dict[str, float]:
        found = {"deciding": float(deciding_units([h_NF], w_out_FE @ table.codes_VE.T, first_N, end_N).double().mean())}
        if both_signs:
            h_NF, w_out_FE = torch.cat([h_NF, -h_NF], 1), torch.cat([w_out_FE, -w_out_FE])
        triggers = top_triggers([h_NF], num_triggers=config.triggers)
        agreement = key_value_agreement(
            triggers,
            w_out_FE @ table.codes_VE.T,
            table.value_ids_N,
            first_N,
            end_N,
            permutations=permutations,
            generator=generator,
        )
        purity = trigger_purity(triggers, labels_N, permutations=permutations, generator=generator)
        for name, share in (("rank", agreement.reciprocal_rank), ("top", agreement.top), ("purity", purity)):
            found[name] = share.observed
            if permutations:
                read[f"{name}_permuted"] = share.null_mean
        return found

    own = read_units(h_NF, w_out_FE, config.permutations)
    turned = [
        read_units(*rotated(h_NF, w_out_FE, random_rotation(h_NF.shape[1], generator=generator)), 0)
        for _ in range(config.rotations)
    ]
    for name, y in own.items():
        of_rotations = [one[name] for one in turned]
        read |= {
            f"{name}_own": y,
            f"{name}_rotated": sum(of_rotations) / len(of_rotations),
            f"{name}_rotated_highest": max(of_rotations),
        }
    return read
