"""Linear associative memories against explicit sums, numpy's pseudo-inverse, and what they must hold."""

import numpy as np
import pytest
import torch

from models.closed_form.linear_memory import outer_product_memory, pseudo_inverse_memory
from models.closed_form.value_directions import decision_targets


def facts_of(num_facts, dim, num_values, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.nn.functional.normalize(torch.randn(num_facts, dim, generator=generator), dim=1)
    codes = torch.nn.functional.normalize(torch.randn(num_values, dim, generator=generator), dim=1)
    return keys, torch.randint(num_values, (num_facts,), generator=generator), codes


def right(w, keys, value_ids, codes):
    return float(((keys @ w["w_DE"]) @ codes.T).argmax(dim=1).eq(value_ids).double().mean())


def test_outer_products_are_summed_fact_by_fact():
    keys, value_ids, codes = facts_of(9, 6, 4)
    expected = sum(np.outer(key, codes[value]) for key, value in zip(keys.numpy(), value_ids.tolist(), strict=True))
    w = outer_product_memory(keys, value_ids, codes)["w_DE"]
    assert w.dtype == torch.float32
    assert w.numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("num_facts", [5, 12, 40])
def test_pseudo_inverse_is_numpys(num_facts):
    keys, value_ids, codes = facts_of(num_facts, 12, 8)
    expected = np.linalg.pinv(keys.double().numpy()) @ decision_targets(codes)[value_ids].numpy()
    assert pseudo_inverse_memory(keys, value_ids, codes)["w_DE"].numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_independent_keys_are_answered_exactly(seed):
    keys, value_ids, codes = facts_of(28, 32, 32, seed)
    w = pseudo_inverse_memory(keys, value_ids, codes)
    assert (keys @ w["w_DE"]).numpy() == pytest.approx(decision_targets(codes)[value_ids].numpy(), abs=1e-3)
    assert right(w, keys, value_ids, codes) == 1.0


def test_a_larger_ridge_is_the_outer_products_in_the_limit():
    keys, value_ids, codes = facts_of(20, 8, 6)
    w = pseudo_inverse_memory(keys, value_ids, codes, ridge=1e6)["w_DE"]
    summed = outer_product_memory(keys, value_ids, decision_targets(codes).float())["w_DE"]
    assert (w / w.norm()).numpy() == pytest.approx((summed / summed.norm()).numpy(), abs=1e-4)


def test_capacity_at_sixteen_dimensions():
    """29, 19 and 26 facts at accuracy .99 were measured on three seeds; outer products keep 9 to 11."""
    keys, value_ids, codes = facts_of(16, 16, 16)
    assert right(pseudo_inverse_memory(keys, value_ids, codes), keys, value_ids, codes) == 1.0
    assert right(outer_product_memory(keys, value_ids, codes), keys, value_ids, codes) < 0.99
    keys, value_ids, codes = facts_of(64, 16, 16)
    assert right(pseudo_inverse_memory(keys, value_ids, codes), keys, value_ids, codes) < 0.99
