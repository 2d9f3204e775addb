"""Panel: what is known in other words and near the keys that were written, and what that costs in facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from retromem.knowledge.biographies import NUM_WRITTEN, Attribute, BiographiesConfig
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import ends_of, known, known_curve, lines, of_each, ratio, sentences
from retromem.report.numerals import list_text, percent_text, range_text, significant_text
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

    seconds_expected: ClassVar[float] = 47.0
    version: ClassVar[int] = 2
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"steps", "seeds", "written_noises", "query_noises"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.wordings) > NUM_WRITTEN:
            raise ValueError(f"wordings must be 1 to {NUM_WRITTEN}, which there are, not {list(self.wordings)}")
        BiographiesConfig(num_people=self.num_people, attributes=self.attributes)  # says what does not fit

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        """The same people and wordings for every seed, which deals the values anew."""
        people = partial(BiographiesConfig, num_people=self.num_people, attributes=self.attributes)
        return [build_knowledge(people(num_written=written)).twin(seed=seed) for written in self.wordings]

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.generalisation_gap_points import generalisation_points

        return generalisation_points(self, seed, [encoded(knowledge) for knowledge in self.text_sets(seed)])

    def page(self, points: Sequence[Point]) -> PanelPage:
        facts = self.num_people * len(self.attributes)
        return PanelPage(
            title="Generalisation: other words, nearby keys",
            answer=sentences(points, _answer),
            finding=sentences(points, _of_wordings, _of_noise, _of_capacity),
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
                    x_label="key noise",
                    y_label="right answers",
                    percent=True,
                ),
                Chart(
                    title="Capacity",
                    quantities=["capacity_bits_per_param"],
                    x_label="noise in training",
                    y_label="bits per parameter",
                ),
            ],
        )


def _kinds(points: Sequence[Point]) -> dict[str, dict[float, Spread]]:
    """Right answers of every FFN in held-out words, by the wordings written."""
    quantity = "accuracy_heldout"
    kinds = [series for series in series_of(points, quantity) if series != INDEX]
    return of_each(lambda kind: known_curve(points, quantity, kind), kinds)


def _answer(points: Sequence[Point]) -> str:
    kinds = _kinds(points)
    ends = ends_of(kinds.values())

    def said(written: float) -> str:
        right = [of_kind[written].median for of_kind in kinds.values() if written in of_kind]
        return f"{range_text(right, percent_text)} after {_wordings_text(written)}"

    index = spread_at(points, "accuracy_heldout", INDEX, ends[0])
    beside = "" if index is None else f"; the index {percent_text(index.median)}"
    by_size = ", by size" if len(kinds) > 1 else ""
    return f"In words that were never written FFNs answer {list_text([said(x) for x in ends])}{by_size}{beside}."


def _of_wordings(points: Sequence[Point]) -> str:
    ends = ends_of(_kinds(points).values())
    told = of_each(lambda series: _of_series(points, series, ends), [*_kinds(points), INDEX])
    written = " and in ".join(map(_wordings_text, ends))
    return f"Asked in held-out words, facts written in {written} are right: {'; '.join(told.values())}."


def _of_series(points: Sequence[Point], series: str, ends: Sequence[float]) -> str:
    def shares(how: str) -> dict[float, Spread]:
        return of_each(lambda x: known(points, f"accuracy_{how}", series, x), ends)

    def text(spreads: Mapping[float, Spread]) -> str:
        return list_text([percent_text(spread.median) for spread in spreads.values()])

    heldout = shares("heldout")
    if series == INDEX:
        return f"{series} {text(heldout)}"
    beside = [_compared(heldout[ends[-1]], heldout[ends[0]])] if len(heldout) > 1 else []
    beside += lines(lambda how: f"as written {text(shares(how))}", ["identical"])
    return f"{series} {text(heldout)}" + (f" ({'; '.join(beside)})" if beside else "")


def _wordings_text(number: float) -> str:
    return "one wording" if number == 1 else f"{number:g} wordings"


def _compared(after: Spread, before: Spread) -> str:
    """By how much it rose or fell, if the seeds agree."""
    change = 100 * (after.median - before.median)
    if after.low > before.high:
        return f"{significant_text(change)} points more"
    if after.high < before.low:
        return f"{significant_text(-change)} points fewer"
    return "no difference" if after.num_seeds == 1 else "the spread over seeds covers the difference"


def _of_noise(points: Sequence[Point]) -> str:
    series = [name for name in series_of(points, "accuracy_noisy") if name != INDEX]
    found = of_each(lambda name: known_curve(points, "accuracy_noisy", name), series)
    loudest = max(x for by_noise in found.values() for x in by_noise)
    ends = list(dict.fromkeys([series[0], series[-1]]))
    right = of_each(lambda name: percent_text(known(points, "accuracy_noisy", name, loudest).median), ends)
    said = ", those ".join(
        f"{name} are right {share}" if name == ends[0] else f"{name} {share}" for name, share in right.items()
    )
    index = spread_at(points, "accuracy_noisy", INDEX, loudest)
    beside = "" if index is None else f" (index {percent_text(index.median)})"
    return f"Under key noise {loudest:g}, keys {said}{beside}."


def _of_capacity(points: Sequence[Point]) -> str:
    capacity = known_curve(points, "capacity_bits_per_param", NOISY_FFN)
    least, most = min(capacity), max(capacity)
    if least == most:
        return f"Capacity is {significant_text(capacity[least].median)} bits per parameter."
    left = f" ({percent_text(ratio(capacity[most], capacity[least]))} of it)" if capacity[least].median else ""
    return (
        f"Capacity is {significant_text(capacity[least].median)} bits per parameter with training noise {least:g} and "
        f"{significant_text(capacity[most].median)}{left} with {most:g}."
    )
