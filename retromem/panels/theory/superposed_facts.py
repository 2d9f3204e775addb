"""Panel: are facts in the hidden layer of an FFN nearly orthogonal to each other?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig, check_facts
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import NotMeasured, grid, known, known_curve, median_cell, of_each, sentences, tables
from retromem.report.numerals import count_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell, Table

TRAINED, UNTRAINED, OUTPUTS = "hidden, trained", "hidden, before training", "outputs, trained"
RANDOM = "random directions"
OWN_READ_OUT, NEAR_ORTHOGONAL, LEAST_SQUARES = "w_out as trained", "outer products", "least squares"
RANDOM_READ = "outer products, random"
ANSWERED = 0.99


@dataclass(frozen=True, kw_only=True)
class SuperposedFactsConfig(PanelConfig):
    """Hidden activations of the facts of a ReLU FFN, read as directions in superposition."""

    panel: Literal["facts_in_superposition"] = "facts_in_superposition"
    dim: int = 16
    """of keys and of value codes"""
    hidden: int = 32
    """units"""
    loads: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """facts, as shares of the published guide line for such an FFN"""
    steps: int = 3000
    """of each training"""

    seconds_expected: ClassVar[float] = 5.0
    version: ClassVar[int] = 2
    """of one seed"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.dim, self.hidden) < 2:
            raise ValueError(
                f"dim and hidden must be 2 or more, as one has no angles, not {self.dim} and {self.hidden}"
            )
        from retromem.theory.memory_formulas import relu_memory  # scipy takes its time

        fewest = round(min(self.loads) * relu_memory(self.dim, self.hidden).num_facts)
        check_facts(fewest, 3, "raise loads, dim or hidden")

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.superposed_facts_points import superposed_facts_points

        return superposed_facts_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        over_facts = partial(Chart, x_label="facts")
        return PanelPage(
            title="Superposition: facts in a trained FFN",
            answer=sentences(points, self._answer),
            finding=sentences(points, self._stored, _of_cosines, _of_answers, _whether_enough),
            explained=[
                f"A ReLU FFN d = {self.dim}, {self.hidden} hidden units, every fact with a random unit key and a "
                f"random value code of its own, {count_text(self.steps)} full-batch steps of Adam; facts from "
                f"{percent_text(min(self.loads))} to {percent_text(max(self.loads))} of the published guide line "
                "(d x units = .35 N ln N, Nichani et al. 2025). A fact's direction is its hidden activation less the "
                "mean over facts: activations of ReLU are positive, so without that all of them have a direction in "
                "common.",
                "Interference is the |cosine| of two facts. N random directions of as many dimensions have the "
                "mean and the expected maximum drawn here; no N directions can have a smaller maximum than Welch's "
                "bound. A fact's dimensionality is |h|^2 over the sum of squares that all facts put on its direction: "
                "1 alone, 1/2 with an antipode, and not more than units / N in the mean for directions spread evenly.",
                "If nearly orthogonal directions were what keeps facts apart, the sum of outer products of each fact's "
                "direction with its code would read them: it sees no fact but its own. Least squares on the same "
                "activations knows all of them. The packing columns say how many directions of the largest |cosine| "
                "found there surely are (Gilbert and Varshamov) and can be at most (caps that do not overlap). "
                "Johnson and Lindenstrauss say how many dimensions are enough for a random projection to keep as many "
                "facts apart to within that |cosine| (4 ln N / (eps^2 / 2 - eps^3 / 3), Dasgupta and Gupta 2003).",
                "Pairwise cosines do not say what an argmax over the codes can still tell apart; accuracy does.",
            ],
            charts=[
                over_facts(
                    title="Largest overlap of two facts", quantities=["largest_cosine"], y_label="largest |cosine|"
                ),
                over_facts(
                    title="Share of a dimension for itself",
                    quantities=["fact_dimensionality"],
                    y_label="dimensionality of the median fact",
                    y_scale="log",
                ),
                over_facts(
                    title="Facts read from the layer", quantities=["accuracy"], y_label="facts answered", percent=True
                ),
            ],
            tables=tables(points, _table),
        )

    def _answer(self, points: Sequence[Point]) -> str:
        at = _most_stored(points)
        read = spread_at(points, "accuracy", NEAR_ORTHOGONAL, at)
        said = f"{count_text(at)} facts lie in {self.hidden} hidden dimensions; "
        if read:
            said += f"read as nearly orthogonal directions they give {percent_text(read.median)} of the answers, "
        return f"{said}the FFN gives {percent_text(known(points, 'accuracy', OWN_READ_OUT, at).median)}."

    def _stored(self, points: Sequence[Point]) -> str:
        at = _most_stored(points)
        right = known(points, "accuracy", OWN_READ_OUT, at).median
        if right < ANSWERED:
            return f"No load was stored at accuracy {ANSWERED}: at {count_text(at)} facts it was {percent_text(right)}."
        return (
            f"{count_text(at)} facts are stored in {self.hidden} hidden dimensions, "
            f"{significant_text(self.hidden / at)} dimensions a fact."
        )


