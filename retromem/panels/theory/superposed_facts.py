"""Panel: are facts in the hidden layer of an FFN nearly orthogonal to each other?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig, check_facts
from retromem.panels.point_spread import curve, spread_at
from retromem.points import Point
from retromem.report.numerals import count_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
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
    seeds: tuple[int, ...] = (0, 1, 2)
    """of keys, codes and weights"""

    seconds_expected: ClassVar[float] = 5.0
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
        return PanelPage(
            title="Superposition: facts in a trained FFN",
            answer=self._answer(points),
            finding=self._finding(points),
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
                Chart(
                    title="Largest overlap of two facts",
                    quantities=["largest_cosine"],
                    x_label="facts",
                    y_label="largest |cosine|",
                ),
                Chart(
                    title="Share of a dimension for itself",
                    quantities=["fact_dimensionality"],
                    x_label="facts",
                    y_label="dimensionality of the median fact",
                    y_scale="log",
                ),
                Chart(
                    title="Facts read from the layer",
                    quantities=["accuracy"],
                    x_label="facts",
                    y_label="facts answered",
                    percent=True,
                ),
            ],
            tables=[_table(points)],
        )

    def _answer(self, points: Sequence[Point]) -> str:
        own, read = curve(points, "accuracy", OWN_READ_OUT), curve(points, "accuracy", NEAR_ORTHOGONAL)
        at = max((num_facts for num_facts, right in own.items() if right.median >= ANSWERED), default=min(own))
        return (
            f"{count_text(at)} facts lie in {self.hidden} hidden dimensions; read as nearly orthogonal directions they "
            f"give {percent_text(read[at].median)} of the answers, the FFN gives {percent_text(own[at].median)}."
        )

    def _finding(self, points: Sequence[Point]) -> str:
        own, read = curve(points, "accuracy", OWN_READ_OUT), curve(points, "accuracy", NEAR_ORTHOGONAL)
        stored = [num_facts for num_facts, right in own.items() if right.median >= ANSWERED]
        if not stored:
            return (
                f"No load was stored at accuracy {ANSWERED}: at {count_text(min(own))} facts it was "
                f"{percent_text(own[min(own)].median)}."
            )
        at = max(stored)
        largest, mean = _median(points, "largest_cosine", TRAINED, at), _median(points, "mean_cosine", TRAINED, at)
        orthogonal = [num_facts for num_facts in stored if read[num_facts].median >= ANSWERED]
        verdict = (
            f"near-orthogonality alone, outer products of the same activations, answers them up to "
            f"{count_text(max(orthogonal))} facts"
            if orthogonal
            else "near-orthogonality alone, outer products of the same activations, does so at no load tried"
        )
        return (
            f"{count_text(at)} facts are stored in {self.hidden} hidden dimensions, "
            f"{significant_text(self.hidden / at)} dimensions a fact. Two of them have a |cosine| of "
            f"{significant_text(mean)} in the mean and {significant_text(largest)} at most, where random directions "
            f"have {significant_text(_median(points, 'mean_cosine', RANDOM, at))} and "
            f"{significant_text(_median(points, 'largest_cosine', RANDOM, at))} and no arrangement less than "
            f"{significant_text(_median(points, 'largest_cosine', 'Welch bound', at))}; for a random projection that "
            f"overlaps no more {count_text(_median(points, 'enough_dimensions', TRAINED, at))} dimensions are enough "
            "(Johnson and Lindenstrauss). The FFN answers "
            f"{percent_text(own[at].median)}; {verdict} ({percent_text(read[at].median)} at {count_text(at)}; of "
            f"random directions {percent_text(_median(points, 'accuracy', RANDOM_READ, at))}): "
            + (
                "they are almost orthogonal in the sense that matters."
                if at in orthogonal
                else "more is stored than almost orthogonal directions would keep apart"
                f", though 2^{_median(points, 'log2_directions_surely', TRAINED, at):.0f} directions would fit at that "
                "largest overlap."
            )
        )


def _median(points: Sequence[Point], quantity: str, series: str, x: float) -> float:
    spread = spread_at(points, quantity, series, x)
    assert spread is not None, f"{series} has no {quantity} at {x:g}"
    return spread.median


def _table(points: Sequence[Point]) -> Table:
    lines = []
    for num_facts in curve(points, "accuracy", OWN_READ_OUT):
        numbers = [
            _median(points, "dimensions_per_fact", "hidden dimensions / facts", num_facts),
            _median(points, "mean_cosine", TRAINED, num_facts),
            _median(points, "mean_cosine", UNTRAINED, num_facts),
            _median(points, "mean_cosine", RANDOM, num_facts),
            _median(points, "mean_cosine", OUTPUTS, num_facts),
        ]
        packing = [_median(points, f"log2_directions_{side}", TRAINED, num_facts) for side in ("surely", "at_most")]
        enough = count_text(_median(points, "enough_dimensions", TRAINED, num_facts))
        texts = [
            count_text(num_facts),
            *map(significant_text, numbers),
            enough,
            *(f"2^{power:.1f}" for power in packing),
        ]
        lines.append([Cell(text=text) for text in texts])
    return Table(
        caption="Mean |cosine| of two facts, and how many directions fit at the largest |cosine| of the trained ones. "
        "Medians over seeds.",
        header=[
            "facts",
            "dimensions a fact",
            TRAINED,
            UNTRAINED,
            RANDOM,
            OUTPUTS,
            "dimensions enough for that largest overlap",
            "directions, surely",
            "directions, at most",
        ],
        blocks=[("", lines)],
    )
