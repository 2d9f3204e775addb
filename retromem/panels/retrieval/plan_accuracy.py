"""Panel: does a planned index weigh and find what its plan says, also where the pilot saw a part of the facts?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from retrieval.plan_request import PlanRequest, parse_request
from retromem.knowledge.biographies import ATTRIBUTES, BiographiesConfig
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig, PlainTexts
from retromem.panels.point_spread import lines_of, series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import known, lines, medians_table, of_each, ratio, sentences, tables
from retromem.report.numerals import count_text, percent_text, seconds_text
from retromem.report.panel_page import PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell, Table

EXPECTED_BYTES, BYTES = "bytes, expected", "bytes, measured"
EXPECTED_RECALL, RECALL = "recall, expected", "recall, measured"
SECONDS = "seconds of planning"
QUANTITIES = (EXPECTED_BYTES, BYTES, EXPECTED_RECALL, RECALL, SECONDS)
REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class PlanAccuracyConfig(PanelConfig):
    """Statements are stored, the facts' own written questions asked; plans beside the stores they lead to."""

    panel: Literal["plans"] = "plans"
    file: str = ""
    """facts, as `make index` reads them; empty: people that are made up, with five attributes each"""
    num_facts: int = 131_072
    """of the set, at most"""
    requests: tuple[str, ...] = (
        "bytes<=64 per fact",
        "bytes<=16 per fact",
        "recall>=0.95",
        "recall>=0.99",
        "recall>=0.95, ms<=2",
    )
    """limits, as they stand behind `auto:`"""
    sampled: tuple[int, ...] = (8192, 32_768)
    """facts that the pilot may see, at most; `make index` takes 32,768"""
    seeds: tuple[int, ...] = (0,)
    """of the set"""

    version: ClassVar[int] = 5
    seconds_expected: ClassVar[float] = 1500.0
    """of one seed, with vectors in the cache"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.limits  # a UserError for what is none

    @property
    def limits(self) -> dict[str, PlanRequest]:
        """The requests, read."""
        return {request: parse_request(f"auto: {request}") for request in self.requests}

    def knowledge(self, seed: int) -> KnowledgeSet:
        """The facts, without keys."""
        if self.file:
            whole = build_knowledge(TextConfig(source="file", file=self.file, seed=seed))
        else:
            attributes = ATTRIBUTES[:5]
            num_people = -(-self.num_facts // len(attributes))
            whole = build_knowledge(BiographiesConfig(num_people=num_people, attributes=attributes, seed=seed))
        return whole.prefix(min(self.num_facts, whole.num_facts))

    def files_read(self) -> dict[str, list[Path]]:
        return {"file": [Path(self.file)]} if self.file else {}

    def plain_texts(self, seed: int) -> PlainTexts:
        facts = self.knowledge(seed).facts(statements=True)
        assert facts.statements is not None, "a set of texts has statements"
        return PlainTexts(queries=facts.cues[0].texts or (), documents=facts.statements.texts or ())

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.retrieval.plan_accuracy_points import plan_accuracy_points

        return plan_accuracy_points(self, encoded, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        return PanelPage(
            title="Plans of an index",
            answer=sentences(points, self._answer),
            finding=sentences(points, *(partial(self._finding, sampled=sampled) for sampled in sorted(self.sampled))),
            explained=[
                "Bytes of an index follow from formulas, those of its labels from packing them. Recall@1 against exact "
                "search is measured on nested samples of the store, by questions whose facts are in all of them, and "
                "carried on to its full size: logit(misses) = level + slope log2(N), the slope weighed against that of "
                "other sets. Then the chosen index is built over all facts, and asked 6,000 questions that another "
                "seed draws.",
                "Recall is that of the index against exact search, not of the facts: what the encoder cannot tell "
                "apart is no index's fault.",
            ],
            tables=tables(points, *(partial(self._table, sampled=sampled) for sampled in sorted(self.sampled))),
        )

    def _answer(self, points: Sequence[Point]) -> str:
        most = max(of_each(lambda sampled: (self._worst(points, sampled), sampled)[1], self.sampled))
        return f"Of {count_text(round(known(points, 'facts', '').median))} facts: {self._worst(points, most)}."

    def _finding(self, points: Sequence[Point], sampled: int) -> str:
        return f"From a pilot of {count_text(sampled)} facts, {self._worst(points, sampled)}."

    def _read(self, points: Sequence[Point], plan: Point, sampled: int) -> dict[str, Spread]:
        """What is expected and what was measured; NotMeasured where this pilot chose another index."""
        return {name: known(points, name, plan.series, float(sampled), **plan.labels) for name in QUANTITIES}

    def _worst(self, points: Sequence[Point], sampled: int) -> str:
        """How far plans are off, at most."""
        refused = [one for one in series_of(points, REFUSED) if spread_at(points, REFUSED, one, float(sampled))]
        made = lines(lambda plan: self._read(points, plan, sampled), lines_of(points, QUANTITIES[0]))
        if refused and not made:
            return "every request was refused"
        off_bytes = of_each(lambda at: abs(ratio(made[at][EXPECTED_BYTES], made[at][BYTES]) - 1), range(len(made)))
        off_recall = [abs(found[EXPECTED_RECALL].median - found[RECALL].median) for found in made]
        return (
            f"the bytes of planned indexes are off by {percent_text(max(off_bytes.values()))} at most from what their "
            f"plans say, their recall@1 by {100 * max(off_recall):.2f} points"
        )

    def _table(self, points: Sequence[Point], sampled: int) -> Table:
        def line(plan: Point) -> list[Cell]:
            if plan.quantity == REFUSED:
                known(points, REFUSED, plan.series, float(sampled))
                return [Cell(text=plan.series), Cell(text=REFUSED), *(Cell() for _ in range(6))]
            medians = {name: spread.median for name, spread in self._read(points, plan, sampled).items()}
            numbers = [
                count_text(medians[EXPECTED_BYTES]),
                count_text(medians[BYTES]),
                f"{medians[EXPECTED_RECALL]:.4f}",
                f"{medians[RECALL]:.4f}",
                f"{100 * (medians[EXPECTED_RECALL] - medians[RECALL]):+.2f}",
                seconds_text(medians[SECONDS]),
            ]
            return [Cell(text=text) for text in (plan.series, plan.labels["index"], *numbers)]

        plans = [*lines_of(points, QUANTITIES[0]), *lines_of(points, REFUSED)]
        in_order = sorted(plans, key=lambda plan: self.requests.index(plan.series))
        header = ["asked for", "chosen", "bytes expected", "bytes written", "recall@1 expected", "recall@1 measured"]
        header += ["points too high", "time of planning"]
        caption = f"From a pilot of {count_text(sampled)} facts, or all where there are fewer."
        return medians_table(points, caption, header, lines(line, in_order))
