"""Panel: how many facts an FFN holds for the words they were written in, for other words, and for other names."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from retrieval.errors import UserError
from retromem.knowledge.biographies import NUM_WRITTEN, Attribute, BiographiesConfig
from retromem.knowledge.cities import CITY_WORDINGS
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import (
    against,
    ends_of,
    known,
    known_curve,
    medians_table,
    of_each,
    ratio,
    sentences,
    spread_cell,
    tables,
)
from retromem.report.numerals import count_text, list_text, percent_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell, Table

AS_WRITTEN = "as written"
ASKED = {"identical": AS_WRITTEN, "seen": "wordings of other facts", "heldout": "held-out wordings"}
"""phrasing -> series"""
REQUIRED = 0.95
"""share of the facts that must be right, however they are asked"""
FFN, INDEX = "FFN", "index"


@dataclass(frozen=True, kw_only=True)
class RewordedCapacityConfig(PanelConfig):
    """Capacity by what is asked, as a fact is written in more wordings; and cities asked by another name."""

    panel: Literal["reworded_capacity"] = "reworded_capacity"
    wordings: tuple[int, ...] = (1, 2, 4, 8)
    """W, in which each fact is written"""
    num_people: int = 300
    """invented, each with one fact an attribute"""
    attributes: tuple[Attribute, ...] = ("university", "employer")
    """of each person; every wording of each adds texts to encode: the people's, and 200 names to centre it"""
    width: int = 8
    """of the SwiGLU FFNs, as that of a dense one of their parameters"""
    city_wordings: tuple[int, ...] = (1, 3, 6)
    """W, in which each city's country is written"""
    num_cities: int = 300
    """that have another name too"""
    city_width: int = 32
    """of the SwiGLU FFN that learns them"""
    code_dim: int = 64
    """of the frozen codes of the values"""
    resolution: float = 0.06
    """of the searches for the capacity, relative"""
    steps: int = 1500
    """of each training"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of the dealing of the values to the subjects, and of weights"""

    seconds_expected: ClassVar[float] = 100.0
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, wordings, most in (
            ("wordings", self.wordings, NUM_WRITTEN - 1),  # one is left that is written for other facts alone
            ("city_wordings", self.city_wordings, len(CITY_WORDINGS["country"].written)),
        ):
            if max(wordings) > most:
                raise ValueError(f"{name} must be 1 to {most}, not {list(wordings)}")
        BiographiesConfig(num_people=self.num_people, attributes=self.attributes)  # says what does not fit
        if self.num_facts < 40:
            raise ValueError(f"num_people must give 40 facts or more, not {self.num_facts}")

    @property
    def num_facts(self) -> int:
        return self.num_people * len(self.attributes)

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        """The same people, cities and wordings for every seed, which deals the values anew."""
        people = partial(BiographiesConfig, num_people=self.num_people, attributes=self.attributes)
        cities = [build_knowledge(TextConfig(source="cities", num_written=written)) for written in self.city_wordings]
        sets = [build_knowledge(people(num_written=written)) for written in self.wordings]
        sets += [_with_other_names(knowledge, self.num_cities) for knowledge in cities]
        return [knowledge.twin(seed=seed) for knowledge in sets]

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.reworded_capacity_points import reworded_capacity_points

        return reworded_capacity_points(self, seed, [encoded(knowledge) for knowledge in self.text_sets(seed)])

    def page(self, points: Sequence[Point]) -> PanelPage:
        by_wordings = partial(Chart, x_label="wordings written")
        return PanelPage(
            title="Generalisation: facts held for other words",
            answer=sentences(points, _answer),
            finding=sentences(points, _of_wordings, self._of_index, _of_names),
            explained=[
                f"Facts of invented people ({', '.join(self.attributes)}; values permuted) are written as one to "
                f"{max(self.wordings)} questions each, which a text encoder turned into keys, and learnt by a SwiGLU "
                f"FFN in {self.steps:,} full-batch steps. The capacity is the largest number of facts that it answers "
                f"right in {percent_text(REQUIRED)} of cases: in the words that were written, in words that were not "
                "written for this fact (but for others), or for no fact. One FFN, one size: only what is asked of it "
                "differs.",
                "Each wording more is one more key that has to be stored, which leaves room for fewer facts. The "
                "reference is the index over the same keys: what it answers in held-out words is what the encoder "
                "allows, and what the FFN loses against it is the FFN's own.",
                f"Other names: {self.num_cities:,} cities and their countries, permuted, asked in a written wording "
                "with the city's other name (Roma for Rome). The encoder has to know that both are one city: here the "
                "index is the limit of the encoder, and chance that of guessing the commonest country.",
                "A search by bisection takes for granted that more facts are not answered better. Keys are centred "
                "per wording, which helps both sides.",
            ],
            charts=[
                by_wordings(
                    title="Facts held, by what is asked",
                    quantities=["facts"],
                    y_label="facts",
                    x_scale="log",
                    y_scale="log",
                    series=list(ASKED.values()),
                ),
                by_wordings(
                    title="Other names of cities",
                    quantities=["accuracy_alias"],
                    y_label="right answers",
                    percent=True,
                ),
            ],
            tables=tables(points, self._table),
        )

    def _of_index(self, points: Sequence[Point]) -> str:
        index = known_curve(points, "index_accuracy", ASKED["heldout"])
        right = percent_text(index[max(index)].median)
        return f"The index answers {right} of all {self.num_facts:,} in held-out wordings."

    def _table(self, points: Sequence[Point]) -> Table:
        def line(x: int) -> list[Cell]:
            held = {phrasing: spread_at(points, "facts", asked, float(x)) for phrasing, asked in ASKED.items()}
            heldout, written = held["heldout"], held["identical"]
            share = percent_text(ratio(heldout, written)) if heldout and written and written.median else "–"
            cells = [spread_cell(spread, count_text) for spread in held.values()]
            return [Cell(text=_wordings_text(float(x))), *cells, Cell(text=share)]

        caption = f"Facts of which one FFN answers {percent_text(REQUIRED)}."
        header = ["", *ASKED.values(), "held-out of as written"]
        return medians_table(points, caption, header, [line(x) for x in sorted(self.wordings)])


