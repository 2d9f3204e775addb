"""Panel: do sparse keys let a memory of dimension d hold far more than d facts, and how far is that from 2^d?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import log2
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import (
    NotMeasured,
    against,
    by_name,
    grid,
    known,
    known_curve,
    least_and_most,
    of_each,
    ratio,
    sentences,
    spread_cell,
    tables,
)
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

    seconds_expected: ClassVar[float] = 53.0
    version: ClassVar[int] = 2
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
        over_nonzeros = partial(Chart, x_label="nonzero entries of a key (k)", x_scale="log")
        return PanelPage(
            title="Capacity against the sparsity of keys",
            answer=sentences(points, _answer),
            finding=sentences(points, self._finding, self._above_dim, _sparse_against_dense),
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
                "What a weight holds in bits is on other pages. "
                "The keys are exact: nothing here says how much noise sparse keys bear.",
            ],
            charts=[
                over_nonzeros(
                    title="Facts stored, beside d",
                    quantities=["facts"],
                    y_label="facts at accuracy .99",
                    y_scale="log",
                    series=[*series_of([point for point in points if point.seed is not None], "facts"), ORTHOGONAL],
                ),
                over_nonzeros(title="The same beside 2^d, in log2", quantities=["log2_facts"], y_label="log2 facts"),
            ],
            tables=tables(points, _table),
        )

    def _finding(self, points: Sequence[Point]) -> str:
        def said(series: str) -> str:
            medians = {k: spread.median for k, spread in measured[series].items()}
            ends = [f"{count_text(medians[k])} (k = {k:g})" for k in least_and_most(medians)]
            return f"{series} {' to '.join(ends)}"

        measured = _measured(points)
        return (
            f"Facts stored with keys of k of {self.dim} entries, k > 1: {'; '.join(of_each(said, measured).values())}."
        )

    def _above_dim(self, points: Sequence[Point]) -> str:
        measured = _measured(points)
        above = {series: [one.median > self.dim for one in facts.values()] for series, facts in measured.items()}
        always = [series for series, more in above.items() if all(more)]
        never = [series for series, more in above.items() if not any(more)]
        most_facts = max(spread.median for facts in measured.values() for spread in facts.values())
        at_most = (
            f", and at most 2^{log2(most_facts):.1f} where signs alone make 2^{self.dim} keys" if most_facts else ""
        )
        return (
            f"More than d = {self.dim} facts are stored at every k for {list_text(always or ['none'])}, at no k for "
            f"{list_text(never or ['none'])}{at_most}."
        )


def _table(points: Sequence[Point]) -> Table:
    own = [point for point in points if point.seed is not None]
    ks = sorted({point.x for point in own if point.quantity == "facts" and point.x is not None})

    def cell(series: str, k: float) -> Cell:
        return spread_cell(spread_at(own, "facts", series, k), count_text)

    columns, caption = {f"k = {k:g}": k for k in ks}, "Facts stored, by nonzero entries of a key."
    return grid(points, caption, "", by_name(series_of(own, "facts")), columns, cell)


def _measured(points: Sequence[Point]) -> dict[str, dict[float, Spread]]:
    """Facts by memory and by k; of one nonzero entry there are only 2d keys, whose number would be what is measured."""

    def facts(series: str) -> dict[float, Spread]:
        found = known_curve(own, "facts", series)
        return of_each(lambda k: found[k], [k for k in found if k > 1])

    own = [point for point in points if point.seed is not None]
    return of_each(facts, series_of(own, "facts"))


def _answer(points: Sequence[Point]) -> str:
    sparse, dense, by_direction = _by_direction(points)
    said = [f"{word} facts are stored by {list_text(list(series))}" for word, series in by_direction.items()]
    return f"With keys of {sparse:g} nonzero entries instead of {dense:g}, {', '.join(said)}."


def _by_direction(points: Sequence[Point]) -> tuple[float, float, dict[str, dict[str, str]]]:
    """The sparsest k and the densest, and who stores more, fewer or as many facts at the first: series and ratio."""
    words = {"more": "more", "less": "fewer", "no clear difference": "as many (as far as can be told)"}
    found: dict[str, dict[str, str]] = {word: {} for word in words.values()}
    measured = _measured(points)
    sparse_k, dense_k = min(map(min, measured.values())), max(map(max, measured.values()))
    if sparse_k == dense_k:
        raise NotMeasured("two numbers of nonzero entries")

    def both(series: str) -> list[Spread]:
        return [known(points, "facts", series, k) for k in (sparse_k, dense_k)]

    for series, (sparse, dense) in of_each(both, measured).items():
        times = f" ({significant_text(ratio(sparse, dense))} times)" if dense.median else ""
        found[words[against(sparse, dense)]][series] = f"{series}{times}"
    return sparse_k, dense_k, {word: series for word, series in found.items() if series}


def _sparse_against_dense(points: Sequence[Point]) -> str:
    """The sparsest keys that are more than 2d against the densest."""
    sparse, dense, by_direction = _by_direction(points)
    said = [f"{word}: {list_text(list(series.values()))}" for word, series in by_direction.items()]
    return f"Stored at k = {sparse:g} beside k = {dense:g}, {'; '.join(said)}."
