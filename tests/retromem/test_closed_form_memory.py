"""Weights that were computed: what is asked is what the construction gave. (The laws hold them to the seam.)"""

import numpy as np
import pytest
import torch

from models.any_ffn import sized
from models.closed_form.linear_memory import pseudo_inverse_memory
from retrieval.errors import Refused
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.answers import accuracy
from retromem.memories.closed_form_memory import ClosedFormMemory, ClosedFormMemoryConfig
from retromem.memories.value_codes import value_codes

KEYS = keys_set(KeysConfig(dim=24, num_values=12, num_facts=200))


def written(config, num_facts):
    memory = config.build(seed=0)
    cost = memory.write(KEYS.prefix(num_facts).facts())
    return memory, cost


def test_the_weights_are_those_of_the_construction():
    memory, cost = written(ClosedFormMemoryConfig(method="pseudo_inverse"), 20)
    part = KEYS.prefix(20)
    codes = value_codes(KEYS.values, 24, seed=0)
    weights = pseudo_inverse_memory(
        torch.from_numpy(part.facts().cues[0].key_vectors()),
        torch.from_numpy(part.value_ids_N),
        torch.from_numpy(codes),
    )
    assert memory._ffn.packed == weights["w_DE"].numpy().tobytes()
    assert accuracy(memory, part.ask("identical")) == 1  # fewer facts than dimensions
    assert (cost.exposures, cost.optimizer_steps, cost.succeeded) == (1.0, 0, True)


def test_what_is_drawn_follows_the_seed():
    drawn = []
    for seed in (0, 1, 0):
        memory = ClosedFormMemoryConfig(method="random_features", width=8).build(seed=seed)
        memory.write(KEYS.prefix(20).facts())
        drawn.append(memory._ffn.ffn.w_in_DF)
    assert torch.equal(drawn[0], drawn[2]) and not torch.isclose(drawn[0], drawn[1]).any()


@pytest.mark.parametrize("method", ["random_features", "whitened", "gated_jl", "value_line"])
def test_more_units_store_more(method):
    found = []
    for width in (2, 64):
        memory, _ = written(ClosedFormMemoryConfig(method=method, width=width), 120)
        found.append(accuracy(memory, KEYS.prefix(120).ask("identical")))
    assert found[0] < found[1]


def test_a_construction_takes_the_size_of_an_ffn():
    config = ClosedFormMemoryConfig(method="value_line")
    larger = config.with_ffn(sized(config.ffn, 4000, 24, 24))
    memory, _ = written(larger, 60)
    assert isinstance(memory, ClosedFormMemory)
    assert larger.name == f"closed-value-line-{larger.width}"
    assert 3800 < memory.footprint().num_params <= 4000
    assert memory.footprint().storage_bytes == 4 * memory.footprint().num_params
    assert ClosedFormMemoryConfig().name == "closed-pseudo-inverse"


def test_what_a_line_of_values_cannot_hold_is_refused():
    many = keys_set(KeysConfig(dim=8, num_values=9, num_facts=40))
    with pytest.raises(Refused, match="linearly independent codes"):
        ClosedFormMemoryConfig(method="value_line").build(seed=0).write(many.facts())
    with pytest.raises(Refused, match="max_facts = 100 facts, not 200"):
        written(ClosedFormMemoryConfig(method="value_line", max_facts=100), 200)


def test_the_stream_of_a_store_is_not_that_of_its_keys():
    memory, _ = written(ClosedFormMemoryConfig(method="random_features", width=16), 20)
    drawn = torch.randn(24, 16, generator=torch.Generator().manual_seed(0)).numpy()
    assert not np.allclose(memory._ffn.ffn.w_in_DF.detach().numpy(), drawn)


def test_no_width_is_refused():
    with pytest.raises(ValueError, match="width must be 1 or more"):
        ClosedFormMemoryConfig(method="gated_jl", width=0)