def _wordings_text(number: float) -> str:
    return "1 wording" if number == 1 else f"{number:g} wordings"


def _held(points: Sequence[Point]) -> dict[str, dict[float, Spread]]:
    """Facts by what is asked and by the wordings written."""
    return of_each(lambda asked: known_curve(points, "facts", asked), ASKED.values())


def _answer(points: Sequence[Point]) -> str:
    held = _held(points)
    called = {AS_WRITTEN: "in those words", ASKED["heldout"]: "in words never written"}

    def said(written: float) -> str:
        facts = of_each(lambda asked: known(points, "facts", asked, written).median, [a for a in called if a in held])
        told = [f"{count_text(number)} facts {called[asked]}" for asked, number in facts.items()]
        return f"with {_wordings_text(written)} written, {list_text(told)}"

    return f"One FFN holds, {'; '.join(of_each(said, ends_of(held.values())).values())}."


def _of_wordings(points: Sequence[Point]) -> str:
    held = _held(points)
    ends = ends_of(held.values())

    def said(asked: str) -> str:
        own = of_each(lambda x: known(points, "facts", asked, x), ends)
        facts = list_text([count_text(spread.median) for spread in own.values()])
        if len(own) == 1:
            return f"{asked} {facts}"
        how = {"less": "fewer"}.get(verdict := against(own[ends[-1]], own[ends[0]]), verdict)
        return f"{asked} {facts} ({how})"

    written = " and in ".join(map(_wordings_text, ends))
    told = list_text(list(of_each(said, held).values()))
    return f"Written in {written}, one FFN holds this many facts: {told}."


def _of_names(points: Sequence[Point]) -> str:
    def said(series: str) -> str:
        right = known_curve(points, "accuracy_alias", series)
        shares = [f"{percent_text(right[x].median)} with {x:g}" for x in ends_of([right])]
        return f"by the {series} in {list_text(shares)}"

    told = list(of_each(said, (FFN, INDEX)).values())
    chance = list(curve(points, "accuracy_alias", "chance").values())[:1]
    told += [f"by chance in {percent_text(spread.median)}" for spread in chance]
    return f"Under another name, by the wordings written, cities are answered {', '.join(told)}."


def _with_other_names(knowledge: KnowledgeSet, num_facts: int) -> KnowledgeSet:
    """The first facts of the set whose subject has another name. UserError where there are not so many."""
    assert knowledge.text is not None
    rows = [row for row in knowledge.rows_N.tolist() if knowledge.text.aliases[row]]
    if len(rows) < num_facts:
        raise UserError(
            f"reworded_capacity: num_cities must be {len(rows):,} or less, which have another name, not {num_facts:,}"
        )
    return replace(knowledge, rows_N=np.array(rows[:num_facts], dtype=np.int64))
