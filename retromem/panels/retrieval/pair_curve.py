"""Panel: the fewest parameters and the fewest bytes that answer N facts in new words, for weights alone and for a pair.

The pair is an FFN that was taught to read on other facts, over a store of the facts that it is asked for.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from retrieval.vector_index import IndexSpec
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import spread_at
from retromem.points import Point
from retromem.report.numerals import bytes_text, count_text, percent_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell, Table

WEIGHTS, PAIR, ORACLE, COPY, SMALL = "weights alone", "pair", "pair, told the chunk", "copy the nearest", "copy, LSH"
NO_CHUNK, RANDOM = "pair, k = 0", "pair, random chunks"
CONTROLS = (NO_CHUNK, RANDOM)
"""that cannot know the facts: asked at the largest width alone"""


@dataclass(frozen=True, kw_only=True)
class PairCurveConfig(PanelConfig):
    """Countries of cities, values permuted, keys rotated to few dimensions; asked in words that were never written."""

    panel: Literal["pair_curve"] = "pair_curve"
    num_facts: tuple[int, ...] = (250, 500, 1000, 2000, 4000)
    """that are asked for: nested prefixes"""
    num_taught: int = 8000
    """other facts, on which the pair learns to read"""
    dim: int = 64
    """of the keys and of the stored statements, after a rotation by the seed"""
    accuracy: float = 0.95
    """that must be reached in new words"""
    widths: tuple[int, ...] = (8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512)
    """hidden units, of which the fewest are searched for; GELU, int8"""
    steps: int = 3000
    """of each training, at most"""
    factory: str = "SQ8"
    """FAISS factory string of the pair's store of statements, and of the one that is copied from"""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """of the dealing of the countries, of the rotation and of the first weights"""

    seconds_expected: ClassVar[float] = 400.0
    """of one seed, with keys in the cache"""
    reads_statements: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accuracy > 1:
            raise ValueError(f"accuracy must be at most 1, not {self.accuracy:g}")
        for name in ("num_facts", "widths"):
            if list(numbers := getattr(self, name)) != sorted(numbers):
                raise ValueError(f"{name} must rise, not {list(numbers)}")

    def parts(self, seed: int) -> tuple[list[KnowledgeSet], KnowledgeSet]:
        """The sets that are asked for, nested, and the facts that are taught, none of which is among them."""
        most = max(self.num_facts)
        whole = build_knowledge(TextConfig(source="cities", num_written=1, pool=1)).twin(seed=seed)
        whole = whole.prefix(most + self.num_taught)
        asked = [whole.prefix(num_facts) for num_facts in self.num_facts]
        return asked, replace(whole, rows_N=whole.rows_N[most:])

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        asked, taught = self.parts(seed)
        return [*asked, taught]

    def index_specs(self, text_dim: int) -> list[tuple[IndexSpec, int]]:
        return [(IndexSpec(factory=self.factory), text_dim)]

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.retrieval.pair_curve_points import pair_curve_points

        return pair_curve_points(self, encoded, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        searched = [WEIGHTS, PAIR, ORACLE]
        return PanelPage(
            title="Weights alone, or weights that read an index",
            answer=self._answer(points),
            finding=self._finding(points),
            explained=[
                f"How wide must a GELU FFN (int8) be to answer {percent_text(self.accuracy)} of N facts in words that "
                "were never written? Alone, it is trained on those facts. In the pair it is trained on "
                f"{count_text(self.num_taught)} other facts and their statements, never on those that it is asked for: "
                "these lie in a store as statements, and the nearest one is put before it.",
                "Countries of cities, dealt anew among the cities by each seed, so that nobody knows them beforehand. "
                f"Keys and statements are rotated to {self.dim} dimensions by the seed. Bytes are those of the weights "
                "and, in the pair, of the store. Medians over seeds; a seed that no width satisfies counts as never.",
                "Beside them: copying the value of the nearest chunk without weights (from the same store, and from "
                "one of a bit a dimension over the questions), the pair told which chunk is the right one, the pair "
                "without a chunk, and with a random one.",
            ],
            charts=[
                Chart(
                    title=f"Fewest parameters for {percent_text(self.accuracy)} in new words",
                    quantities=["min_params"],
                    x_label="facts",
                    y_label="parameters",
                    x_scale="log",
                    y_scale="log",
                    series=searched,
                ),
                Chart(
                    title=f"Fewest bytes for {percent_text(self.accuracy)} in new words",
                    quantities=["min_storage_bytes"],
                    x_label="facts",
                    y_label="storage bytes",
                    x_scale="log",
                    y_scale="log",
                    series=[*searched, COPY, SMALL],
                ),
            ],
            tables=[self._table(points, [*searched, COPY, SMALL]), self._accuracies(points)],
        )

    def _answer(self, points: Sequence[Point]) -> str:
        most = float(max(self.num_facts))
        alone, pair = (spread_at(points, "min_params", series, most) for series in (WEIGHTS, PAIR))
        if alone is None or pair is None or math.isinf(pair.median):
            return (
                "Weights grow with the facts that they must hold. A reader would not have to, but reading values out "
                "of a statement's embedding has to be learnt too, and is not learnt well enough here."
            )
        return "Weights grow with the facts that they must hold; a reader over an index stays small, its store grows."

    def _finding(self, points: Sequence[Point]) -> str:
        said = []
        for num_facts in (min(self.num_facts), max(self.num_facts)):
            each = [
                f"{series} {self._size(spread_at(points, 'min_params', series, float(num_facts)), count_text)}"
                for series in (WEIGHTS, PAIR)
            ]
            said.append(f"for {count_text(num_facts)} facts {', '.join(each)}")
        return f"Parameters for {percent_text(self.accuracy)} in new words: {'; '.join(said)}."

    def _size(self, spread: Spread | None, text: Callable[[int], str]) -> str:
        return "never" if spread is None or math.isinf(spread.median) else text(int(spread.median))

    def _table(self, points: Sequence[Point], series: Sequence[str]) -> Table:
        lines = []
        for name in series:
            cells = [Cell(text=name)]
            for num_facts in self.num_facts:
                params = spread_at(points, "min_params", name, float(num_facts))
                size = spread_at(points, "min_storage_bytes", name, float(num_facts))
                has_params = params is not None and 0 < params.median < math.inf
                detail = self._size(params, count_text) if has_params else ""
                cells.append(Cell(text=self._size(size, bytes_text), detail=detail))
            lines.append(cells)
        return Table(
            caption=f"Fewest bytes for {percent_text(self.accuracy)} in new words; small beside it: parameters.",
            header=["", *(f"{count_text(num_facts)} facts" for num_facts in self.num_facts)],
            blocks=[("", lines)],
        )

    def _accuracies(self, points: Sequence[Point]) -> Table:
        lines = []
        for name in (WEIGHTS, PAIR, ORACLE, COPY, SMALL, *CONTROLS):
            spreads = [spread_at(points, "accuracy", name, float(num_facts)) for num_facts in self.num_facts]
            lines.append([Cell(text=name), *(Cell(text=percent_text(s.median) if s else "") for s in spreads)])
        return Table(
            caption=f"Accuracy in new words at the largest width that was tried, {max(self.widths)} units at most.",
            header=["", *(f"{count_text(num_facts)} facts" for num_facts in self.num_facts)],
            blocks=[("", lines)],
        )
