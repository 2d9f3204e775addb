"""Panel: what does it cost to add, delete and replace chunks of a saved store, and to clean up after it?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar, Literal

from retrieval.vector_index import IndexSpec
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.retrieval.rankers import spec_of
from retromem.panels.spread_text import (
    by_name,
    grid,
    known,
    least_and_most,
    median_cell,
    of_each,
    ratio,
    sentences,
    tables,
)
from retromem.report.numerals import bytes_text, percent_text, range_text, seconds_text
from retromem.report.panel_page import PanelPage
from retromem.report.table_text import Cell, Table

CHANGES = ("build", "add", "delete", "replace", "compact")


@dataclass(frozen=True, kw_only=True)
class ChangePricesConfig(PanelConfig):
    """Seconds and bytes written of changes to stores on disk, random unit vectors without texts."""

    panel: Literal["change_prices"] = "change_prices"
    indexes: tuple[str, ...] = ("Flat", "SQ8", "PQ48x4fs", "RaBitQ", "LSH", "IVF64,Flat", "HNSW16")
    """factory strings"""
    num_chunks: int = 20_000
    """of the store before"""
    share: float = 0.01
    """of the chunks that come, go and are replaced, each"""
    dim: int = 384
    """of the vectors"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of the vectors"""

    version: ClassVar[int] = 7
    seconds_expected: ClassVar[float] = 60.0
    """of one seed"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.num_changed <= self.num_chunks // 2:
            raise ValueError(f"share must come to 1 of {self.num_chunks} chunks, and to half of them at most")

    @property
    def num_changed(self) -> int:
        """Chunks that come, go and are replaced, each."""
        return round(self.share * self.num_chunks)

    def index_specs(self, text_dim: int) -> list[tuple[IndexSpec, int]]:
        return [(spec_of(name), self.dim) for name in self.indexes]

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.retrieval.change_prices_points import change_prices_points

        return change_prices_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        changed = percent_text(self.share)
        return PanelPage(
            title="The price of a change",
            answer=sentences(points, self._answer, self._searches),
            finding=sentences(points, self._finding),
            explained=[
                "Stores on disk: what is added becomes a segment of its own, coded by what the first one learnt; what "
                "is deleted is noted as dead, four bytes each, whatever the index; a replacement is both. No file is "
                "changed in place, so readers and a killed writer always find a whole store. Compacting builds anew "
                "from the raw vectors, which every store keeps for it.",
                f"Changed are {changed} of {self.num_chunks:,} chunks of {self.dim} dimensions. The last column is the "
                "time of a search behind all three changes beside that of the same store compacted: more segments to "
                "ask and dead chunks to skip.",
            ],
            tables=tables(points, self._table),
        )

    def _shares(self, points: Sequence[Point]) -> dict[tuple[str, str], float]:
        """Of the time of building the store anew, by change and index."""

        def share(change_of: tuple[str, str]) -> float:
            change, name = change_of
            return ratio(*(known(points, "seconds", name, change=of) for of in (change, "build")))

        return of_each(share, product(("add", "delete", "replace"), series_of(points, "seconds", change="build")))

    def _answer(self, points: Sequence[Point]) -> str:
        shares = range_text(self._shares(points).values(), percent_text)
        return f"Changing {percent_text(self.share)} of a store takes {shares} of the time of building it anew."

    def _searches(self, points: Sequence[Point]) -> str:
        slower = of_each(lambda name: known(points, "search_ratio", name).median, series_of(points, "search_ratio"))
        return (
            f"Searches then take {range_text(slower.values(), '{:.2f}'.format)} times as long as once it is compacted."
        )

    def _finding(self, points: Sequence[Point]) -> str:
        shares = self._shares(points)
        said = [f"{shares[change, name]:.3f} ({change}, {name})" for change, name in least_and_most(shares)]
        return (
            f"A change of {percent_text(self.share)} of {self.num_chunks:,} chunks takes {' to '.join(said)} of the "
            "time of building the store anew."
        )

    def _table(self, points: Sequence[Point]) -> Table:
        def cell(name: str, change: str) -> Cell:
            if change not in CHANGES:
                return median_cell(spread_at(points, "search_ratio", name), "{:.2f}".format)
            seconds, written = (spread_at(points, what, name, change=change) for what in ("seconds", "bytes"))
            of_bytes = f" {bytes_text(written.median)}" if written else ""
            return replace(median_cell(seconds, seconds_text), detail=of_bytes)

        names = [*series_of(points, "seconds", change="build"), *series_of(points, "search_ratio")]
        columns = (*CHANGES, "search: changed / compacted")
        caption = "Seconds of each change, verification included; small beside it: bytes written."
        return grid(points, caption, "index", by_name(names), by_name(columns), cell)
