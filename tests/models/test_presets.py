"""Presets: what each name stands for, and that each can be built, sized and asked."""

from typing import get_args

import pytest
import torch
from torch import nn

from models.any_ffn import sized
from models.presets import STACKS, Preset, PresetConfig

NAMES = get_args(Preset)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_its_stack(name):
    preset = PresetConfig(kind=name, depth=3)
    assert preset.stack.depth == 3
    ffn = preset.build(16, 16, generator=torch.Generator().manual_seed(0))
    other = preset.stack.build(16, 16, generator=torch.Generator().manual_seed(0))
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(ffn.eval()(x), other.eval()(x))
    stored = sum(stored.numel() for stored in ffn.state_dict().values())
    assert preset.num_params(16, 16) == stored >= preset.num_active_params(16, 16)


def test_the_names_mean_what_people_know():
    assert set(STACKS) == set(NAMES)

    def built(name):
        return PresetConfig(kind=name, depth=2).build(16, 16, generator=torch.Generator())

    assert {name for name in NAMES if len(built(name).branches)} == {"gptj", "palm"}
    assert {name for name in NAMES if isinstance(built(name).norms[0], nn.RMSNorm)} == {"llama", "mixtral", "deepseek"}
    assert {name for name in NAMES if STACKS[name].norm == "post"} == {"bert"}
    assert {name for name in NAMES if any("b_in_F" in key for key in built(name).state_dict())} == {
        "gpt2",
        "bert",
        "gptj",
    }
    assert {name for name in NAMES if any("gate" in key for key in built(name).state_dict())} == {
        "palm",
        "llama",
        "mixtral",
        "deepseek",
    }
    mixtral, deepseek = STACKS["mixtral"].block, STACKS["deepseek"].block
    assert (mixtral.experts, mixtral.top_k, mixtral.shared) == (8, 2, 0)
    assert (deepseek.balancing, deepseek.shared) == ("bias", 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_sized_by_its_width(name):
    fitting = sized(PresetConfig(kind=name), 40_000, 16, 16)
    assert fitting.num_params(16, 16) <= 40_000 < fitting.resized(fitting.size + 1).num_params(16, 16)
    assert fitting.label == f"{name}-2x{fitting.width}"


def test_no_depth_and_no_width_are_refused():
    with pytest.raises(ValueError, match="depth must be 1 or more"):
        PresetConfig(depth=0)
    with pytest.raises(ValueError, match="width must be 1 or more"):
        PresetConfig(width=0)
