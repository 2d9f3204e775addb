"""Panel: does an FFN recall by its activation pattern alone, and does a pattern never seen in writing matter?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from retrieval.errors import UserError
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import known, median_cell, of_each, sentences, tables
from retromem.report.numerals import count_text, list_text, percent_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import medians_text
from retromem.report.table_text import Cell, Table

UNTRAINED = {"ffn": "untrained"}
"""labels of what the same FFN had given before its training"""


@dataclass(frozen=True, kw_only=True)
class PatternUseConfig(PanelConfig):
    """Activations binarised over the load, and questions that fall into patterns which no stored fact has."""

    panel: Literal["pattern_use"] = "pattern_use"
    dim: int = 16
    """d, of random keys and outputs"""
    width: int = 32
    """ReLU units of the FFN that stores random facts"""
    num_values: int = 16
    """drawn uniformly, one for each key"""
    loads: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.95)
    """share of the capacity at accuracy .99, which is searched for"""
    noises: tuple[float, ...] = (0.1, 0.3)
    """length of the noise added to a key, relative to the key's"""
    num_noisy: int = 20
    """noisy questions a fact"""
    num_cities: int = 500
    """facts of the text, about: each seed has cities of its own"""
    text_widths: tuple[int, ...] = (8, 16, 32, 64, 128)
    """ReLU units of the FFNs that store cities' countries"""
    text_code_dim: int = 64
    """of the frozen codes of the countries"""
    steps: int = 3000
    """of each training, at most"""

    seconds_expected: ClassVar[float] = 20.0
    version: ClassVar[int] = 3
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"steps", "seeds", "noises"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.loads) > 1:
            raise ValueError(f"loads must be more than 0 and at most 1, not {self.loads}")
        if self.num_cities < 50:
            raise ValueError(f"num_cities must be 50 or more, not {self.num_cities}")

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        from retromem.knowledge.sources import TextConfig, build_knowledge

        cities = build_knowledge(TextConfig(source="cities"))
        if 2 * self.num_cities > cities.num_facts:
            raise UserError(
                f"pattern_use: num_cities must be {cities.num_facts // 2:,} or less, so that each seed has cities of "
                f"its own, not {self.num_cities:,}"
            )
        return [cities.folds(cities.num_facts // self.num_cities, seed=seed)[0].twin(seed=seed)]

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.pattern_use_points import pattern_use_points

        (cities,) = self.text_sets(seed)
        return pattern_use_points(self, encoded(cities), seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        over_load = partial(Chart, x_label="load, share of capacity", y_label="right answers", percent=True)
        return PanelPage(
            title="Activation patterns: what their use is",
            answer=sentences(points, self._alone, self._unseen),
            finding=sentences(points, self._binarised, self._noisy, self._reworded),
            explained=[
                f"Random facts: a ReLU FFN {self.dim} - {self.width} - {self.dim} without biases, unit keys, one of "
                f"{self.num_values} values each, trained at shares of the capacity that is searched for with each "
                "seed. Binarised: a unit that is on says its mean positive activation, whatever the key; what remains "
                "is the pattern. The read-out stays as trained, or is trained anew on the patterns.",
                "Published, for a model of two tokens with trained embeddings (Eppie 2026): binarising costs nothing "
                "up to 10 % of the capacity and destroys 90 % at capacity. Keys are frozen here, and half of the "
                "units are on for each: another setting, to be compared with care.",
                f"Noisy questions: each stored key {self.num_noisy} times with Gaussian noise of a fixed length. The "
                "reference is the same FFN before it was trained, asked the same questions.",
                f"Text: about {self.num_cities} cities, another choice for each seed, and their countries, permuted "
                "among them; each fact written in one wording, asked in another that was never written; keys of the "
                "encoder, centred per wording. Seen: a stored fact has this very pattern, in its written wording.",
                "A question in a seen pattern may also lie nearer to its key, and facts whose patterns are stable may "
                "be robust for other reasons. The null takes that out: which questions count as seen is permuted, 200 "
                "times, among the noisy questions of one fact, and among held-out wordings of about equal cosine to "
                "their key (tenths). A gap beyond the range of the null goes with the pattern; it still is no proof of "
                "a cause.",
            ],
            charts=[
                over_load(title="Binarised activations", quantities=["accuracy"]),
                over_load(title="Noisy questions", quantities=["noisy_accuracy"]),
                Chart(
                    title="Held-out wordings",
                    quantities=["heldout"],
                    x_label="ReLU units",
                    y_label="share",
                    x_scale="log",
                    percent=True,
                ),
            ],
            tables=tables(points, self._gap_table),
        )

    def _alone(self, points: Sequence[Point]) -> str:
        load = max(self.loads)
        pattern = known(points, "accuracy", "binarised", load).median
        anew = spread_at(points, "accuracy", "binarised, read-out trained anew", load)
        beside = f" ({percent_text(anew.median)} with a read-out made for them)" if anew else ""
        share = percent_text(pattern)
        return f"At {percent_text(load)} of the capacity patterns alone give {share} of the answers{beside}."

    def _unseen(self, points: Sequence[Point]) -> str:
        widest = float(max(self.text_widths))
        unseen = known(points, "unseen_share", "held-out wording", widest).median
        right = spread_at(points, "in_unseen", "held-out wording", widest)
        beside = f", and {percent_text(right.median)} of those are right" if right else ""
        return f"{percent_text(unseen)} of held-out wordings fall into patterns never seen in writing{beside}."

    def _binarised(self, points: Sequence[Point]) -> str:
        def said(load: float) -> str:
            pattern = known(points, "accuracy", "binarised", load).median
            whole, anew = (
                spread_at(points, "accuracy", series, load)
                for series in ("as they are", "binarised, read-out trained anew")
            )
            before = f", where {percent_text(whole.median)} were" if whole else ""
            beside = f" ({percent_text(anew.median)} with a read-out trained anew)" if anew else ""
            share = percent_text(pattern)
            return f"at {percent_text(load)} of the capacity {share} of the answers are right{before}{beside}"

        told = of_each(said, sorted({min(self.loads), max(self.loads)}))
        return (
            f"With activations binarised, {list_text(list(told.values()))}; published, for another model: all at 10 %, "
            "a tenth at capacity."
        )

    def _noisy(self, points: Sequence[Point]) -> str:
        load = max(self.loads)

        def said(noise: float) -> str:
            unseen = known(points, "unseen_share", noise_name(noise), load)
            expected = spread_at(points, "unseen_share", noise_name(noise), load, **UNTRAINED)
            untrained = f" (untrained: {percent_text(expected.median)})" if expected else ""
            return (
                f"{percent_text(unseen.median)} of the questions with noise {noise:g}{untrained}, "
                f"{self._gap_text(points, noise_name(noise), load)}"
            )

        told = "; ".join(of_each(said, self.noises).values())
        return f"Patterns that no stored fact has, at {percent_text(load)} load: {told}."

    def _reworded(self, points: Sequence[Point]) -> str:
        widest = float(max(self.text_widths))
        unseen = known(points, "unseen_share", "held-out wording", widest)
        right = spread_at(points, "in_unseen", "held-out wording", widest)
        said = (
            f"Of held-out wordings of cities {percent_text(unseen.median)} fall into patterns never seen in writing, "
            f"with {count_text(widest)} units"
        )
        if right:
            said += f", and {percent_text(right.median)} of those are answered right"
        compared = list(curve(points, "gap", "held-out wording"))
        if not compared:
            return f"{said}."
        gap = self._gap_text(points, "held-out wording", max(compared))
        return f"{said}; with {count_text(max(compared))}, where both kinds are there, {gap}."

    def _gap_text(self, points: Sequence[Point], series: str, x: float) -> str:
        """Accuracy in seen patterns less that in unseen ones, beside the null of like questions."""
        gap, low, high = (spread_at(points, quantity, series, x) for quantity in ("gap", "null_low", "null_high"))
        if gap is None or low is None or high is None:
            return "too few on one side to compare"
        beyond = gap.median < low.median or gap.median > high.median
        null = " to ".join(dict.fromkeys(_points_text(end.median) for end in (low, high)))
        return (
            f"seen patterns {'above' if gap.median >= 0 else 'below'} unseen ones by "
            f"{_points_text(abs(gap.median))} points ({'beyond' if beyond else 'within'} the null, {null})"
        )

    def _gap_table(self, points: Sequence[Point]) -> Table:
        blocks = []
        for series in series_of(points, "unseen_share"):
            lines = []
            text = series == "held-out wording"
            for x, unseen in curve(points, "unseen_share", series).items():
                expected = spread_at(points, "unseen_share", series, x, **UNTRAINED)
                gap, low, high, *shares = (
                    spread_at(points, quantity, series, x)
                    for quantity in ("gap", "null_low", "null_high", "in_seen", "in_unseen")
                )
                null = f"{_points_text(low.median)} to {_points_text(high.median)}" if low and high else "–"
                line = [
                    Cell(text=f"{x:.0f} units" if text else f"{percent_text(x)} load"),
                    *(median_cell(spread, percent_text) for spread in (unseen, expected, *shares)),
                    median_cell(gap, _points_text),
                    Cell(text=null),
                ]
                lines.append(line)
            blocks.append((series, lines))
        return Table(
            caption="Questions in patterns that no stored fact has, and right answers by pattern. "
            + medians_text(points),
            header=[
                "",
                "in unseen patterns",
                "untrained",
                "right in seen patterns",
                "right in unseen patterns",
                "gap, points",
                "null, points",
            ],
            blocks=blocks,
        )


def noise_name(noise: float) -> str:
    """How a series of noisy questions is called."""
    return f"noise {noise:g}"


def _points_text(share: float) -> str:
    """Percentage points with one decimal: differences may be negative, and are rounded, not cut."""
    return f"{100 * share:.1f}"
