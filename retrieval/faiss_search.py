"""A FAISS index as `ranked` asks it: restricted where FAISS can be, by inner product, or for LSH by 1 - 2 h / bits at
Hamming distance h, for product codes by 1 - d / 2 at squared distance d of vectors of length 1.

Shape legend: N stored vectors, Q queries, K ranked answers, E dimensions that FAISS sees.
"""

from typing import Any

import numpy as np
from numpy import ndarray

from retrieval.errors import UserError
from retrieval.exhaustive_search import may_miss, search_everything
from retrieval.faiss_factory import innermost, reason

_MOST_GPU_ANSWERS = 2048  # of one search; FAISS refuses more


class FaissSearch:
    """On the processor."""

    def __init__(self, index: Any) -> None:
        from retrieval._faiss import faiss

        self._index = index
        self._inner = innermost(index)
        self._is_lsh = isinstance(self._inner, faiss.IndexLSH)
        self._by_distance = not self._is_lsh and index.metric_type == faiss.METRIC_L2
        # The others (PQ, FastScan, LSH, graphs, refined ones) refuse a selector, or walk past what it hides.
        self.selects = isinstance(
            self._inner, faiss.IndexFlat | faiss.IndexScalarQuantizer | faiss.IndexRaBitQ | faiss.IndexIVF
        )
        self.may_miss = may_miss(index)
        # Whole distances tie more often than not; FastScan's, of 16 bits, in one row of seventeen.
        self.spare = 16 if self._is_lsh else 4

    @property
    def num_vectors(self) -> int:
        return int(self._index.ntotal)

    def nearest(
        self, queries_QE: ndarray, depth: int, window: range, is_live_N: ndarray | None, *, everywhere: bool
    ) -> tuple[ndarray, ndarray]:
        if self._by_distance:
            lengths_Q1 = np.linalg.norm(queries_QE, axis=1, keepdims=True)
            queries_QE = queries_QE / np.maximum(lengths_Q1, np.finfo(np.float32).tiny)
        if everywhere:
            distances, positions = search_everything(self._index, queries_QE, depth)
        else:
            distances, positions = self._search(queries_QE, depth, self._parameters(window, is_live_N))
        if self._is_lsh:
            return 1 - distances * np.float32(2 / self._inner.nbits), positions
        return (1 - distances / 2 if self._by_distance else distances), positions

    def _search(self, queries_QE: ndarray, depth: int, parameters: Any) -> tuple[ndarray, ndarray]:
        distances, positions = self._index.search(queries_QE, depth, params=parameters)
        return distances, positions

    def _parameters(self, window: range, is_live_N: ndarray | None) -> Any:
        from retrieval._faiss import faiss

        if not self.selects or (len(window) == self._index.ntotal and is_live_N is None):
            return None
        if is_live_N is None:
            selector = faiss.IDSelectorRange(window.start, window.stop)
        else:
            allowed_N = np.zeros(len(is_live_N), dtype=bool)
            allowed_N[window.start : window.stop] = is_live_N[window.start : window.stop]
            selector = faiss.IDSelectorBitmap(np.packbits(allowed_N, bitorder="little"))
        if isinstance(self._inner, faiss.IndexIVF):
            return faiss.SearchParametersIVF(sel=selector, nprobe=self._inner.nprobe)
        return faiss.SearchParameters(sel=selector)


class GpuFaissSearch(FaissSearch):
    """The same index on all GPUs that FAISS sees; what a GPU search cannot do, the processor does."""

    def __init__(self, index: Any) -> None:
        """UserError where this build of FAISS has no GPU code, no GPU is there, or it cannot take this index."""
        from retrieval._faiss import faiss

        super().__init__(index)
        if not hasattr(faiss, "StandardGpuResources"):
            raise UserError("this FAISS was built without GPU code; pip install 'retromem[gpu]' instead of [cpu]")
        if not faiss.get_num_gpus():
            raise UserError("FAISS sees no GPU; search with faiss or torch")
        try:
            self._on_gpus = faiss.index_cpu_to_all_gpus(index)
        except RuntimeError as error:
            raise UserError(
                f"FAISS has no GPU form of a {type(self._inner).__name__}: {reason(error)}; search with faiss"
            ) from error
        self.selects = False  # its selectors depend on how FAISS was built

    def _search(self, queries_QE: ndarray, depth: int, parameters: Any) -> tuple[ndarray, ndarray]:
        if depth > _MOST_GPU_ANSWERS:
            return super()._search(queries_QE, depth, parameters)
        distances, positions = self._on_gpus.search(queries_QE, depth)
        return distances, positions
