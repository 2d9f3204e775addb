"""Panel: what does it cost to add, delete and replace chunks of a saved store, and to clean up after it?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from retrieval.vector_index import IndexSpec
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import series_of, spread_at
from retromem.panels.retrieval.rankers import spec_of
from retromem.points import Point
from retromem.report.numerals import bytes_text, percent_text, seconds_text
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
        names = series_of(points, "seconds, build")
        lines, shares, slower = [], [], []
        for name in names:
            cells = [Cell(text=name)]
            build = spread_at(points, "seconds, build", name)
            for change in CHANGES:
                seconds, written = (spread_at(points, f"{what}, {change}", name) for what in ("seconds", "bytes"))
                if seconds and written and build:
                    cells.append(Cell(text=seconds_text(seconds.median), detail=f" {bytes_text(written.median)}"))
                    if change in ("add", "delete", "replace"):
                        shares.append(seconds.median / build.median)
            ratio = spread_at(points, "search_ratio", name)
            assert ratio is not None, "every index that was built was searched"
            slower.append(ratio.median)
            cells.append(Cell(text=f"{ratio.median:.2f}"))
            lines.append(cells)
        changed = percent_text(self.share)
        return PanelPage(
            title="The price of a change",
            answer=(
                f"Changing {changed} of a store takes {percent_text(min(shares))} to {percent_text(max(shares))} of "
                f"the time of building it anew; searches then take {min(slower):.2f} to {max(slower):.2f} times as "
                "long, until it is compacted."
            ),
            finding=(
                f"Adding, deleting or replacing {changed} of {self.num_chunks:,} chunks takes {min(shares):.3f} to "
                f"{max(shares):.3f} of the time of building the store anew."
            ),
            explained=[
                "Stores on disk: what is added becomes a segment of its own, coded by what the first one learnt; what "
                "is deleted is noted as dead, four bytes each, whatever the index; a replacement is both. No file is "
                "changed in place, so readers and a killed writer always find a whole store. Compacting builds anew "
                "from the raw vectors, which every store keeps for it.",
                "The last column is the time of a search behind all three changes beside that of the same store "
                "compacted: more segments to ask and dead chunks to skip.",
            ],
            charts=[],
            tables=[
                Table(
                    caption=f"Seconds of a change of {changed} of {self.num_chunks:,} chunks of {self.dim} dimensions, "
                    "verification included; small beside it: bytes written.",
                    header=["index", *CHANGES, "search: changed / compacted"],
                    blocks=[("", lines)],
                )
            ],
        )
