"""Panel: how far gradient descent stays below what the same parameters can hold, and what the difference costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, series_of, spread_at
from retromem.points import Point
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell, Table

TRAINED_PAIRS, SOLVED_PAIRS = "token pairs, trained ReLU", "token pairs, two-sided construction"
TRAINED_KEYS, SOLVED_KEYS = "random keys, trained SwiGLU", "random keys, values-on-a-line store"
_PAIRS = ((TRAINED_PAIRS, SOLVED_PAIRS), (TRAINED_KEYS, SOLVED_KEYS))
_COMPARED = ("stored_bits_per_param", "sigma90")
_KINDS = ("ReLU", "SwiGLU")
PUBLISHED_EXPOSURES = (30, 100, 300, 1000, 3000)


@dataclass(frozen=True, kw_only=True)
class OptimisationConfig(PanelConfig):
    """Constructions against training at equal parameters, exposures, and optimisers; d = 16."""

    panel: Literal["optimisation"] = "optimisation"
    exposures: tuple[int, ...] = (30, 100, 300, 1000, 3000)
    """full-batch steps of a training; the optimisers get the most of them"""
    width: int = 32
    """hidden units of the ReLU FFN; the SwiGLU FFN has its parameters at most"""
    resolution: float = 0.05
    """of every search, as a share of the facts found"""
    constructions: bool = True
    """compare them with training too, on token pairs and on random keys"""
    seeds: tuple[int, ...] = (0, 1, 2)

    seconds_expected: ClassVar[float] = 135.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not {*self.exposures} <= {*PUBLISHED_EXPOSURES}:
            raise ValueError(f"exposures must be among the published ones, {PUBLISHED_EXPOSURES}, not {self.exposures}")

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.optimisation_gap_points import optimisation_points

        return optimisation_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        most = max(self.exposures)
        return PanelPage(
            title="Optimisation: what gradient descent leaves unused",
            answer=_answer(points),
            finding=f"{_of_constructions(points)}{_of_exposures(points)}, and "
            f"{_of_optimizers(points, self.resolution)}.",
            explained=[
                "Constructions: the two-token task (32 x 32 pairs, 16 labels, ReLU with 1,280 parameters, every fact "
                "right) by 5,000 full-batch steps of Adam and by the two-sided construction, whose facts and labels "
                "are the published ones; and random keys in 16 dimensions with 16 values (SwiGLU with biases, about "
                "1,000 parameters, 99 % right) by training and by placing the values on a line, which is repeated "
                "linear solves. sigma90 is the weight noise, relative to each matrix's RMS, at which accuracy falls "
                "below 90 %; trained and constructed weights hold the same facts there, 90 % of what the trained "
                "ones can.",
                "Exposures: the most random-key facts that are 99 % right after so many full-batch steps (ReLU with "
                f"{32 * self.width:,} parameters, SwiGLU with no more), at the better of two learning rates: .03 and "
                ".1 up to 300 steps, .01 and .03 above, as in the published sweep, which had one seed and a "
                f"resolution of 7 %; here it is {100 * self.resolution:g} %.",
                f"Optimisers: the same search after {most:,} steps with a cosine schedule, each optimiser at the "
                "better of two rates for each number of facts: adam and adamw (decay .01) .01 and .03, sgd (momentum "
                ".9) 1 and 3, muon .1 and .2 (whose steps take about three times as long). A gap between two is one "
                "between these settings.",
                "Published: the best of 3 seeds on token pairs, one seed for exposures. A "
                "construction that stores more is not a better memory: look at its sigma90.",
            ],
            charts=[
                Chart(
                    title="Exposures",
                    quantities=["bits_per_param"],
                    x_label="full-batch steps",
                    y_label="bits a parameter",
                    x_scale="log",
                ),
                Chart(
                    title=f"Optimisers, {most:,} steps",
                    quantities=[f"{kind.lower()}_bits_per_param" for kind in _KINDS],
                    y_label="bits a parameter",
                    names={f"{kind.lower()}_bits_per_param": f"optimisers, {kind}" for kind in _KINDS},
                ),
            ],
            tables=[_table(points)] if series_of(points, "facts") else [],
        )


def _answer(points: Sequence[Point]) -> str:
    """What training reaches of a construction; the exposures where no construction was measured."""
    shares, margins = [], []
    for trained, solved in _PAIRS:
        bits, noise = ([spread_at(points, what, one) for one in (solved, trained)] for what in _COMPARED)
        if bits[0] and bits[1] and noise[0] and noise[1]:
            shares.append(bits[1].median / bits[0].median)
            margins.append(noise[1].median / noise[0].median)
    if not shares:
        return f"{_of_exposures(points)}."
    held = " and ".join(percent_text(share) for share in shares)
    return (
        f"Gradient descent stores {held} of what constructions store in as many parameters, and stands at least "
        f"{significant_text(min(margins))} times as much weight noise."
    )


def _of_constructions(points: Sequence[Point]) -> str:
    """Constructions against training, bits and noise; nothing where they were not measured."""
    parts = []
    for trained, solved in _PAIRS:
        bits, noise = ([spread_at(points, what, one) for one in (solved, trained)] for what in _COMPARED)
        if bits[0] is None or bits[1] is None or noise[0] is None or noise[1] is None:
            return ""
        task, name = solved.split(", ")
        parts.append(
            f"on {task} the {name} holds {significant_text(bits[0].median)} bits a parameter where training holds "
            f"{significant_text(bits[1].median)}, and stands weight noise of {significant_text(noise[0].median)} where "
            f"training stands {significant_text(noise[1].median)}"
        )
    return f"At equal parameters, {'; '.join(parts)}. "


def _table(points: Sequence[Point]) -> Table:
    rows = []
    for series in (name for pair in _PAIRS for name in pair):
        facts, published = (spread_at(points, quantity, series) for quantity in ("facts", "facts_published"))
        rows.append(
            [
                Cell(text=series),
                Cell(text="–" if facts is None else count_text(facts.median)),
                Cell(text="–" if facts is None else count_text(facts.high)),
                Cell(text="–" if published is None else count_text(published.median)),
                *(_cell(spread_at(points, quantity, series)) for quantity in (*_COMPARED, "sigma90_published")),
            ]
        )
    return Table(
        caption="Constructed and trained weights of equal parameters; median over seeds where nothing else is said",
        header=[
            "",
            "facts",
            "best seed",
            "published, best of 3",
            "bits a parameter",
            "sigma90",
            "sigma90 published, d = 32",
        ],
        blocks=[("", rows)],
    )


def _cell(spread: Spread | None) -> Cell:
    return Cell(text="–" if spread is None else significant_text(spread.median))


def _of_exposures(points: Sequence[Point]) -> str:
    parts = []
    for series in _KINDS:
        found = curve(points, "bits_per_param", series)
        fewest, most = min(found), max(found)
        parts.append(
            f"{series} goes from {significant_text(found[fewest].median)} to {significant_text(found[most].median)}"
            f"{_published(points, series, fewest, most)}"
        )
    return f"From {fewest:,.0f} to {most:,.0f} exposures {list_text(parts)}"


def _published(points: Sequence[Point], series: str, fewest: float, most: float) -> str:
    of_few, of_most = (spread_at(points, "bits_per_param", f"{series}, published", x) for x in (fewest, most))
    if of_few is None or of_most is None:
        return ""
    return f" (published {significant_text(of_few.median)} and {significant_text(of_most.median)})"


def _of_optimizers(points: Sequence[Point], resolution: float) -> str:
    return f"the best optimiser is {list_text([_best(points, kind, resolution) for kind in _KINDS])}"


def _best(points: Sequence[Point], kind: str, resolution: float) -> str:
    quantity = f"{kind.lower()}_bits_per_param"
    spreads = {series: spread_at(points, quantity, series) for series in series_of(points, quantity)}
    found = {series: spread for series, spread in spreads.items() if spread is not None}
    first, second = sorted(found, key=lambda series: -found[series].median)[:2]
    # What was found may be this much less than what is stored.
    apart = found[first].low > found[second].high * (1 + resolution)
    told = "" if apart else ", closer than seeds and search can tell"
    return (
        f"{first} for {kind} ({significant_text(found[first].median)}, {second} "
        f"{significant_text(found[second].median)}{told})"
    )
