"""A store of a million chunks: opened from its map beside a verification of every byte, and searched.

Vectors are random, texts and labels made up. It is written to a temporary folder: 3 GB, and 9 GB of memory.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy import ndarray

from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retrieval.vector_index import IndexSpec
from retromem.benchmarks.in_turns import Timed, in_turns
from retromem.benchmarks.index_cost import random_unit
from retromem.run.method import num_cores

_NUM_CHUNKS, _DIM, _TOP = 1_000_000, 384, 10
_FACTORIES = ("Flat", "IVF1024,SQ8")


def _chunks() -> Chunks:
    return Chunks(
        ids_N=np.arange(_NUM_CHUNKS),
        vectors_ND=random_unit(_NUM_CHUNKS, _DIM, seed=0),
        labels_N=np.arange(_NUM_CHUNKS) % 256,
        groups_N=np.zeros(_NUM_CHUNKS, dtype=np.int64),
        label_bits_G=(8,),
        texts=[f"The value of number {number} is {number % 256}." for number in range(_NUM_CHUNKS)],
    )


def _one_by_one(store: ChunkStore, queries_QD: ndarray) -> None:
    for row in range(len(queries_QD)):
        store.search(queries_QD[row : row + 1], _TOP)


def measure(say: Callable[[str], None]) -> Iterator[Timed]:
    """For each index: build and save once, said as it comes; then open and search, in turns."""
    chunks, queries_QD = _chunks(), random_unit(256, _DIM, seed=1)
    for factory in _FACTORIES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "store"
            start = time.perf_counter()
            store = ChunkStore.build(chunks, IndexSpec(factory=factory), num_shards=num_cores())
            built = time.perf_counter()
            store.save(folder, extra_files={}, meta={})
            saved = time.perf_counter()
            size = sum(path.stat().st_size for path in folder.iterdir())
            what = f"{factory}, {_NUM_CHUNKS:,} chunks x {_DIM}"
            seconds = f"built in {built - start:.1f} s, self-tested and saved in {saved - built:.1f} s"
            say(f"{what}: {seconds}, {size:,} bytes")
            del store
            open_mapped = partial(ChunkStore.open, folder, verify=False)
            yield in_turns(
                f"open {what}",
                ("mapped, hashes skipped", open_mapped),
                ("every hash verified", partial(ChunkStore.open, folder)),
                turns=3,
            )
            opened = open_mapped()
            yield in_turns(
                f"search {what}, batch 256 beside 256 times 1",
                ("batch 256", partial(opened.search, queries_QD, _TOP)),
                ("one by one", partial(_one_by_one, opened, queries_QD)),
                turns=3,
            )
