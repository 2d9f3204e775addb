"""Panel: how far gradient descent stays below what the same parameters can hold, and what the difference costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from retromem.panels.limits.key_choice import KeyChoiceConfig
from retromem.panels.panel_config import Encoded
from retromem.panels.point_spread import curve, series_of, spread_at
from retromem.panels.points import PUBLISHED, Point
from retromem.panels.spread_text import (
    NotMeasured,
    ends_of,
    known,
    known_curve,
    median_cell,
    medians_table,
    of_each,
    ratio,
    sentences,
    tables,
)
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell, Table

PAIRS = "token pairs"
TRAINED_PAIRS, SOLVED_PAIRS = "trained ReLU", "two-sided construction"
TRAINED_KEYS, SOLVED_KEYS = "trained SwiGLU", "values-on-a-line store"
DIM, NUM_VALUES = 16, 16
BITS_A_FACT = math.log2(NUM_VALUES)
_TWO_TOKENS = (
    "the two-token task (32 x 32 pairs, 16 labels, ReLU with 1,280 parameters, every fact right) by 5,000 full-batch "
    "steps of Adam and by the two-sided construction, whose facts and labels are the published ones; and "
)
_COMPARED = ("stored_bits_per_param", "sigma90")
_KINDS = ("ReLU", "SwiGLU")
PUBLISHED_BITS = {
    "ReLU": {30: 0.45, 100: 1.29, 300: 1.76, 1000: 1.76, 3000: 2.11},
    "SwiGLU": {30: 0.36, 100: 1.68, 300: 2.28, 1000: 2.43, 3000: 2.74},
}


@dataclass(frozen=True, kw_only=True)
class OptimisationConfig(KeyChoiceConfig):
    """Constructions against training at equal parameters, exposures, and optimisers; d = 16."""

    panel: Literal["optimisation"] = "optimisation"
    exposures: tuple[int, ...] = (30, 100, 300, 1000, 3000)
    """full-batch steps of a training; the optimisers, compared on random keys, get the most of them"""
    width: int = 32
    """hidden units of the ReLU FFN; the SwiGLU FFN has its parameters at most"""
    resolution: float = 0.05
    """of every search, as a share of the facts found"""
    constructions: bool = True
    """compare them with training too, on keys and, where these are random, on token pairs"""

    seconds_expected: ClassVar[float] = 135.0
    version: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not {*self.exposures} <= {*(published := PUBLISHED_BITS["ReLU"])}:
            raise ValueError(f"exposures must be among the published ones, {[*published]}, not {self.exposures}")

    @property
    def num_keys(self) -> int:
        """Searches go up to twice what was published."""
        most_bits = 2 * max(bits for found in PUBLISHED_BITS.values() for bits in found.values())
        return math.ceil(most_bits * 2 * DIM * self.width / BITS_A_FACT) + 3

    @property
    def tasks(self) -> Mapping[str, tuple[str, str]]:
        """The series of trained weights and of constructed ones for each task."""
        of_pairs = {} if self.reads_text else {PAIRS: (TRAINED_PAIRS, SOLVED_PAIRS)}
        return {**of_pairs, self.key_name: (TRAINED_KEYS, SOLVED_KEYS)}

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.optimisation_gap_points import optimisation_points

        return optimisation_points(self, seed, self.chosen_keys(DIM, seed, encoded))

    def page(self, points: Sequence[Point]) -> PanelPage:
        most = max(self.exposures)
        return PanelPage(
            title=self.titled("Optimisation: what gradient descent leaves unused"),
            answer=sentences(points, self._answer),
            finding=sentences(
                points,
                *(partial(self._of_constructions, task=task) for task in self.tasks),
                _of_exposures,
                self._of_optimizers,
            ),
            explained=[
                f"Constructions: {'' if self.reads_text else _TWO_TOKENS}{self.key_name} in {DIM} dimensions with "
                f"{NUM_VALUES} values (SwiGLU with biases, about {2 * DIM * self.width:,} parameters, 99 % right) by "
                "training and by placing the values on a line, which is repeated linear solves. sigma90 is the weight "
                "noise, relative to each matrix's RMS, at which accuracy falls below 90 %; trained and constructed "
                "weights hold the same facts there, 90 % of what the trained ones can.",
                f"Exposures: the most facts of {self.key_name} that are 99 % right after so many full-batch steps "
                f"(ReLU with {32 * self.width:,} parameters, SwiGLU with no more), at the better of two rates: "
                ".03 and .1 up to 300 steps, .01 and .03 above, as in the published sweep, which had one seed and a "
                f"resolution of 7 %; here it is {100 * self.resolution:g} %.",
                "Optimisers and token pairs are compared on random keys alone."
                if self.reads_text
                else f"Optimisers: the same search after {most:,} steps with a cosine schedule, each optimiser at the "
                "better of two rates for each number of facts: adam and adamw (decay .01) .01 and .03, sgd (momentum "
                ".9) 1 and 3, muon .1 and .2 (whose steps take about three times as long). A gap between two is one "
                "between these settings.",
                *self.explained_keys(DIM),
                "Published: the best of 3 seeds on token pairs, one seed for exposures. A "
                "construction that stores more is not a better memory: look at its sigma90.",
            ],
            charts=[
                Chart(
                    title="Exposures",
                    quantities=["bits_per_param"],
                    x_label="full-batch steps",
                    y_label="bits per parameter",
                    x_scale="log",
                ),
                Chart(
                    title=f"Optimisers, {most:,} steps",
                    quantities=["optimiser_bits_per_param"],
                    y_label="bits per parameter",
                ),
            ],
            tables=tables(points, self._table),
        )

    def _beside(self, points: Sequence[Point], task: str, quantity: str) -> tuple[Spread, Spread]:
        """Trained and constructed weights."""
        trained, solved = (known(points, quantity, series, task=task) for series in self.tasks[task])
        return trained, solved

    def _answer(self, points: Sequence[Point]) -> str:
        """What training reaches of a construction; the exposures where no construction was measured."""
        try:
            shares = of_each(lambda task: ratio(*self._beside(points, task, "stored_bits_per_param")), self.tasks)
            margins = of_each(lambda task: ratio(*self._beside(points, task, "sigma90")), shares)
        except NotMeasured:
            return _of_exposures(points)
        held = list_text([f"{percent_text(shares[task])} ({task})" for task in margins])
        return (
            f"Gradient descent stores {held} of what constructions store in as many parameters, and stands "
            f"{list_text([*map(significant_text, margins.values())])} times as much weight noise."
        )

    def _of_constructions(self, points: Sequence[Point], task: str) -> str:
        """A construction against training, bits and noise."""
        (trained, solved), (stood, borne) = (self._beside(points, task, quantity) for quantity in _COMPARED)
        return (
            f"At equal parameters on {task} the {self.tasks[task][1]} holds {significant_text(solved.median)} bits "
            f"per parameter where training holds {significant_text(trained.median)}, and stands weight noise of "
            f"{significant_text(borne.median)} where training stands {significant_text(stood.median)}."
        )

    def _of_optimizers(self, points: Sequence[Point]) -> str:
        best = of_each(lambda kind: _best(points, kind, self.resolution), _KINDS)
        return f"Of the optimisers the best is {list_text(list(best.values()))}."

    def _table(self, points: Sequence[Point]) -> Table:
        def line(task: str, series: str) -> list[Cell]:
            facts, published, *others = (
                spread_at(points, quantity, series, task=task)
                for quantity in ("facts", "facts_published", *_COMPARED, "sigma90_published")
            )
            return [
                Cell(text=f"{task}, {series}"),
                median_cell(facts, count_text),
                Cell(text="–" if facts is None else count_text(facts.high)),
                median_cell(published, count_text),
                *map(median_cell, others),
            ]

        rows = [line(task, series) for task, pair in self.tasks.items() for series in pair]
        header = ["", "facts", "best seed", "published, best of 3", "bits per parameter", "sigma90"]
        caption = "Constructed and trained weights of equal parameters."
        return medians_table(points, caption, [*header, "sigma90 published, d = 32"], rows)


def _of_exposures(points: Sequence[Point]) -> str:
    def said(series: str) -> str:
        found = known_curve(points, "bits_per_param", series)
        published = curve(points, "bits_per_param", series, **PUBLISHED)
        ends = sorted({min(found), max(found)})
        bits = list_text([significant_text(found[x].median) for x in ends])
        beside = list_text([significant_text(published[x].median) for x in ends if x in published] or [""])
        return f"{series} holds {bits}{f' (published {beside})' if beside else ''}"

    told = list_text(list(of_each(said, _KINDS).values()))
    ends = list_text([f"{x:,.0f}" for x in ends_of(curve(points, "bits_per_param", kind) for kind in _KINDS)])
    return f"After {ends} exposures {told}, in bits per parameter."


def _best(points: Sequence[Point], kind: str, resolution: float) -> str:
    quantity = "optimiser_bits_per_param"
    found = of_each(lambda name: known(points, quantity, name, kind=kind), series_of(points, quantity, kind=kind))
    first, *others = sorted(found, key=lambda series: -found[series].median)
    if not others:
        raise NotMeasured(f"a second optimiser for {kind}")
    second = others[0]
    # What was found may be this much less than what is stored.
    apart = found[first].low > found[second].high * (1 + resolution)
    by = "search" if found[first].num_seeds == 1 else "seeds and search"
    told = "" if apart else f", closer than {by} can tell"
    return (
        f"{first} for {kind} ({significant_text(found[first].median)}, {second} "
        f"{significant_text(found[second].median)}{told})"
    )
