"""Searches for a size, read off and trained: against every size tried in turn, and tables written out."""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from models.ffn_kinds import LinearConfig
from retromem.measure.capacity import Capacity, read_off, search_capacity
from retromem.measure.settings import CapacitySearch
from retromem.measure.trained_ffn import (
    KeyTable,
    accuracy,
    most_facts,
    most_facts_around,
    perturbed_accuracy,
    random_table,
    rounded,
    unit_rows,
    weight_generator,
)
from retromem.rows import CapacityRow, Row


def noted(capacity: int, asked: list[int]) -> Callable[[int], bool]:
    def reaches(num_facts: int) -> bool:
        asked.append(num_facts)
        return num_facts <= capacity

    return reaches


def test_the_most_facts_lie_within_the_resolution_of_the_step() -> None:
    for capacity in range(10, 400, 7):
        found = most_facts(noted(capacity, []), low=10, high=500, resolution=0.05)
        assert 0 <= capacity - found <= max(1.0, 0.05 * found)
        assert most_facts(noted(capacity, []), low=10, high=500, resolution=1e-9) == capacity
    with pytest.raises(RuntimeError, match="even 60 facts were stored: the search must start from a wider range"):
        most_facts(noted(60, []), low=10, high=60, resolution=0.05)
    assert most_facts(noted(59, []), low=10, high=60, resolution=0.05) in (57, 58, 59)


def test_sizes_are_asked_in_their_order_and_no_more_of_them_than_the_resolution_wants() -> None:
    """By hand, for a memory of 17 facts: doubled, halved until a quarter of 16 is left, and a look beyond."""

    def searched(capacity: int, **settings: Any) -> tuple[list[int], Capacity]:
        asked: list[int] = []
        search = CapacitySearch(**{"low": 16, "high": 64, "resolution": 0.25, **settings})
        return asked, search_capacity(noted(capacity, asked), search, num_available=60)

    assert searched(17) == ([16, 32, 24, 20, 22], Capacity(num_facts=16, censored=False))
    # A little finer, and the gap of four is halved once more; a tenth beyond 18 is 20, which is known.
    assert searched(17, resolution=0.24) == ([16, 32, 24, 20, 18], Capacity(num_facts=16, censored=False))
    assert searched(60) == ([16, 32, 60], Capacity(num_facts=60, censored=True))  # all that there are
    assert searched(60, high=40) == ([16, 32, 40], Capacity(num_facts=40, censored=True))
    assert searched(3) == ([16, 32], Capacity(num_facts=0, censored=False))
    assert searched(99, low=70, high=80) == ([60], Capacity(num_facts=60, censored=True))
    # Up to ten facts a gap of one is the end.
    assert searched(5, low=1, high=9) == ([1, 2, 4, 8, 6, 5, 7], Capacity(num_facts=5, censored=False))


def test_a_lucky_size_beyond_a_failure_sends_the_search_on() -> None:
    """All sizes up to 40 are held but 32: it fails, 24, 28 and 30 hold, and so does a tenth beyond it."""
    asked: list[int] = []

    def reaches(num_facts: int) -> bool:
        asked.append(num_facts)
        return num_facts <= 40 and num_facts != 32

    search = CapacitySearch(low=16, high=1000, resolution=0.0625)
    found = search_capacity(reaches, search, num_available=1000)
    assert asked[:6] == [16, 32, 24, 28, 30, 31]
    assert asked[6:8] == [36, 72]  # and on from there by doubling
    assert 38 <= found.num_facts <= 40 and not found.monotone and not found.censored


