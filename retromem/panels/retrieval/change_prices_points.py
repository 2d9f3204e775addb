"""The points of the panel on the price of changes."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy import ndarray

from retrieval import store_updates
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retromem.benchmarks.in_turns import in_turns
from retromem.panels.points import Point
from retromem.panels.retrieval.change_prices import ChangePricesConfig
from retromem.panels.retrieval.rankers import spec_of


def _chunks(ids_N: ndarray, dim: int, rng: np.random.Generator) -> Chunks:
    vectors_ND = rng.standard_normal((len(ids_N), dim), dtype=np.float32)
    return Chunks(
        ids_N=ids_N,
        vectors_ND=vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True),
        labels_N=ids_N % 256,
        groups_N=np.zeros(len(ids_N), dtype=np.int64),
        label_bits_G=(8,),
    )


def change_prices_points(config: ChangePricesConfig, seed: int) -> list[Point]:
    """Seconds, bytes written, and how much slower the changed store answers than the compacted one."""
    rng = np.random.default_rng(seed)
    num_changed = config.num_changed
    before = _chunks(np.arange(config.num_chunks), config.dim, rng)
    more = _chunks(config.num_chunks + np.arange(num_changed), config.dim, rng)
    gone, other = np.split(rng.permutation(config.num_chunks)[: 2 * num_changed], 2)
    others = _chunks(np.sort(other), config.dim, rng)
    queries_QD = _chunks(np.arange(64), config.dim, rng).vectors_ND
    points = []
    for name in config.indexes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "store"
            priced = partial(_priced, folder=folder, name=name, seed=seed)
            points += priced("build", partial(_build, folder, before, name))
            points += priced("add", partial(store_updates.add, folder, more))
            points += priced("delete", partial(store_updates.delete, folder, gone))
            points += priced("replace", partial(store_updates.replace, folder, others))
            changed = ChunkStore.open(folder, verify=False)
            points += priced("compact", partial(store_updates.compact, folder))
            compacted = ChunkStore.open(folder, verify=False)
            timed = in_turns(
                "search",
                ("changed", partial(changed.search, queries_QD, 10)),
                ("compacted", partial(compacted.search, queries_QD, 10)),
                turns=5,
            )
            points.append(Point(quantity="search_ratio", series=name, y=timed.ratio, seed=seed))
    return points


def _build(folder: Path, chunks: Chunks, name: str) -> None:
    ChunkStore.build(chunks, spec_of(name)).save(folder, extra_files={}, meta={})


def _priced(change: str, do: Callable[[], object], *, folder: Path, name: str, seed: int) -> list[Point]:
    before = _files(folder)
    start = time.perf_counter()
    do()
    seconds = time.perf_counter() - start
    written = sum(size for file, size in _files(folder).items() if file not in before)
    numbers = {"seconds": seconds, "bytes": float(written)}
    labels = {"change": change}
    return [Point(quantity=of, series=name, labels=labels, y=y, seed=seed) for of, y in numbers.items()]


def _files(folder: Path) -> dict[tuple[str, int], int]:
    """Sizes by name and inode: a manifest that was replaced is another file."""
    if not folder.exists():
        return {}
    return {(path.name, path.stat().st_ino): path.stat().st_size for path in folder.iterdir()}
