"""Training of FFN kinds on torch's fastest device beside the processor: the same steps from the same first weights."""

import math
from collections.abc import Iterator
from functools import partial

import torch

from models.any_ffn import AnyFFNConfig, sized
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig, TopKConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.memory_kinds import ProductKeysConfig
from models.training_budget import TrainingBudget
from retromem.benchmarks.in_turns import Timed, in_turns
from retromem.measure.trained_ffn import KeyTable, random_table

_KINDS: tuple[AnyFFNConfig, ...] = (
    DenseConfig(kind="gelu"),
    GatedConfig(),
    TopKConfig(active_share=0.1),
    ExpertsConfig(experts=8, top_k=2),
    ProductKeysConfig(heads=4),
)
_SIZES = ((32, 2_048, 400), (128, 32_768, 20))  # dimensions, facts, steps


def _train(config: AnyFFNConfig, table: KeyTable, steps: int, accelerator: str) -> None:
    (num_facts, dim), (num_values, _) = table.keys_ND.shape, table.codes_VE.shape
    generator = torch.Generator().manual_seed(0)
    budget = TrainingBudget(steps=steps, goal_nats=0.0, full_batch_up_to=num_facts, max_seconds=math.inf)
    data = KeyValueData.of_one_relation(table.keys_ND, table.value_ids_N, num_values)
    module = KeyValueModule(
        config.build(dim, dim, generator=generator), data, table.codes_VE, budget, generator=generator
    )
    fit(module, accelerator=accelerator)


def measure() -> Iterator[Timed]:
    """8 d^2 parameters of each kind, full batches. Without a GPU there is nothing to compare."""
    if not torch.cuda.is_available():
        return
    for dim, num_facts, steps in _SIZES:
        table = random_table(num_facts, dim, num_values=64, seed=0)
        for kind in _KINDS:
            config = sized(kind, 8 * dim**2, dim, dim)
            yield in_turns(
                f"{steps} steps of {kind.family}, {config.num_params(dim, dim):,} parameters, {num_facts:,} facts",
                ("cuda", partial(_train, config, table, steps, "gpu")),
                ("processor", partial(_train, config, table, steps, "cpu")),
                turns=3,
            )
