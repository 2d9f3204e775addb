"""Exact search by torch on the processor and on its fastest device, beside FAISS Flat on the processor."""

from collections.abc import Iterator
from functools import partial

from retrieval.torch_search import TorchSearch, torch_device
from retrieval.vector_index import IndexSpec, VectorIndex
from retromem.benchmarks.in_turns import Timed, in_turns
from retromem.benchmarks.index_cost import random_unit

_SIZES, _DIM, _TOP = (100_000, 1_000_000), 384, 10


def measure() -> Iterator[Timed]:
    """Batches of 256 queries, 10 answers. Without a GPU only the processor and the smaller size are measured."""
    device = torch_device()
    queries_QD = random_unit(256, _DIM, seed=1)
    for num in _SIZES if device != "cpu" else _SIZES[:1]:
        vectors_ND = random_unit(num, _DIM, seed=0)
        flat = VectorIndex(IndexSpec(), _DIM)
        flat.add(vectors_ND)
        for where in dict.fromkeys(("cpu", device)):
            torch_search = TorchSearch(vectors_ND, where)
            for batch in (256, 1):
                queries = queries_QD[:batch]
                yield in_turns(
                    f"exact search of {num:,} x {_DIM}, batch {batch}",
                    (
                        f"torch on {where}",
                        partial(torch_search.nearest, queries, _TOP + 1, range(num), None, everywhere=False),
                    ),
                    ("FAISS Flat on the processor", partial(flat.search, queries, _TOP)),
                    turns=5,
                )
