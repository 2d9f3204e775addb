"""Points of forced sparsity: capacity by active share; purity of units and of latents of sparse autoencoders.

Shape legend: N facts, F hidden units, L units or latents.
"""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from models import sparse_autoencoder
from models.diagnostics.active_purity import active_purity
from models.ffn import HiddenLayerFFN
from models.ffn_kinds import TopKConfig
from models.sparse_autoencoder import SparseAutoencoderConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, random_table, train
from retromem.panels.facts_stored import facts_around, facts_stored
from retromem.panels.points import Point
from retromem.panels.theory.sparse_units import (
    ANNEALED,
    BY_CHANCE,
    LATENTS,
    RELU_UNITS,
    SMALLEST_SHARE,
    WIDE,
    WIDE_ANNEALED,
    WIDE_SERIES,
    WIDE_THROUGH,
    WINNERS,
    SparseUnitsConfig,
    active,
)
from retromem.theory.memory_formulas import relu_memory_of_32_classes


def sparse_units_points(config: SparseUnitsConfig, seed: int) -> list[Point]:
    """Capacity at every share, at some with annealing too; then the units of the shares that are read."""
    points, capacities = [], {}
    published = relu_memory_of_32_classes(config.dim, config.width).bits_per_param
    wide = TopKConfig(width=config.wide_width, active_share=SMALLEST_SHARE)
    trained = [
        *((WINNERS, TopKConfig(width=config.width, active_share=share)) for share in config.active_shares),
        *(
            (ANNEALED, TopKConfig(width=config.width, active_share=share, annealed=True))
            for share in config.annealed_shares
        ),
        (WIDE, wide),
        (WIDE_ANNEALED, replace(wide, annealed=True)),
        (WIDE_THROUGH, replace(wide, gradient="straight_through")),
    ]
    for series, ffn in trained:
        share = ffn.active_share
        # Fewer active units hold less; this is near enough for a search.
        around = facts_around(ffn, config.dim, config.num_values, 2 * share**0.3, seed=seed)
        resolution = 4 * config.resolution if series in WIDE_SERIES else config.resolution
        facts = facts_stored(ffn, around, TrainingBudget(steps=config.steps), seed=seed, resolution=resolution)
        capacities[series, share] = facts
        bits = facts * math.log2(config.num_values) / ffn.num_params(config.dim, config.dim)
        points.append(Point(quantity="bits_per_param", series=series, x=100 * share, y=bits, seed=seed))
        points.append(Point(quantity="bits_per_param", series="ReLU, published", x=100 * share, y=published))
    for share in (1.0, *config.read_shares):
        facts = max(2, round(config.load * capacities[WINNERS, share]))
        points += _of_units(config, share, facts, seed)
    return [*points, Point(quantity="above_null", series=BY_CHANCE, y=0.05)]


def _of_units(config: SparseUnitsConfig, share: float, num_facts: int, seed: int) -> list[Point]:
    """Units of an FFN; where all of them may be active, its sparse autoencoders too."""
    kind = TopKConfig(width=config.width, active_share=share)
    table = random_table(num_facts, config.dim, config.num_values, seed=seed)
    ffn = train(kind, table, TrainingBudget(steps=config.steps), seed=seed)
    assert isinstance(ffn, HiddenLayerFFN)
    with torch.no_grad():
        h_NF = ffn.hidden(table.keys_ND)
    point = partial(Point, series=RELU_UNITS) if share == 1 else partial(Point, series=WINNERS, labels=active(share))
    read = {**_purity(config, h_NF, table, seed), "accuracy": accuracy(ffn, table)}
    points = [point(quantity=quantity, y=y, seed=seed) for quantity, y in read.items()]
    if share == 1:
        for of_kind in ("relu_l1", "topk", "jumprelu"):
            autoencoder = sparse_autoencoder.train(
                h_NF,
                SparseAutoencoderConfig(
                    kind=of_kind,
                    expansion=config.expansion,
                    active=config.active_latents,
                    steps=config.autoencoder_steps,
                    seed=40_000 + seed,  # another stream than that of the keys
                ),
            )
            with torch.no_grad():
                f_NL = autoencoder.encode(h_NF)
                scores_NV = autoencoder.decode(f_NL) @ ffn.w_out_FE @ table.codes_VE.T
            right_N = scores_NV.argmax(1) == table.value_ids_N
            read = {
                **_purity(config, f_NL, table, seed),
                "accuracy": float(right_N.double().mean()),
                "variance_explained": sparse_autoencoder.read(autoencoder, h_NF).variance_explained,
            }
            point = partial(Point, series=LATENTS, labels={"kind": of_kind})
            points += [point(quantity=quantity, y=y, seed=seed) for quantity, y in read.items()]
    return points


def _purity(config: SparseUnitsConfig, activations_NL: Tensor, table: KeyTable, seed: int) -> dict[str, float]:
    purity = active_purity(
        activations_NL,
        table.value_ids_N,
        permutations=config.permutations,
        generator=torch.Generator().manual_seed(20_000 + seed),
    )
    return {
        "facts": float(len(activations_NL)),
        "active": float((activations_NL > 0).sum(1).double().mean()),
        "dead": float((~purity.live_L).sum()),
        "purity": purity.mean.observed,
        "purity_permuted": purity.mean.null_mean,
        "above_null": purity.share_above_null,
    }
