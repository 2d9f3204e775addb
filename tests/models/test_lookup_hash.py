"""Rows that a hash names, in Python's integers and from the draws of its own seed."""

import torch

from models.lookup import HashedLookup
from models.memory_kinds import LookupConfig


def test_rows_follow_from_planes_and_multipliers_drawn_in_this_order():
    config = LookupConfig(rows=97, tables=3, num_signs=40, hash_seed=6)
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))
    drawn = torch.Generator().manual_seed(6)
    planes = torch.randn(5, 40, generator=drawn, dtype=torch.float64)
    multipliers = torch.randint(2_147_483_647, (40, 3), generator=drawn).tolist()
    expected = [
        [
            97 * table + sum(multipliers[g][table] for g in range(40) if key @ planes[:, g] > 0) % 2_147_483_647 % 97
            for table in range(3)
        ]
        for key in x.double()
    ]
    lookup = HashedLookup(config, 5, 2, generator=torch.Generator())
    assert lookup.row_ids(x).tolist() == expected
    assert lookup.slot_counts(x).tolist() == [sum(row.count(slot) for row in expected) for slot in range(3 * 97)]


def test_sums_of_many_signs_are_reduced_by_the_prime():
    """Multipliers that add up to the prime, to one more and to twice the prime."""
    lookup = HashedLookup(LookupConfig(rows=10, tables=3, num_signs=2), 1, 2, generator=torch.Generator())
    lookup.planes_DG.fill_(1.0)
    lookup.multipliers_GT.copy_(torch.tensor([[2_147_483_640, 2_147_483_640, 2_147_483_647], [7, 8, 2_147_483_647]]))
    assert lookup.row_ids(torch.tensor([[2.0], [-2.0], [0.0]])).tolist() == [[0, 11, 20], [0, 10, 20], [0, 10, 20]]