@pytest.mark.parametrize("expected", [1, 2, 9, 100])
def test_the_most_facts_are_found_from_half_of_what_is_expected_on(expected: int) -> None:
    """Upwards to twice what is expected, downwards to nothing; and no size is asked twice."""
    for capacity in range(2 * expected + 3):
        asked: list[int] = []
        found = most_facts_around(noted(capacity, asked), expected=expected, resolution=1e-9)
        assert found == capacity
        assert asked[0] == max(1, expected // 2) and len(asked) == len(set(asked))
        if capacity < asked[0]:
            assert max(asked) == asked[0]  # nothing above what failed
    with pytest.raises(RuntimeError, match=f"even {2 * expected + 3} facts were stored"):
        most_facts_around(noted(10**6, []), expected=expected, resolution=1e-9)
    assert most_facts_around(noted(5 * expected, []), expected=expected, resolution=1e-9, high=6 * expected) == (
        5 * expected
    )


def test_below_the_start_a_search_stops_at_its_resolution() -> None:
    for capacity in range(1, 50):
        asked: list[int] = []
        found = most_facts_around(noted(capacity, asked), expected=100, resolution=0.25)
        assert found <= capacity
        failed = min(size for size in asked if size > capacity) if any(size > capacity for size in asked) else 203
        assert failed - found <= max(1.0, 0.25 * found)
    assert most_facts_around(noted(0, []), expected=100, resolution=0.25) == 0
    # Halves from 50: 25, 37, 31, 28; a quarter of 25 is more than the 3 that are left.
    asked = []
    assert most_facts_around(noted(27, asked), expected=100, resolution=0.25) == 25
    assert asked == [50, 25, 37, 31]


# ---- tables --------------------------------------------------------------------------------------------------------


def test_random_tables_have_keys_and_codes_of_length_one() -> None:
    own, shared = random_table(30, 5, None, seed=1), random_table(400, 5, 7, seed=1)
    assert own.value_ids_N.tolist() == list(range(30)) and own.codes_VE.shape == (30, 5)
    assert shared.keys_ND.shape == (400, 5) and shared.codes_VE.shape == (7, 5)
    for rows in (own.keys_ND, own.codes_VE, shared.keys_ND, shared.codes_VE):
        np.testing.assert_allclose(rows.norm(dim=1).numpy(), 1, atol=1e-6)
    counts = np.bincount(shared.value_ids_N.numpy(), minlength=7)
    assert len(counts) == 7 and (np.abs(counts - 400 / 7) < 5 * math.sqrt(400 / 7)).all()
    assert torch.equal(random_table(400, 5, 7, seed=1).value_ids_N, shared.value_ids_N)
    assert not torch.equal(random_table(400, 5, 7, seed=2).value_ids_N, shared.value_ids_N)
    # First weights come from another stream than the keys of the same seed.
    assert not torch.equal(unit_rows(30, 5, weight_generator(1)), own.keys_ND)
    assert torch.equal(unit_rows(3, 5, weight_generator(1)), unit_rows(3, 5, torch.Generator().manual_seed(10_001)))


def lookup(weights: list[list[float]]) -> Any:
    ffn = LinearConfig().build(len(weights), len(weights[0]), generator=torch.Generator())
    ffn.load_state_dict({"w_DE": torch.tensor(weights)})
    return ffn


def test_accuracy_and_what_noise_and_rounding_leave_of_it() -> None:
    value_ids_N = torch.tensor([0, 0, 0, 1, 2, 2, 1, 1])
    keys_ND = torch.eye(3)[torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])]  # five of eight are of their own value
    table = KeyTable(keys_ND=keys_ND, value_ids_N=value_ids_N, codes_VE=torch.eye(3))
    ffn = lookup([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert accuracy(ffn, table) == 6 / 8
    before = ffn.state_dict()["w_DE"].clone()
    assert perturbed_accuracy(ffn, table, 0.0, trials=3, seed=0) == 6 / 8
    # Noise that drowns the weights leaves three values in any order: of many trials a third is right.
    drowned = perturbed_accuracy(ffn, table, 1e4, trials=300, seed=0)
    assert drowned == pytest.approx(1 / 3, abs=0.05)
    # Noise of the weights' RMS, 1 / sqrt(3), on each: the right one of three is the largest with a chance by integral.
    third = perturbed_accuracy(ffn, table, 1.0, trials=300, seed=1)
    z = np.linspace(-9, 9, 4001)
    normal = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * math.erfc(-(x + math.sqrt(3)) / math.sqrt(2)) for x in z])
    right = float((normal * below**2).sum() * (z[1] - z[0]))
    assert third == pytest.approx(6 / 8 * right + 2 / 8 * (1 - right) / 2, abs=0.04)
    assert torch.equal(ffn.state_dict()["w_DE"], before)
    stored = rounded(lookup([[0.1, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 1.0]]), "float16").state_dict()["w_DE"]
    assert torch.equal(stored.diagonal(), torch.tensor([0.1, 0.3, 1.0]).half().float())


# ---- read off ------------------------------------------------------------------------------------------------------


def row(**other: Any) -> Row:
    return Row(
        **{
            "study": "keys", "side": "parametric", "memory": "ffn-relu-8", "role": "arm", "family": "ffn-relu",
            "stores": "questions", "knowledge": "abc", "knowledge_name": "keys", "twin": True, "seed": 7,
            "phrasing": "heldout", "demand_bits": 4.0 * other["num_facts"], "bits_ce": 2.0 * other["num_facts"],
            "storage_bytes": 90, "num_params": 23, **other,
        }
    )  # fmt: skip


def test_a_capacity_read_off_is_whole() -> None:
    rows = [
        row(num_facts=300, accuracy=0.9),
        row(num_facts=200, accuracy=0.95),  # just reached
        row(num_facts=100, accuracy=0.99),
        row(num_facts=400, accuracy=None),
        row(num_facts=100, accuracy=1.0, study="cities", storage_bytes=91, num_params=29, twin=False, seed=8),
        row(num_facts=200, accuracy=0.9499, study="cities", storage_bytes=91, num_params=29, twin=False, seed=8),
        row(num_facts=100, accuracy=0.0, memory="none", storage_bytes=92, num_params=31),
        row(num_facts=200, accuracy=0.0, memory="none", storage_bytes=92, num_params=31),
    ]
    shared = {"phrasing": "heldout", "tau": 0.95, "monotone": True, "censored": False}
    shared |= {"sizes_tried": "", "sizes_abandoned": "", "optimizer_steps": 0}
    assert [asdict(found) for found in read_off(rows, tau=0.95, phrasing="heldout")] == [
        {
            **shared, "study": "keys", "memory": "ffn-relu-8", "twin": True, "seed": 7, "num_facts": 200,
            "storage_bytes": 90, "num_params": 23, "bits": 400.0,
        },
        {
            **shared, "study": "cities", "memory": "ffn-relu-8", "twin": False, "seed": 8, "num_facts": 100,
            "storage_bytes": 91, "num_params": 29, "bits": 200.0,
        },
        {
            **shared, "study": "keys", "memory": "none", "twin": True, "seed": 7, "num_facts": 0,
            "storage_bytes": 92, "num_params": 31, "bits": None,
        },
    ]  # fmt: skip


def test_bits_a_parameter_of_a_capacity() -> None:
    held = CapacityRow(
        study="s", memory="m", twin=False, phrasing="identical", tau=0.99, seed=0, num_facts=50, censored=False,
        storage_bytes=100, num_params=25, bits=60.0,
    )  # fmt: skip
    assert held.bits_per_param == 2.4
    for without in ({"bits": None}, {"num_params": None}, {"num_params": 0}):
        assert CapacityRow(**{**asdict(held), **without}).bits_per_param is None
    assert CapacityRow(**{**asdict(held), "bits": 0.0}).bits_per_param == 0.0
