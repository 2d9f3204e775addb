"""What searches an index: FAISS on the processor, FAISS on GPUs, or torch on what it has. The answers are the same."""

from typing import Any, Literal

from retrieval.faiss_search import FaissSearch, GpuFaissSearch
from retrieval.ranked_search import NearestSearch

Engine = Literal["faiss", "faiss-gpu", "torch"]


def search_of(index: Any, engine: Engine) -> NearestSearch:
    """The search of a FAISS index by an engine; UserError where that engine cannot search it, or is not there."""
    if engine == "faiss":
        return FaissSearch(index)
    if engine == "faiss-gpu":
        return GpuFaissSearch(index)
    from retrieval.torch_search import TorchSearch

    return TorchSearch.of_index(index)