def _most_stored(points: Sequence[Point]) -> float:
    """The most facts that the FFN answers; the fewest tried where it answers none of the loads."""
    own = known_curve(points, "accuracy", OWN_READ_OUT)
    return max((num_facts for num_facts, right in own.items() if right.median >= ANSWERED), default=min(own))


def _of_cosines(points: Sequence[Point]) -> str:
    at = _most_stored(points)

    def cosine(series: str, size: str) -> str:
        return significant_text(known(points, f"{size}_cosine", series, at).median)

    enough = known(points, "enough_dimensions", TRAINED, at).median
    return (
        f"Two of {count_text(at)} facts have a |cosine| of {cosine(TRAINED, 'mean')} in the mean and "
        f"{cosine(TRAINED, 'largest')} at most, where random directions have {cosine(RANDOM, 'mean')} and "
        f"{cosine(RANDOM, 'largest')} and no arrangement less than {cosine('Welch bound', 'largest')}; for a random "
        f"projection that overlaps no more {count_text(enough)} dimensions are enough (Johnson and Lindenstrauss)."
    )


def _read_as_orthogonal(points: Sequence[Point]) -> dict[float, Spread]:
    """By the number of facts, where the FFN answers them."""
    own, read = known_curve(points, "accuracy", OWN_READ_OUT), known_curve(points, "accuracy", NEAR_ORTHOGONAL)
    stored = [num_facts for num_facts in read if num_facts in own and own[num_facts].median >= ANSWERED]
    return of_each(lambda num_facts: read[num_facts], stored)


def _of_answers(points: Sequence[Point]) -> str:
    read, at = _read_as_orthogonal(points), _most_stored(points)
    orthogonal = [num_facts for num_facts, right in read.items() if right.median >= ANSWERED]
    how_far = f"answers them up to {count_text(max(orthogonal))} facts" if orthogonal else "does so at no load tried"
    beside = f"{percent_text(read[at].median)} at {count_text(at)}" if at in read else ""
    random = spread_at(points, "accuracy", RANDOM_READ, at)
    if random and beside:
        beside += f"; of random directions {percent_text(random.median)}"
    right = percent_text(known(points, "accuracy", OWN_READ_OUT, at).median)
    return (
        f"The FFN answers {right}; near-orthogonality alone, outer products of the same activations, {how_far}"
        f"{f' ({beside})' if beside else ''}."
    )


def _whether_enough(points: Sequence[Point]) -> str:
    read, at = _read_as_orthogonal(points), _most_stored(points)
    if at not in read:
        raise NotMeasured(f"accuracy of {NEAR_ORTHOGONAL} at {at:g}")
    if read[at].median >= ANSWERED:
        return f"{count_text(at)} facts are almost orthogonal in the sense that matters."
    fitting = known(points, "log2_directions_surely", TRAINED, at).median
    though = f", though 2^{fitting:.0f} directions would fit at that largest overlap" if 2**fitting >= at else ""
    return f"With {count_text(at)} facts more is stored than almost orthogonal directions would keep apart{though}."


def _table(points: Sequence[Point]) -> Table:
    def power(log2: float) -> str:
        return f"2^{log2:.1f}"

    def cell(num_facts: float, column: tuple[str, str, Callable[[float], str]]) -> Cell:
        quantity, series, text = column
        return median_cell(spread_at(points, quantity, series, num_facts), text)

    columns = {
        "dimensions a fact": ("dimensions_per_fact", "hidden dimensions / facts", significant_text),
        **{series: ("mean_cosine", series, significant_text) for series in (TRAINED, UNTRAINED, RANDOM, OUTPUTS)},
        "dimensions enough for that largest overlap": ("enough_dimensions", TRAINED, count_text),
        "directions, surely": ("log2_directions_surely", TRAINED, power),
        "directions, at most": ("log2_directions_at_most", TRAINED, power),
    }
    rows = {count_text(x): x for x in sorted({point.x for point in points if point.x is not None})}
    caption = "Mean |cosine| of two facts, and how many directions fit at the largest |cosine| of the trained ones."
    return grid(points, caption, "facts", rows, columns, cell)
