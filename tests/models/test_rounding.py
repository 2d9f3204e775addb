"""Rounding while training: the values that storing gives, the gradients of the weights, and what it is for."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional

from models.denormals import flushed_denormals
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.memory_kinds import ProductKeysConfig
from models.precisions import BITS, PRECISIONS
from models.rounding import rounded_weights, rounding
from models.stack_kinds import StackConfig
from models.training_budget import TrainingBudget
from models.weight_packing import load_packed, pack, packed, unpack

APART = (
    StackConfig(depth=1, block=ExpertsConfig(experts=3, top_k=1, width=4, router_precision="int8")),
    ProductKeysConfig(sub_keys=3, heads=2, router_precision="float32"),
)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "config", [DenseConfig(width=9, bias=True), ExpertsConfig(experts=3, top_k=1, width=4), *APART]
)
def test_rounded_weights_are_those_that_come_back_from_storage(config, precision):
    ffn = config.build(5, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in ffn.parameters():
            weight.mul_(torch.rand((), generator=torch.Generator().manual_seed(weight.numel())) * 100)
    weights = dict(ffn.named_parameters())
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    apart = ffn.stored_apart(precision)
    stored = unpack(pack(weights, precision, apart), shapes, precision, apart)
    for name, rounded in rounded_weights(ffn, precision).items():
        assert torch.equal(rounded.detach(), stored[name])


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_matrices_are_rounded_bit_for_bit(precision, flushed):
    """Single numbers among them, whose float16 steps meet every way of rounding: torch's own would miss some."""
    generator = torch.Generator().manual_seed(0)
    matrices = {
        "numbers": torch.exp(16 * torch.rand(100_000, 1, 1, generator=generator) - 13),
        "small": torch.randn(5_000, 3, 2, generator=generator),
        "large": torch.randn(20, 96, 100, generator=generator) * torch.rand(20, 1, 1, generator=generator),
        "zeros": torch.zeros(4, 3),
        "tiny": 1e-7 * torch.randn(4, 3, generator=generator),
        "vector": torch.randn(50, generator=generator),
    }
    shapes = {name: tuple(weight.shape) for name, weight in matrices.items()}
    expected = unpack(pack(matrices, precision), shapes, precision)
    found = {name: torch.empty_like(weight) for name, weight in matrices.items()}
    with flushed_denormals() if flushed else nullcontext():
        for operation in rounding(list(matrices.values()), precision, out=list(found.values())):
            operation()
    for name in matrices:
        assert torch.equal(found[name], expected[name]), name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("router_precision", "name"), [("float16", "w_router_DS"), ("float32", "w_router_DS")])
def test_a_router_is_kept_at_more_bits_than_its_experts_and_charged(precision, router_precision, name):
    config = ExpertsConfig(experts=4, top_k=1, width=2, router_precision=router_precision, balancing="none")
    ffn = config.build(6, 5, generator=torch.Generator().manual_seed(0))
    before = ffn.state_dict()[name].clone()
    content = packed(ffn, precision)
    load_packed(ffn, content, precision)
    more = max(BITS[router_precision], BITS[precision])
    kept = before if more == 32 else before.half().float()
    assert torch.equal(ffn.state_dict()[name], kept)
    experts = {other: weight for other, weight in ffn.state_dict().items() if other != name}
    assert len(content) == len(pack(experts, precision)) + 6 * 4 * more // 8


def test_gradients_pass_as_if_nothing_had_been_rounded():
    ffn = DenseConfig(width=6).build(5, 4, generator=torch.Generator().manual_seed(0))
    rounded = rounded_weights(ffn, "int3")
    torch.stack([weight.square().sum() for weight in rounded.values()]).sum().backward()
    for name, weight in ffn.named_parameters():
        assert torch.allclose(weight.grad, 2 * rounded[name].detach())


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_weights_trained_to_be_rounded_store_more_once_they_are():
    generator = torch.Generator().manual_seed(0)
    keys = functional.normalize(torch.randn(150, 8, generator=generator), dim=1)
    codes = functional.normalize(torch.randn(8, 8, generator=generator), dim=1)
    values = torch.randint(8, (150,), generator=generator)
    data = KeyValueData.of_one_relation(keys, values, 8)
    right = {}
    for rounds_to in (None, "int4"):
        ffn = GatedConfig(width=24).build(8, 8, generator=torch.Generator().manual_seed(1))
        budget = TrainingBudget(steps=800, learning_rate=0.02)
        fit(KeyValueModule(ffn, data, codes, budget, generator=generator, rounds_to=rounds_to), accelerator="cpu")
        load_packed(ffn, packed(ffn, "int4"), "int4")
        right[rounds_to] = float(((ffn(keys) @ codes.T).argmax(1) == values).float().mean())
    assert right["int4"] > right[None] + 0.02
