"""The benchmark of searches: what it counts, and what it calls equivalent."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.ffn_kinds import DenseConfig, LinearConfig
from retrieval.errors import UserError
from retromem.benchmarks.autograd_road import built_without_passes
from retromem.benchmarks.run_benchmarks import run_benchmarks
from retromem.benchmarks.search_pairs import Pair, capacity_pair
from retromem.benchmarks.search_speed import equivalence

PAIR = Pair(
    searched="x", seed=0, unit="facts", found=1000, reference_found=1000, seconds=1.0, reference_seconds=10.0, steps=1,
    reference_steps=9, trainings=4, reference_trainings=12, abandoned=2, falsely_abandoned=0, succeeded=2,
)  # fmt: skip


def told(*found: int) -> str:
    return equivalence([replace(PAIR, found=one) for one in found])


def test_equivalence_is_shown_and_not_assumed() -> None:
    assert told(1000, 1010, 995, 1005, 990) == (
        "1.000 times what the reference finds (90 % interval 0.992 to 1.008): equivalent within 3%"
    )
    # The mean is as near, but five such pairs could be of searches that differ by more.
    assert told(1000, 1100, 905, 1090, 910).endswith("not shown to be equivalent within 3%")
    assert told(*(1040 + one for one in range(5))).endswith("not shown to be equivalent within 3%")
    assert told(*(960 - one for one in range(5))).endswith("not shown to be equivalent within 3%")


def test_what_is_timed_beside_goes_by_autograd() -> None:
    import torch

    config = built_without_passes(DenseConfig(kind="gelu", width=8))
    ffn = config.build(4, 4, generator=torch.Generator().manual_seed(0))
    same = DenseConfig(kind="gelu", width=8).build(4, 4, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(one, other) for one, other in zip(ffn.parameters(), same.parameters(), strict=True))
    assert type(ffn) is not type(same) and isinstance(ffn, type(same))
    assert config.label == "gelu-8" and replace(config, width=9).label == "gelu-9"


def test_a_tier_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="TIER=long: is no tier; name one of quick, full"):
        run_benchmarks("search", tmp_path, say=lambda _: None, tier="long")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_both_searches_of_a_pair_end_at_one_capacity() -> None:
    pair = capacity_pair(LinearConfig(), 8, seed=1)
    assert pair.found == pytest.approx(pair.reference_found, rel=0.15)  # of some 18 facts
    assert pair.steps < pair.reference_steps
    assert pair.reference_steps == 2000 * pair.reference_trainings and pair.succeeded >= 1
    assert pair.falsely_abandoned <= pair.abandoned < pair.trainings
