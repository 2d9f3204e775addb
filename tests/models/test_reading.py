"""A reading FFN: what it is given, and that nothing is what it is without neighbours."""

import torch

from models.ffn_kinds import DenseConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.reading import joined, reading_dim
from models.training_budget import TrainingBudget


def test_input_is_key_neighbours_similarities_and_empty_slots_are_zero():
    keys = torch.tensor([[1.0, 2.0]])
    chunks = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])
    similarities = torch.tensor([[0.5, -torch.inf]])
    inputs = joined(keys, chunks, similarities)
    assert inputs.tolist() == [[1, 2, 3, 4, 0, 0, 0.5, 0]]
    assert inputs.shape[1] == reading_dim(2, 2)


def train(given):
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(30, 6, generator=generator)
    values = torch.randint(5, (30,), generator=generator)
    zeros = torch.zeros(30, dtype=torch.int64)
    data = KeyValueData(keys_ND=given(keys), value_ids_N=values, first_candidates_N=zeros, end_candidates_N=zeros + 5)
    codes = torch.randn(5, 6, generator=generator)
    ffn = DenseConfig(width=12).build(6, 6, generator=generator)
    module = KeyValueModule(ffn, data, codes, TrainingBudget(steps=150), generator=generator)
    fit(module, accelerator="cpu")
    return ffn


def test_no_neighbours_is_no_retrieval_bit_for_bit():
    plain = train(lambda keys: keys)
    reading = train(lambda keys: joined(keys, torch.zeros(len(keys), 0, keys.shape[1]), torch.zeros(len(keys), 0)))
    for mine, its in zip(plain.parameters(), reading.parameters(), strict=True):
        assert torch.equal(mine, its)
