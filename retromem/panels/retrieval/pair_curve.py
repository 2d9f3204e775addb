"""Panel: the fewest parameters and the fewest bytes that answer N facts paraphrased, for weights alone and for a pair.

The pair is an FFN that was taught to read on other facts, over a store of the facts that it is asked for.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from retrieval.vector_index import IndexSpec
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import by_name, grid, known, known_curve, median_cell, of_each, sentences, tables
from retromem.report.numerals import bytes_text, count_text, list_text, percent_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell, Table

WEIGHTS, PAIR, ORACLE, COPY, SMALL = "weights alone", "pair", "pair, told the chunk", "copy the nearest", "copy, LSH"
NO_CHUNK, RANDOM = "pair, k = 0", "pair, random chunks"
CONTROLS = (NO_CHUNK, RANDOM)
"""that cannot know the facts: asked at the largest width alone"""
_ARMS = (WEIGHTS, PAIR, ORACLE, COPY, SMALL, *CONTROLS)


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
    """that must be reached paraphrased"""
    widths: tuple[int, ...] = (8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512)
    """hidden units, of which the fewest are searched for; GELU, int8"""
    steps: int = 3000
    """of each training, at most"""
    factory: str = "SQ8"
    """FAISS factory string of the pair's store of statements, and of the one that is copied from"""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """of the dealing of the countries, of the rotation and of the first weights"""

    version: ClassVar[int] = 4
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
        over_facts = partial(Chart, x_label="facts", x_scale="log", y_scale="log")
        return PanelPage(
            title="Weights alone, or weights that read an index",
            answer=sentences(points, self._answer, self._in_bytes),
            finding=sentences(points, self._finding),
            explained=[
                f"How wide must a GELU FFN (int8) be to answer {percent_text(self.accuracy)} of N facts in words that "
                "were never written? Alone, it is trained on those facts. In the pair it is trained on "
                f"{count_text(self.num_taught)} other facts and their statements, never on those that it is asked for: "
                "these lie in a store as statements, and the nearest one is put before it.",
                "Countries of cities, dealt anew among the cities by each seed, so that nobody knows them beforehand. "
                f"Keys and statements are rotated to {self.dim} dimensions by the seed. Bytes are those of the weights "
                "and, in the pair, of the store. A seed that no width satisfies counts as never.",
                "Beside them: copying the value of the nearest chunk without weights (from the same store, and from "
                "one of a bit a dimension over the questions), the pair told which chunk is the right one, the pair "
                "without a chunk, and with a random one.",
            ],
            charts=[
                over_facts(
                    title=f"Fewest parameters for {percent_text(self.accuracy)} paraphrased",
                    quantities=["min_params"],
                    y_label="parameters",
                    series=searched,
                ),
                over_facts(
                    title=f"Fewest bytes for {percent_text(self.accuracy)} paraphrased",
                    quantities=["min_storage_bytes"],
                    y_label="storage bytes",
                    series=[*searched, COPY, SMALL],
                ),
            ],
            tables=tables(points, self._table, self._accuracies),
        )

    def _ends(self, points: Sequence[Point], quantity: str) -> list[float]:
        """The fewest facts and the most of which weights or pair have this."""
        found = of_each(lambda series: known_curve(points, quantity, series), (WEIGHTS, PAIR))
        sizes = [num_facts for own in found.values() for num_facts in own]
        return sorted({min(sizes), max(sizes)})

    def _needs(self, points: Sequence[Point], quantity: str, series: str, text: Callable[[float], str]) -> str:
        sizes = of_each(
            lambda num_facts: _size(known(points, quantity, series, num_facts), text), self._ends(points, quantity)
        )
        return list_text([f"{size} for {count_text(num_facts)} facts" for num_facts, size in sizes.items()])

    def _answer(self, points: Sequence[Point]) -> str:
        called = {WEIGHTS: "weights alone", PAIR: "a reader over an index"}
        needs = of_each(lambda series: self._needs(points, "min_params", series, count_text), called)
        said = "; ".join(f"{called[series]} {need}" for series, need in needs.items())
        return f"Parameters that answer {percent_text(self.accuracy)} paraphrased: {said}."

    def _in_bytes(self, points: Sequence[Point]) -> str:
        """Who is smaller at the most facts, the store counted."""
        most = self._ends(points, "min_storage_bytes")[-1]
        alone, pair = (known(points, "min_storage_bytes", series, most) for series in (WEIGHTS, PAIR))
        at, sizes = f"at {count_text(most)} facts", [_size(one, bytes_text) for one in (alone, pair)]
        if math.isinf(alone.median) and math.isinf(pair.median):
            return f"Neither gets there {at}."
        if alone.median == pair.median:
            return f"In bytes, the store counted, neither is smaller {at}: {sizes[0]}."
        smaller, order = ("the weights are", 1) if alone.median < pair.median else ("the pair is", -1)
        first, second = sizes[::order]
        return f"In bytes, the store counted, {smaller} the smaller memory {at}: {first} against {second}."

    def _finding(self, points: Sequence[Point]) -> str:
        most = max(of_each(lambda name: max(known_curve(points, "accuracy", name)), _ARMS).values())
        right = of_each(lambda name: known(points, "accuracy", name, most).median, _ARMS)
        said = [f"{name} {percent_text(share)}" for name, share in right.items()]
        return (
            f"At the largest width tried, asked in paraphrases about {count_text(most)} facts, are right: "
            f"{', '.join(said)}."
        )

    def _table(self, points: Sequence[Point]) -> Table:
        def cell(name: str, num_facts: float) -> Cell:
            params, size = (spread_at(points, of, name, num_facts) for of in ("min_params", "min_storage_bytes"))
            has_params = params is not None and 0 < params.median < math.inf
            detail = count_text(params.median) if params is not None and has_params else ""
            return Cell(text="–") if size is None else Cell(text=_size(size, bytes_text), detail=detail)

        caption = f"Fewest bytes for {percent_text(self.accuracy)} paraphrased; small beside it: parameters."
        return grid(points, caption, "", by_name((WEIGHTS, PAIR, ORACLE, COPY, SMALL)), self._sizes, cell)

    def _accuracies(self, points: Sequence[Point]) -> Table:
        def cell(name: str, num_facts: float) -> Cell:
            return median_cell(spread_at(points, "accuracy", name, num_facts), percent_text)

        caption = f"Accuracy on paraphrases at the largest width that was tried, {max(self.widths)} units at most."
        return grid(points, caption, "", by_name(_ARMS), self._sizes, cell)

    @property
    def _sizes(self) -> dict[str, float]:
        return {f"{count_text(num_facts)} facts": float(num_facts) for num_facts in self.num_facts}


def _size(spread: Spread, text: Callable[[float], str]) -> str:
    return "more than was tried" if math.isinf(spread.median) else text(spread.median)
