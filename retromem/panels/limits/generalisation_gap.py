"""Panel: what is known in other words and near the keys that were written, and what that costs in facts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from retromem.knowledge.biographies import NUM_WRITTEN, Attribute, BiographiesConfig
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, series_of, spread_at
from retromem.points import Point
from retromem.report.numerals import list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread

INDEX = "index"
NOISY_FFN = "SwiGLU FFN"


@dataclass(frozen=True, kw_only=True)
class GeneralisationConfig(PanelConfig):
    """Biographies written in one to eight wordings, and random keys written with noise on them."""

    panel: Literal["generalisation"] = "generalisation"
    wordings: tuple[int, ...] = (1, 2, 4, 8)
    """W, in which each fact is written"""
    num_people: int = 200
    """whose attributes are the facts"""
    """invented, each with one fact an attribute"""
    attributes: tuple[Attribute, ...] = ("university", "employer")
    """of each person; every wording of each costs 200 texts more to encode"""
    widths: tuple[int, ...] = (16, 64)
    """of the SwiGLU FFNs that learn biographies, each as that of a dense one of its parameters"""
    written_noises: tuple[float, ...] = (0.0, 0.1, 0.3)
    """lengths of the Gaussian noise on the keys in training, relative to a key's own"""
    query_noises: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3)
    """the same, on the queries"""
    num_noisy_facts: int = 160
    """random keys that are asked with noise"""
    resolution: float = 0.05
    """of the search for the capacity, as a share of the facts found"""
    steps: int = 3000
    """of a training on random keys; half as many on biographies"""
    seeds: tuple[int, ...] = (0, 1, 2)

    seconds_expected: ClassVar[float] = 47.0
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"steps", "seeds", "written_noises", "query_noises"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.wordings) > NUM_WRITTEN:
            raise ValueError(f"wordings must be 1 to {NUM_WRITTEN}, which there are, not {list(self.wordings)}")
        BiographiesConfig(num_people=self.num_people, attributes=self.attributes)  # says what does not fit

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        """The same people and wordings for every seed, which deals the values anew."""
        return [self._biographies(num_written).twin(seed=seed) for num_written in self.wordings]

    def _biographies(self, num_written: int) -> KnowledgeSet:
        return build_knowledge(
            BiographiesConfig(num_people=self.num_people, attributes=self.attributes, num_written=num_written)
        )

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.generalisation_gap_points import generalisation_points

        return generalisation_points(self, seed, [encoded(knowledge) for knowledge in self.text_sets(seed)])

    def page(self, points: Sequence[Point]) -> PanelPage:
        facts = self.num_people * len(self.attributes)
        return PanelPage(
            title="Generalisation: other words, nearby keys",
            answer=_answer(points),
            finding=f"{_of_wordings(points)} {_of_noise(points)}",
            explained=[
                f"Wordings: {facts:,} facts of invented people ({', '.join(self.attributes)}), each written as one to "
                f"{max(self.wordings)} questions that a text encoder turned into keys, and learnt full batch by SwiGLU "
                f"FFNs of two sizes in {self.steps // 2:,} steps. Asked is the first question as "
                "written, a wording that others were written in but not this fact, and wordings that were written for "
                "nobody.",
                f"Noise: random keys in 16 dimensions, 16 values, SwiGLU of about 1,000 parameters. In each of "
                f"{self.steps:,} full-batch steps every key is moved anew by Gaussian noise of a share of its length. "
                f"{self.num_noisy_facts:,} facts are asked with noise; capacity is the most facts that are 99 % right "
                "when asked without.",
                "The index holds the questions, or keys, themselves and answers by the nearest one: what the keys "
                "alone allow. Where it answers what the FFN does not, the loss is not the encoder's.",
                "This is one encoder, whose keys of two wordings lie near each other; and noise that is the same in "
                "all directions, which rewording is not.",
            ],
            charts=[
                Chart(
                    title="Biographies",
                    quantities=["accuracy_heldout", "accuracy_seen"],
                    x_label="wordings written",
                    y_label="right answers",
                    x_scale="log",
                    names={"accuracy_heldout": "held-out wordings", "accuracy_seen": "wordings of other facts"},
                    percent=True,
                ),
                Chart(
                    title="Random keys, noisy queries",
                    quantities=["accuracy_noisy"],
                    x_label="query noise",
                    y_label="right answers",
                    percent=True,
                ),
                Chart(
                    title="Capacity",
                    quantities=["capacity_bits_per_param"],
                    x_label="noise in training",
                    y_label="bits a parameter",
                ),
            ],
        )


def _answer(points: Sequence[Point]) -> str:
    kinds = [series for series in series_of(points, "accuracy_heldout") if series != INDEX]
    index = curve(points, "accuracy_heldout", INDEX)
    said = []
    for written in (min(index), max(index)):
        right = [curve(points, "accuracy_heldout", kind)[written].median for kind in kinds]
        shares = dict.fromkeys([percent_text(min(right)), percent_text(max(right))])
        said.append(f"{' to '.join(shares)} after {_wordings_text(written)}")
    return (
        f"In words that were never written FFNs answer {list_text(said)}, by size; the index "
        f"{percent_text(index[min(index)].median)}."
    )


def _of_wordings(points: Sequence[Point]) -> str:
    kinds = [series for series in series_of(points, "accuracy_heldout") if series != INDEX]
    index = curve(points, "accuracy_heldout", INDEX)
    fewest, most = min(index), max(index)
    return (
        f"Asked in held-out words, facts written in {_wordings_text(fewest)} and in {_wordings_text(most)} are right: "
        f"{'; '.join(_of_kind(points, kind, fewest, most) for kind in kinds)}; index "
        f"{percent_text(index[fewest].median)} and {percent_text(index[most].median)}."
    )


def _of_kind(points: Sequence[Point], kind: str, fewest: float, most: float) -> str:
    heldout, written = curve(points, "accuracy_heldout", kind), curve(points, "accuracy_identical", kind)
    return (
        f"{kind} {percent_text(heldout[fewest].median)} and {percent_text(heldout[most].median)} "
        f"({_compared(heldout[most], heldout[fewest])}; as written {percent_text(written[fewest].median)} and "
        f"{percent_text(written[most].median)})"
    )


def _wordings_text(number: float) -> str:
    return "one wording" if number == 1 else f"{number:g} wordings"


def _compared(after: Spread, before: Spread) -> str:
    """By how much it rose or fell, if the seeds agree."""
    change = 100 * (after.median - before.median)
    if after.low > before.high:
        return f"{significant_text(change)} points more"
    if after.high < before.low:
        return f"{significant_text(-change)} points fewer"
    return "the spread over seeds covers the difference"


def _of_noise(points: Sequence[Point]) -> str:
    capacity = curve(points, "capacity_bits_per_param", NOISY_FFN)
    least, most = min(capacity), max(capacity)
    series = [name for name in series_of(points, "accuracy_noisy") if name != INDEX]
    without, trained = (curve(points, "accuracy_noisy", name) for name in (series[0], series[-1]))
    loudest = max(without)
    index = spread_at(points, "accuracy_noisy", INDEX, loudest)
    beside = "" if index is None else f" (index {percent_text(index.median)})"
    left = capacity[most].median / capacity[least].median if capacity[least].median else 0.0
    return (
        f"Under query noise {loudest:g}, keys {series[0]} are right {percent_text(without[loudest].median)}, those "
        f"{series[-1]} {percent_text(trained[loudest].median)}{beside}; capacity goes from "
        f"{significant_text(capacity[least].median)} to {significant_text(capacity[most].median)} bits a parameter, "
        f"{percent_text(left)} of it."
    )
