"""Exact search by torch: products with all vectors, block after block, and the largest of them.

On a GPU this is the simplest fast search there is, and no build of FAISS is needed for it.

Shape legend: N stored vectors, Q queries, C columns of a block of vectors, K found, E dimensions.
"""

from typing import Any

import numpy as np
import torch
from numpy import ndarray

from retrieval.errors import UserError
from retrieval.faiss_factory import innermost

_ROWS_A_BLOCK = 1024
_COLUMNS_A_BLOCK = 1 << 16  # 256 MB of float32 products


def torch_device() -> str:
    """The fastest device that torch has: cuda, mps or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class TorchSearch:
    """All vectors on one device, in float32."""

    selects = True
    may_miss = False
    spare = 4

    def __init__(self, vectors_NE: ndarray, device: str) -> None:
        self._vectors_NE = torch.from_numpy(vectors_NE).to(device)

    @classmethod
    def of_index(cls, index: Any) -> "TorchSearch":
        """The vectors of a Flat index; UserError for an index that does not keep them as they are."""
        from retrieval._faiss import faiss

        if not isinstance(index, faiss.IndexFlat):
            raise UserError(f"torch searches Flat alone, and this is a {type(innermost(index)).__name__}")
        flat = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)
        return cls(np.array(flat), torch_device())  # a copy: a mapped file is read-only, and the index may go

    @property
    def num_vectors(self) -> int:
        return len(self._vectors_NE)

    def nearest(
        self, queries_QE: ndarray, depth: int, window: range, is_live_N: ndarray | None, *, everywhere: bool
    ) -> tuple[ndarray, ndarray]:
        device = self._vectors_NE.device
        similarities_QK = np.full((len(queries_QE), depth), -np.inf, dtype=np.float32)
        positions_QK = np.full((len(queries_QE), depth), -1, dtype=np.int64)
        is_hidden_N = None if is_live_N is None else torch.from_numpy(~is_live_N).to(device)
        for first in range(0, len(queries_QE), _ROWS_A_BLOCK):
            rows = slice(first, first + _ROWS_A_BLOCK)
            found_QK, at_QK = self._of_block(torch.from_numpy(queries_QE[rows]).to(device), depth, window, is_hidden_N)
            similarities_QK[rows, : found_QK.shape[1]] = found_QK.cpu().numpy()
            positions_QK[rows, : at_QK.shape[1]] = at_QK.cpu().numpy()
        positions_QK[similarities_QK == -np.inf] = -1
        return similarities_QK, positions_QK

    def _of_block(
        self, queries_QE: torch.Tensor, depth: int, window: range, is_hidden_N: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        best_QK = queries_QE.new_empty((len(queries_QE), 0))
        at_QK = torch.empty_like(best_QK, dtype=torch.int64)
        for start in range(window.start, window.stop, _COLUMNS_A_BLOCK):
            columns = slice(start, min(window.stop, start + _COLUMNS_A_BLOCK))
            products_QC = queries_QE @ self._vectors_NE[columns].T
            if is_hidden_N is not None:
                products_QC.masked_fill_(is_hidden_N[columns], -torch.inf)
            found_QK, within_QK = products_QC.topk(min(depth, products_QC.shape[1]), dim=1)
            # What was best before stands beside what this block brings.
            both_QK = torch.cat([best_QK, found_QK], dim=1)
            best_QK, order_QK = both_QK.topk(min(depth, both_QK.shape[1]), dim=1)
            at_QK = torch.cat([at_QK, within_QK + start], dim=1).gather(1, order_QK)
        return best_QK, at_QK
