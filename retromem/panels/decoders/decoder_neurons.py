"""Panel: hidden units of trained decoders read as keys and values. What triggers them, and what do they say?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from retromem.panels.decoders.people_decoder import PeopleDecoderConfig
from retromem.panels.panel_config import Encoded
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import (
    NotMeasured,
    against,
    known,
    known_curve,
    medians_table,
    of_each,
    sentences,
    spread_cell,
    tables,
)
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell, Table

LABELS: Mapping[str, str] = {
    "relation": "the relation",
    "wording": "the wording",
    "first_name": "the first name",
    "last_name": "the last name",
    "value": "the answer's first word",
}
"""what triggers may have in common -> the series of it"""
WITHIN_RELATION = ("wording", "value")
"""labels that are permuted among the questions of one relation, for they tell the relation too"""
ROWS = "rows of w_out"
ASKED = "all questions asked"
TRAINED, UNTRAINED = {"decoder": "trained"}, {"decoder": "untrained"}
_SAID: Mapping[str, str] = {
    "top": "the answer's first word on top",
    "kind": "a word of the right relation on top",
    "rank": "mean 1 / rank of the triggers' answers",
}
"""what rows of w_out are read for -> its column"""


@dataclass(frozen=True, kw_only=True)
class DecoderNeuronsConfig(PeopleDecoderConfig):
    """Triggers of hidden units by what they share, and what output rows say of them, beside permuted labels."""

    panel: Literal["decoder_neurons"] = "decoder_neurons"
    num_people: int = 150
    """each with one fact an attribute"""
    exposures: int = 80
    """passes over the questions"""
    triggers: int = 5
    """questions of the highest activations, a unit"""
    permutations: int = 50
    """of the labels over the questions"""

    seconds_expected: ClassVar[float] = 12.0
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.triggers <= self.num_facts:
            raise ValueError(f"triggers must be 2 to {self.num_facts}, the questions that there are")
        if self.wordings != 1:
            raise ValueError("wordings must be 1: a fact asked twice shares its answer with itself")

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.decoders.decoder_neurons_points import decoder_neurons_points

        return decoder_neurons_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        return PanelPage(
            title="Hidden units of decoders as keys and values",
            answer=sentences(points, self._answer),
            finding=sentences(
                points, self._of_keys, self._of_layers, self._of_values, self._of_kind, self._of_untrained
            ),
            explained=[
                f"{self.of_training} Each FFN has {count_text(self.width)} units. A unit is read as Geva et al. (2021) "
                "do, at the last token of a question, where the answer's first word is written. Its key are the "
                f"{self.triggers} questions that excite it most; its value is its row of w_out, scored by the read-out "
                "(with the gain of the last norm) for every word of the vocabulary. In layers before the last this "
                "is a reading, not what the row does: later layers read it too.",
                "Triggers are alike in the share of the commonest label among them: relation, wording, first or last "
                "name, first word of the answer. The null permutes the labels over the questions; wordings and "
                "answers, which tell the relation, among the questions of one relation. A person has "
                f"{count_text(len(self.attributes))} questions here, so names cannot be alike in more than "
                f"{percent_text(min(1.0, len(self.attributes) / self.triggers))} of the triggers of a unit, but for "
                "names that people share.",
                "A row says the answer where its highest word is the first word of the answer to the unit's first "
                "trigger. It says the kind where that word begins any answer of that trigger's relation; the null "
                "permutes relations over all questions. The untrained decoder is the second reference: random units "
                "respond to wordings, too.",
            ],
            charts=[
                Chart(
                    title="Triggers alike",
                    quantities=["purity", "purity_permuted"],
                    labels=TRAINED,
                    x_label=f"layer, of {self.depth}",
                    y_label="share of the commonest label",
                    names={"purity": "units", "purity_permuted": "permuted labels"},
                ),
                Chart(
                    title="Rows that say the answer",
                    quantities=["top", "top_permuted"],
                    labels=TRAINED,
                    x_label=f"layer, of {self.depth}",
                    y_label="share of units",
                    names={"top": "units", "top_permuted": "permuted labels"},
                    percent=True,
                ),
            ],
            tables=tables(points, self._keys_table, self._values_table),
        )

    def _last(self, points: Sequence[Point], quantity: str, series: str, labels: Mapping[str, str]) -> Spread:
        return known(points, quantity, series, float(self.depth), **labels)

    def _beside(self, points: Sequence[Point], quantity: str, series: str) -> str:
        own, null = (self._last(points, name, series, TRAINED) for name in (quantity, f"{quantity}_permuted"))
        text = significant_text if quantity in ("purity", "rank") else percent_text
        return f"{text(own.median)} (permuted {text(null.median)})"

    def _answer(self, points: Sequence[Point]) -> str:
        shared = self._beside(points, "purity", LABELS["relation"])
        return (
            f"In the last layer the {self.triggers} questions that excite a unit most share their relation in a share "
            f"of {shared}, and the unit's row says the answer to the first of them for "
            f"{self._beside(points, 'top', ROWS)} of units."
        )

    def _of_keys(self, points: Sequence[Point]) -> str:
        def compared(series: str) -> str:
            own, null = (self._last(points, quantity, series, TRAINED) for quantity in ("purity", "purity_permuted"))
            return against(own, null)

        verdicts = of_each(compared, LABELS.values())
        said = [f"{series} {self._beside(points, 'purity', series)}" for series in verdicts]
        above = [series for series, verdict in verdicts.items() if verdict == "more"]
        beyond = f"more than with permuted labels: {list_text(above)}" if above else "none more than permuted labels do"
        return f"Triggers of the last layer share {list_text(said)}; {beyond}."

    def _of_layers(self, points: Sequence[Point]) -> str:
        def excess(series: str) -> dict[float, float]:
            null = known_curve(points, "purity_permuted", series, **TRAINED)
            own = known_curve(points, "purity", series, **TRAINED)
            both = {layer: own[layer].median - null[layer].median for layer in own if layer in null}
            if not both:
                raise NotMeasured(f"units and permuted labels of one layer, {series}")
            return both

        over = of_each(excess, LABELS.values())
        peaks = {series: max(own, key=lambda at: own[at]) for series, own in over.items()}
        said = [
            f"{series} in layer {layer:.0f} (by {significant_text(over[series][layer])})"
            for series, layer in peaks.items()
            if over[series][layer] > 0
        ]
        nowhere = [series for series, layer in peaks.items() if over[series][layer] <= 0]
        more = (
            f"Triggers exceed permuted labels most for {list_text(said)}"
            if said
            else "Triggers exceed permuted labels nowhere"
        )
        return f"{more}; in no layer for {list_text(nowhere)}." if said and nowhere else f"{more}."

    def _of_values(self, points: Sequence[Point]) -> str:
        own, null = (self._last(points, quantity, ROWS, TRAINED) for quantity in ("rank", "rank_permuted"))
        verdict = {
            "more": "rows say what their triggers answer more than by chance",
            "less": "rows say what their triggers answer less than by chance",
            "no clear difference": "no clear sign that rows say what their triggers answer",
        }[against(own, null)]
        return f"Mean 1 / rank of the triggers' answers in the rows: {self._beside(points, 'rank', ROWS)}; {verdict}."

    def _of_kind(self, points: Sequence[Point]) -> str:
        own, null = (self._last(points, quantity, ROWS, TRAINED) for quantity in ("kind", "kind_permuted"))
        verdict = {
            "more": "more than by chance",
            "less": "less than by chance",
            "no clear difference": "no clear difference from chance",
        }[against(own, null)]
        return f"A word of the right relation stands on top for {self._beside(points, 'kind', ROWS)}: {verdict}."

    def _of_untrained(self, points: Sequence[Point]) -> str:
        def both(series: str) -> tuple[Spread, Spread]:
            trained, untrained = (self._last(points, "purity", series, labels) for labels in (TRAINED, UNTRAINED))
            return trained, untrained

        shared = of_each(both, LABELS.values())
        said = [f"{series} {significant_text(untrained.median)}" for series, (_, untrained) in shared.items()]
        more = [series for series, (trained, untrained) in shared.items() if against(trained, untrained) == "more"]
        learnt = f"training made them share more of {list_text(more)}" if more else "training made them share no more"
        return f"In the last layer of an untrained decoder triggers share {list_text(said)}: {learnt}."

    def _keys_table(self, points: Sequence[Point]) -> Table:
        def line(layer: int, labels: Mapping[str, str]) -> list[Cell]:
            cells = []
            for series in LABELS.values():
                for quantity in ("purity", "purity_permuted"):
                    cells.append(spread_cell(spread_at(points, quantity, series, float(layer), **labels)))
            return [Cell(text=f"layer {layer}, {labels['decoder']}"), *cells]

        header = [""]
        for series in LABELS.values():
            header += [series, "permuted"]
        return medians_table(points, "What the triggers of a unit share.", header, self._lines(line))

    def _values_table(self, points: Sequence[Point]) -> Table:
        def line(layer: int, labels: Mapping[str, str]) -> list[Cell]:
            live = spread_at(points, "live", ROWS, float(layer), **labels)
            accuracy = spread_at(points, "accuracy", ASKED, None, **labels)
            cells = [spread_cell(accuracy, percent_text), spread_cell(live, percent_text)]
            for quantity in _SAID:
                text = significant_text if quantity == "rank" else percent_text
                for name in (quantity, f"{quantity}_permuted"):
                    cells.append(spread_cell(spread_at(points, name, ROWS, float(layer), **labels), text))
            return [Cell(text=f"layer {layer}, {labels['decoder']}"), *cells]

        header = ["", "facts answered", "units with triggers"]
        for heading in _SAID.values():
            header += [heading, "permuted"]
        return medians_table(points, "What rows of w_out say.", header, self._lines(line))

    def _lines(self, line: Callable[[int, Mapping[str, str]], list[Cell]]) -> list[list[Cell]]:
        return [line(layer, labels) for labels in (TRAINED, UNTRAINED) for layer in range(1, self.depth + 1)]
