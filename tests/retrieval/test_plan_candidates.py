"""The families that a plan chooses from, written out whole, and the law that carries recall on, by hand."""

import math

import numpy as np
import pytest

from retrieval.plan_candidates import bytes_of, families
from retrieval.recall_law import PRIOR_SLOPE, PRIOR_SPREAD, Sampled, recall_at, slope_of
from retrieval.vector_index import IndexSpec


def specs(factory: str, rotated: str = "") -> list[IndexSpec]:
    """`32 64 -`: rotated to 32, to 64, and not at all."""
    return [IndexSpec(factory=factory, rotate_to=None if to == "-" else int(to)) for to in rotated.split() or ["-"]]


def test_all_families_over_48_dimensions() -> None:
    assert families(48, 1000, in_time=False) == {
        "LSH": specs("LSH", "16 24 32 48 64 96 128 192 256 384 512 768 1024"),
        "RaBitQ": specs("RaBitQ", "32 -"),
        "RaBitQ4": specs("RaBitQ4", "32 -"),
        "SQ4": specs("SQ4", "16 24 32 -"),
        "SQ8": specs("SQ8", "16 24 32 -"),
        "PQ x4fs": [IndexSpec(factory=f"PQ{parts}x4fs") for parts in (4, 8, 16, 24, 48)],
        "floats": [IndexSpec(factory="SQfp16"), IndexSpec(factory="Flat")],
    }


def test_all_families_over_1152_dimensions_in_time() -> None:
    rotated = "16 24 32 48 64 96 128 192 256 384 512 768 1024"
    # 4 * 1152 * 256 bytes of a codebook are 1,179,648; codes of 64 parts of 200,000 vectors are ten times as much.
    found = families(1152, 200_000, in_time=True)
    assert found == {
        "LSH": specs("LSH", rotated),
        "RaBitQ": specs("RaBitQ", rotated.removeprefix("16 24 ") + " -"),
        "RaBitQ4": specs("RaBitQ4", rotated.removeprefix("16 24 ") + " -"),
        "SQ4": specs("SQ4", rotated + " -"),
        "SQ8": specs("SQ8", rotated + " -"),
        "PQ x4fs": [IndexSpec(factory=f"PQ{parts}x4fs") for parts in (4, 8, 16, 24, 32, 48, 64, 96, 128, 192)],
        "PQ np": [IndexSpec(factory=f"PQ{parts}np") for parts in (64, 96, 128, 192)],
        "floats": [IndexSpec(factory="SQfp16"), IndexSpec(factory="Flat")],
        # 4 sqrt(200,000) is 1,789: nearer to 2,048 than to 1,024.
        "IVF SQ8": [IndexSpec(factory="IVF2048,SQ8", nprobe=lists) for lists in (4, 8, 16, 32, 64, 128)],
        "IVF Flat": [IndexSpec(factory="IVF2048,Flat", nprobe=lists) for lists in (4, 8, 16, 32, 64, 128)],
        "HNSW": [
            IndexSpec(factory="HNSW16,SQ8", ef_search=16),
            IndexSpec(factory="HNSW16,SQ8", ef_search=64),
            IndexSpec(factory="HNSW32", ef_search=32),
            IndexSpec(factory="HNSW32", ef_search=128),
        ],
    }
    assert families(2048, 10, in_time=False)["LSH"] == specs("LSH", rotated)


@pytest.mark.parametrize(
    ("num_vectors", "factory", "looked_into"),
    [
        (127, None, []),  # 45.08 lists: nearer to 32, fewer than are worth their while
        (129, "IVF64", [4, 8, 16, 32]),
        (511, "IVF64", [4, 8, 16, 32]),  # 90.4: nearer to 64
        (513, "IVF128", [4, 8, 16, 32, 64]),
        (2100, "IVF256", [4, 8, 16, 32, 64, 128]),
    ],
)
def test_lists_are_the_power_of_two_nearest_to_four_square_roots(
    num_vectors: int, factory: str | None, looked_into: list[int]
) -> None:
    found = families(24, num_vectors, in_time=True)
    assert {name for name in found if name.startswith("IVF")} == ({"IVF SQ8", "IVF Flat"} if factory else set())
    for code in ("SQ8", "Flat") if factory else ():
        assert found[f"IVF {code}"] == [IndexSpec(factory=f"{factory},{code}", nprobe=lists) for lists in looked_into]


def test_a_codebook_that_is_just_a_tenth_is_had() -> None:
    # 4 * 40 * 256 = 40,960 bytes: a tenth of the codes of 8 parts of 51,200 vectors.
    for num_vectors, parts in ((51_200, [8]), (51_199, None)):
        found = families(40, num_vectors, in_time=False).get("PQ np")
        assert found == (None if parts is None else [IndexSpec(factory=f"PQ{number}np") for number in parts])


def test_bytes_of_a_rotated_index_are_those_behind_the_rotation() -> None:
    assert bytes_of(IndexSpec(factory="Flat"), 48, 10) == 45 + 10 * 4 * 48
    assert bytes_of(IndexSpec(factory="Flat", rotate_to=20), 48, 10) == 45 + 10 * 4 * 20


# ---- the law -------------------------------------------------------------------------------------------------------


def test_logit_and_variance_of_a_sample_by_hand() -> None:
    sample = Sampled(num_vectors=3000, asked=70, found=61)
    assert sample.logit == pytest.approx(math.log(9.5 / 61.5))
    assert sample.variance == pytest.approx(1 / 9.5 + 1 / 61.5)


def test_three_samples_are_a_weighed_line_drawn_to_the_prior() -> None:
    samples = [
        Sampled(num_vectors=size, asked=asked, found=found)
        for size, asked, found in ((500, 400, 390), (1000, 300, 270), (2000, 900, 700))
    ]
    # The line by numpy, which takes square roots of weights; its precision from the same sums.
    x, y = np.log2([500, 1000, 2000]), np.array([sample.logit for sample in samples])
    weights = np.array([1 / sample.variance for sample in samples])
    own = np.polyfit(x, y, 1, w=np.sqrt(weights))[0]
    precision = (weights * x**2).sum() - (weights * x).sum() ** 2 / weights.sum()
    assert (PRIOR_SLOPE, PRIOR_SPREAD) == (0.35, 0.2)
    by_hand = (own * precision + 0.35 * 25) / (precision + 25)
    assert [slope_of(samples), slope_of(samples[::-1])] == pytest.approx([by_hand, by_hand])
    # Two and a half doublings beyond the largest, whichever stands first.
    size = round(2000 * 2**2.5)
    logit = math.log(200.5 / 700.5) + by_hand * math.log2(size / 2000)
    for order in (samples, samples[::-1]):
        assert recall_at(size, order) == pytest.approx(1 / (1 + math.exp(logit)))
        assert recall_at(2000, order) == recall_at(1500, order) == 700 / 900


def test_one_sample_alone_has_the_slope_of_other_sets() -> None:
    sample = Sampled(num_vectors=750, asked=40, found=31)
    assert slope_of([sample]) == pytest.approx(0.35)
    assert recall_at(1500, [sample]) == pytest.approx(1 / (1 + 9.5 / 31.5 * math.exp(0.35)))
