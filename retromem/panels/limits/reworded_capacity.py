"""Panel: how many facts an FFN holds for the words they were written in, for other words, and for other names."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from retrieval.errors import UserError
from retromem.knowledge.biographies import NUM_WRITTEN, Attribute, BiographiesConfig
from retromem.knowledge.cities import CITY_WORDINGS
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.spread_text import known, spread_cell
from retromem.points import Point
from retromem.report.numerals import count_text, list_text, percent_text
from retromem.report.panel_page import Chart, PanelPage
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
        people = [
            build_knowledge(
                BiographiesConfig(num_people=self.num_people, attributes=self.attributes, num_written=num_written)
            )
            for num_written in self.wordings
        ]
        cities = [
            _with_other_names(build_knowledge(TextConfig(source="cities", num_written=num_written)), self.num_cities)
            for num_written in self.city_wordings
        ]
        return [knowledge.twin(seed=seed) for knowledge in (*people, *cities)]

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.reworded_capacity_points import reworded_capacity_points

        return reworded_capacity_points(self, seed, [encoded(knowledge) for knowledge in self.text_sets(seed)])

    def page(self, points: Sequence[Point]) -> PanelPage:
        return PanelPage(
            title="Generalisation: facts held for other words",
            answer=self._answer(points),
            finding=f"{self._of_wordings(points)} {self._of_names(points)}",
            explained=[
                f"Facts of invented people ({', '.join(self.attributes)}; values permuted) are written as one to "
                f"{max(self.wordings)} questions each, which a text encoder turned into keys, and learnt by a SwiGLU "
                f"FFN in {self.steps:,} full-batch steps. The capacity is the largest number of facts that it answers "
                f"right in {percent_text(REQUIRED)} of cases: in the words that were written, in words that were not "
                "written for this fact (but for others), or for no fact. One FFN, one size: only what is asked of it "
                "differs.",
                "Each wording more is one more key that has to be stored, so the facts held as written fall. The "
                "reference is the index over the same keys: what it answers in held-out words is what the encoder "
                "allows, and what the FFN loses against it is the FFN's own.",
                f"Other names: {self.num_cities:,} cities and their countries, permuted, asked in a written wording "
                "with the city's other name (Roma for Rome). The encoder has to know that both are one city: here the "
                "index is the limit of the encoder, and chance that of guessing the commonest country.",
                "A search by bisection takes for granted that more facts are not answered better. Keys are centred "
                "per wording, which helps both sides.",
            ],
            charts=[
                Chart(
                    title="Facts held, by what is asked",
                    quantities=["facts"],
                    x_label="wordings written",
                    y_label="facts",
                    x_scale="log",
                    y_scale="log",
                    series=list(ASKED.values()),
                ),
                Chart(
                    title="Other names of cities",
                    quantities=["accuracy_alias"],
                    x_label="wordings written",
                    y_label="right answers",
                    percent=True,
                ),
            ],
            tables=[self._table(points)],
        )

    def _answer(self, points: Sequence[Point]) -> str:
        said = []
        for written in (min(self.wordings), max(self.wordings)):
            held = {name: known(points, "facts", name, float(written)).median for name in ASKED.values()}
            said.append(
                f"with {written} wording{'s' if written > 1 else ''} written, {count_text(held[AS_WRITTEN])} facts in "
                f"those words and {count_text(held[ASKED['heldout']])} in words never written"
            )
        return f"One FFN holds, {'; '.join(said)}."

    def _of_wordings(self, points: Sequence[Point]) -> str:
        fewest, most = float(min(self.wordings)), float(max(self.wordings))
        said = []
        for asked in ASKED.values():
            first, last = known(points, "facts", asked, fewest), known(points, "facts", asked, most)
            how = "no clear difference"
            if last.low > first.high:
                how = "more"
            elif last.high < first.low:
                how = "fewer"
            said.append(f"{asked} {count_text(first.median)} and {count_text(last.median)} ({how})")
        index = known(points, "index_accuracy", ASKED["heldout"], most)
        return (
            f"Written in {min(self.wordings)} and in {max(self.wordings)} wordings, one FFN holds this many facts: "
            f"{list_text(said)}. The index answers {percent_text(index.median)} of all {self.num_facts:,} in held-out "
            "wordings."
        )

    def _of_names(self, points: Sequence[Point]) -> str:
        of_ffn, of_index = curve(points, "accuracy_alias", FFN), curve(points, "accuracy_alias", INDEX)
        chance = spread_at(points, "accuracy_alias", "chance", float(min(self.city_wordings)))
        assert chance is not None
        shares = [
            f"{percent_text(of_ffn[x].median)} with {x:g}" for x in (min(of_ffn), max(of_ffn)) if len(of_ffn) > 1
        ] or [percent_text(spread.median) for spread in of_ffn.values()]
        wording = "wordings written" if len(of_ffn) > 1 else "wording"
        return (
            f"Under another name cities are answered by the FFN in {list_text(shares)} {wording}, by the index in "
            f"{percent_text(of_index[max(of_index)].median)}, by chance in {percent_text(chance.median)}."
        )

    def _table(self, points: Sequence[Point]) -> Table:
        lines = []
        for x in sorted(self.wordings):
            cells = [Cell(text=f"{x} wording{'s' if x > 1 else ''}")]
            cells += [spread_cell(known(points, "facts", asked, float(x)), count_text) for asked in ASKED.values()]
            heldout, written = (
                known(points, "facts", ASKED[asked], float(x)).median for asked in ("heldout", "identical")
            )
            cells.append(Cell(text=percent_text(heldout / written) if written else ""))
            lines.append(cells)
        header = ["", *ASKED.values()]
        return Table(
            caption=f"Facts of which one FFN answers {percent_text(REQUIRED)}; median and range over seeds.",
            header=[*header, "held-out of as written"],
            blocks=[("", lines)],
        )


def _with_other_names(knowledge: KnowledgeSet, num_facts: int) -> KnowledgeSet:
    """The first facts of the set whose subject has another name. UserError where there are not so many."""
    assert knowledge.text is not None
    rows = [row for row in knowledge.rows_N.tolist() if knowledge.text.aliases[row]]
    if len(rows) < num_facts:
        raise UserError(
            f"reworded_capacity: num_cities must be {len(rows):,} or less, which have another name, not {num_facts:,}"
        )
    return replace(knowledge, rows_N=np.array(rows[:num_facts], dtype=np.int64))
