"""Train an FFN that is built already, full batch, on one core: one that no config names, or that is watched."""

import math
from dataclasses import replace

import torch

from models.ffn import FFN
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable


def weight_generator(seed: int) -> torch.Generator:
    """For first weights: another stream than that of the keys, as in `trained_ffn.train`."""
    return torch.Generator().manual_seed(10_000 + seed)


def train_built(ffn: FFN, table: KeyTable, budget: TrainingBudget, *, generator: torch.Generator) -> None:
    """Trains on the whole table, in place; the FFN is left in evaluation mode."""
    data = KeyValueData.of_one_relation(table.keys_ND, table.value_ids_N, len(table.codes_VE))
    full_batch = replace(budget, full_batch_up_to=len(table.keys_ND), max_seconds=math.inf)
    fit(KeyValueModule(ffn, data, table.codes_VE, full_batch, generator=generator), accelerator="cpu")
    ffn.eval()
