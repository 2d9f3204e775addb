"""Every engine gives the answers of FAISS on the processor, in their order."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray

from retrieval import torch_search
from retrieval.engines import Engine
from retrieval.errors import UserError
from retrieval.ranked_search import ranked
from retrieval.torch_search import TorchSearch
from retrieval.vector_index import IndexSpec, VectorIndex

DIM = 24


def unit(num: int, seed: int = 0, dim: int = DIM) -> ndarray:
    vectors = np.random.default_rng(seed).standard_normal((num, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def halves(num: int, seed: int) -> ndarray:
    """Of norm 1, full of ties, and every inner product exact in any order of summation."""
    rng = np.random.default_rng(seed)
    vectors = np.zeros((num, 8), dtype=np.float32)
    for row in vectors:
        row[rng.choice(8, 4, replace=False)] = rng.choice([-0.5, 0.5], 4)
    return vectors


def filled(vectors: ndarray, groups: ndarray | None = None, engine: Engine = "faiss", **spec: object) -> VectorIndex:
    index = VectorIndex(IndexSpec(**spec), vectors.shape[1])  # type: ignore[arg-type]
    index.add(vectors, groups)
    index.search_with(engine)
    return index


@given(
    num=st.integers(1, 60),
    num_queries=st.integers(0, 20),
    num_groups=st.integers(1, 3),
    k=st.integers(0, 70),
    columns=st.sampled_from([1, 7, 64]),
    rows=st.sampled_from([1, 8]),
    seed=st.integers(0, 1000),
)
def test_torch_answers_like_flat_whatever_the_blocks(
    num: int, num_queries: int, num_groups: int, k: int, columns: int, rows: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = halves(num, seed), halves(num_queries, seed + 1)
    groups, is_live = np.sort(rng.integers(0, num_groups, num)), rng.random(num) < 0.7
    flat, other = filled(vectors, groups), filled(vectors, groups, "torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_search, "_COLUMNS_A_BLOCK", columns)
        patch.setattr(torch_search, "_ROWS_A_BLOCK", rows)
        for group in (None, *range(num_groups)):
            for live in (None, is_live):
                expected = flat.search(queries, k, group, live)
                for found, right in zip(other.search(queries, k, group, live), expected, strict=True):
                    np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("rotate_to", [None, 16])
def test_torch_answers_like_flat_on_real_numbers(rotate_to: int | None) -> None:
    vectors, queries = unit(3000), unit(200, seed=1)
    positions, similarities = filled(vectors, rotate_to=rotate_to).search(queries, 10)
    found = filled(vectors, engine="torch", rotate_to=rotate_to).search(queries, 10)
    np.testing.assert_array_equal(found[0], positions)
    np.testing.assert_allclose(found[1], similarities, atol=1e-6)


def test_an_engine_that_cannot_search_says_so() -> None:
    with pytest.raises(UserError, match="torch searches Flat alone, and this is a IndexScalarQuantizer"):
        filled(unit(50), engine="torch", factory="SQ8")
    from retrieval._faiss import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        with pytest.raises(UserError, match="built without GPU code"):
            filled(unit(50), engine="faiss-gpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_torch_answers_on_a_gpu_like_on_the_processor() -> None:
    vectors, queries = unit(200_000, dim=64), unit(1000, seed=1, dim=64)
    positions, similarities = ranked(TorchSearch(vectors, "cpu"), queries, 10, range(200_000))
    found = ranked(TorchSearch(vectors, "cuda"), queries, 10, range(200_000))
    np.testing.assert_allclose(found[1], similarities, atol=1e-6)
    # Neighbours whose similarities differ by rounding alone may change places.
    assert np.mean(found[0] == positions) > 0.999


@pytest.mark.gpu
@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat", "IVF16,SQ8"])
def test_faiss_answers_on_a_gpu_like_on_the_processor(factory: str) -> None:
    from retrieval._faiss import faiss

    if not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        pytest.skip("needs FAISS with GPU code, and a GPU")
    vectors, queries = unit(3000), unit(200, seed=1)
    positions, similarities = filled(vectors, factory=factory).search(queries, 10)
    found = filled(vectors, engine="faiss-gpu", factory=factory).search(queries, 10)
    np.testing.assert_array_equal(found[0], positions)
    np.testing.assert_allclose(found[1], similarities, atol=1e-5)
