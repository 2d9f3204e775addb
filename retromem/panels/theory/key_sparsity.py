"""Panel: do sparse keys let a memory of dimension d hold far more than d facts, and how far is that from 2^d?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, series_of
from retromem.points import Point
from retromem.report.numerals import count_text, list_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell, Table

ORTHOGONAL, EVERY_KEY, EVERY_SIGN = "d orthogonal keys", "keys there are", "2^d"


@dataclass(frozen=True, kw_only=True)
class KeySparsityConfig(PanelConfig):
    """Capacity in facts of linear memories and of a ReLU FFN over the nonzero entries of the keys."""

    panel: Literal["key_sparsity"] = "key_sparsity"
    dim: int = 32
    """of keys and of value codes; also the hidden units of the ReLU FFN"""
    nonzeros: tuple[int, ...] = (1, 2, 4, 8, 32)
    """entries of a key that are not 0"""
    num_values: int = 32
    """drawn uniformly"""
    resolution: float = 0.06
    """of the search for the capacity, relative"""
    steps: int = 3000
    """of each training"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of keys, codes, labels and weights"""

    seconds_expected: ClassVar[float] = 53.0
    """of one seed"""
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"seeds"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.nonzeros) > self.dim:
            raise ValueError(f"nonzeros must lie between 1 and dim ({self.dim}), not {list(self.nonzeros)}")
        if sum(nonzero > 1 for nonzero in self.nonzeros) < 2:
            raise ValueError(f"nonzeros must name two numbers above 1 to be compared, not {list(self.nonzeros)}")

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.key_sparsity_points import key_sparsity_points

        return key_sparsity_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        measured = _measured(points)
        return PanelPage(
            title="Capacity against the sparsity of keys",
            answer=_answer(measured),
            finding=self._finding(measured),
            explained=[
                f"Keys of dimension d = {self.dim} with k entries of +1 or -1 over the root of k, the others 0, no two "
                f"the same; one of {self.num_values} values each, with random codes of dimension {self.dim}. Facts are "
                f"the most that are answered with accuracy .99, searched to {100 * self.resolution:g} %; trainings "
                f"take {count_text(self.steps)} full-batch steps of Adam.",
                f"The memories: one {self.dim} x {self.dim} matrix written by outer products, by least squares "
                f"(pseudo-inverse), or trained; and a ReLU FFN of {self.dim} hidden units, which has twice the "
                "parameters.",
                "The claim is d < C << 2^d: more facts than there are orthogonal keys, far fewer than there are sign "
                "vectors. Keys of one nonzero entry are only 2d, of two 2d (d - 1): there the number of keys bounds "
                "the facts, not the memory.",
                "At dense keys these numbers are the usual capacities; what a weight holds in bits is on other pages. "
                "The keys are exact: nothing here says how much noise sparse keys bear.",
            ],
            charts=[
                Chart(
                    title="Facts stored, beside d",
                    quantities=["facts"],
                    x_label="nonzero entries of a key (k)",
                    y_label="facts at accuracy .99",
                    x_scale="log",
                    y_scale="log",
                    series=[*measured, ORTHOGONAL],
                ),
                Chart(
                    title="The same beside 2^d, in log2",
                    quantities=["log2_facts"],
                    x_label="nonzero entries of a key (k)",
                    y_label="log2 facts",
                    x_scale="log",
                ),
            ],
            tables=[self._table(measured)],
        )

    def _finding(self, measured: dict[str, dict[float, Spread]]) -> str:
        said = []
        for series, facts in measured.items():
            # Of one nonzero entry there are only 2d keys: their number would be what is measured.
            medians = {k: spread.median for k, spread in facts.items() if k > 1}
            most = max(medians, key=lambda k: medians[k])
            fewest = min(medians, key=lambda k: medians[k])
            both = f"{count_text(medians[fewest])} (k = {fewest:g}) to {count_text(medians[most])} (k = {most:g})"
            said.append(f"{series} {both if most != fewest else count_text(medians[most])}")
        above = {
            series: [spread.median > self.dim for k, spread in facts.items() if k > 1]
            for series, facts in measured.items()
        }
        always = [series for series, more in above.items() if all(more)]
        never = [series for series, more in above.items() if not any(more)]
        most_facts = max(spread.median for facts in measured.values() for spread in facts.values())
        return (
            f"Facts stored with keys of k of {self.dim} entries, k > 1: {'; '.join(said)}. That is more than d = "
            f"{self.dim} at every k for {list_text(always or ['none'])}, at no k for {list_text(never or ['none'])}, "
            f"and at most 2^{log2(most_facts):.1f} where signs alone make 2^{self.dim} keys. "
            f"{_sparse_against_dense(measured)}"
        )

    def _table(self, measured: dict[str, dict[float, Spread]]) -> Table:
        lines = []
        for series, facts in measured.items():
            cells = [
                Cell(text=count_text(spread.median), detail=f" {count_text(spread.low)}-{count_text(spread.high)}")
                for spread in facts.values()
            ]
            lines.append([Cell(text=series), *cells])
        ks = next(iter(measured.values()))
        return Table(
            caption="Facts stored, median and range over seeds, by nonzero entries of a key.",
            header=["", *(f"k = {k:g}" for k in ks)],
            blocks=[("", lines)],
        )


def _measured(points: Sequence[Point]) -> dict[str, dict[float, Spread]]:
    own = [point for point in points if point.seed is not None]
    return {series: curve(own, "facts", series) for series in series_of(own, "facts")}


def _answer(measured: dict[str, dict[float, Spread]]) -> str:
    ks = [k for k in next(iter(measured.values())) if k > 1]
    said = [
        f"{word} facts are stored by {list_text(list(series))}"
        for word, series in _by_direction(measured, min(ks), max(ks)).items()
    ]
    return f"With keys of {min(ks):g} nonzero entries instead of {max(ks):g}, {', '.join(said)}."


def _by_direction(
    measured: dict[str, dict[float, Spread]], sparse_k: float, dense_k: float
) -> dict[str, dict[str, float]]:
    """More, fewer or as many facts with sparse keys, where ranges over seeds do not meet: series and their ratio."""
    found: dict[str, dict[str, float]] = {"more": {}, "fewer": {}, "as many (within the seeds)": {}}
    for series, facts in measured.items():
        sparse, dense = facts[sparse_k], facts[dense_k]
        word = "as many (within the seeds)"
        if sparse.low > dense.high:
            word = "more"
        elif sparse.high < dense.low:
            word = "fewer"
        found[word][series] = sparse.median / dense.median
    return {word: series for word, series in found.items() if series}


def _sparse_against_dense(measured: dict[str, dict[float, Spread]]) -> str:
    """The sparsest keys that are more than 2d against the densest."""
    ks = [k for k in next(iter(measured.values())) if k > 1]
    said = []
    for word, series in _by_direction(measured, min(ks), max(ks)).items():
        ratios = [f"{name} ({significant_text(ratio)} times)" for name, ratio in series.items()]
        said.append(f"{word}: {list_text(ratios)}")
    return f"Stored at k = {min(ks):g} beside k = {max(ks):g}, {'; '.join(said)}."
