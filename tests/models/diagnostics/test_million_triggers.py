"""Triggers of many units over a million facts: what is kept must not grow with the facts."""

import resource

import pytest
import torch

from models.diagnostics.key_value_neurons import top_triggers

UNITS, BLOCK, TRIGGERS = 1_000, 2_048, 10


@pytest.mark.slow
def test_a_million_facts_pass_through_a_bounded_memory() -> None:
    """1,000 units here; the activations of a million facts would be 4 GB at once."""
    num_facts, planted = 1_000_000, {}
    generator = torch.Generator().manual_seed(0)
    w_DF = torch.randn(8, UNITS, generator=generator)

    def blocks():
        for start in range(0, num_facts, BLOCK):
            h_BF = torch.randn(min(BLOCK, num_facts - start), 8, generator=generator).matmul(w_DF).relu_()
            if start % (100 * BLOCK) == 0:  # strongest of all, for one unit each time
                unit = start // (100 * BLOCK)
                h_BF[7, unit] = 1e6
                planted[unit] = start + 7
            yield h_BF

    list(zip(blocks(), range(3), strict=False))  # whatever torch takes once
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    planted.clear()
    triggers = top_triggers(blocks(), num_triggers=TRIGGERS)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    assert triggers.fact_ids_FK.shape == (UNITS, TRIGGERS)
    assert len(planted) == 5
    for unit, fact in planted.items():
        assert int(triggers.fact_ids_FK[unit, 0]) == fact
    # A block, its transposed copy and what topk needs of it; 4,000 MB would be all activations.
    assert grown_mb < 200
