"""Panel: which layers of a decoder hold the facts? Branches ablated, and decoders that have one FFN alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from models.any_ffn import sized
from models.decoder_config import DecoderConfig
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

PARTS: Mapping[str, str] = {"ffn": "FFN of a layer", "attention": "attention of a layer"}
"""series of what is ablated, by part"""
ALL_FFNS = "every FFN"
TO_ZEROS, TO_MEAN = {"given": "zeros"}, {"given": "its mean"}
"""labels: what an ablated branch gives"""
WHOLE, NO_FFN = "FFNs in all layers", "no FFN"


def alone_in(layer: int) -> str:
    """The series of the decoder with an FFN in this layer alone, counted from 1."""
    return f"one FFN, in layer {layer}"


@dataclass(frozen=True, kw_only=True)
class LayersThatHoldConfig(PeopleDecoderConfig):
    """Bits lost where the FFN or the attention of a layer is ablated; bits held by decoders with one FFN."""

    panel: Literal["decoder_layers_that_hold"] = "decoder_layers_that_hold"
    num_people: int = 150
    """each with one fact an attribute"""
    exposures: int = 50
    """passes over the questions"""

    seconds_expected: ClassVar[float] = 35.0
    version: ClassVar[int] = 1

    @property
    def whole(self) -> DecoderConfig:
        """With an FFN in every layer."""
        return self.decoder()

    def with_one_ffn(self, layer: int) -> DecoderConfig:
        """In this layer, counted from 1, as wide as the parameters of the whole decoder allow; in none for 0."""
        without = tuple(at for at in range(self.depth) if at != layer - 1)
        narrow = replace(self.whole, without_ffn=without)
        if not layer:
            return narrow
        others = narrow.num_params(1) - narrow.ffn.num_params(self.dim, self.dim)
        wide = sized(narrow.ffn, self.whole.num_params(1) - others, self.dim, self.dim)
        return replace(narrow, ffn=wide)

    def arms(self) -> dict[str, DecoderConfig]:
        """By series."""
        alone = {alone_in(layer): self.with_one_ffn(layer) for layer in range(1, self.depth + 1)}
        return {WHOLE: self.whole, **alone, NO_FFN: self.with_one_ffn(0)}

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.decoders.layers_that_hold_points import layers_that_hold_points

        return layers_that_hold_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        return PanelPage(
            title="Which layers of a decoder hold the facts?",
            answer=sentences(points, self._answer, self._of_agreement),
            finding=sentences(points, self._of_layers, self._of_sum, self._of_attention, self._of_one, self._of_none),
            explained=[
                f"{self.of_training} A decoder of {count_text(self.depth)} layers is asked again while one branch of "
                "it, the FFN or the attention of a layer, gives zeros for every token, or its mean over the tokens of "
                "all questions (mean ablation), which takes away only what it tells tokens apart by. Bits lost are "
                "counted by cross-entropy, as rows count them, temperature and guessing share fitted anew; they cannot "
                "exceed what the whole decoder holds.",
                "An ablated branch also gives later layers what they never met in training, so loss is no proof of "
                "storage: attention of the same layer is the reference, and the sum over single FFNs beside all of "
                "them tells whether layers stand in for each other.",
                "The other way to ask: decoders trained from the start with one FFN, in one layer, as wide as the "
                "parameters of the whole decoder allow, at the same exposures and learning rate. The decoder without "
                "any FFN has fewer parameters: it shows what attention and the embeddings of the names' words hold "
                "alone. Most last names belong to one person here, so embeddings can hold much.",
            ],
            charts=[
                Chart(
                    title="Bits lost without a branch",
                    quantities=["bits_lost"],
                    labels=TO_MEAN,
                    x_label=f"layer, of {self.depth}",
                    y_label="bits a fact lost, mean ablation",
                    series=list(PARTS.values()),
                ),
                Chart(
                    title="Bits held at equal parameters",
                    quantities=["bits_per_fact"],
                    y_label="bits a fact",
                    series=list(self.arms()),
                ),
            ],
            tables=tables(points, self._ablations, self._trained),
        )

    def _single(self, points: Sequence[Point], part: str) -> dict[int, Spread]:
        lost = known_curve(points, "bits_lost", PARTS[part], **TO_MEAN)
        return {int(layer): spread for layer, spread in lost.items()}

    def _answer(self, points: Sequence[Point]) -> str:
        lost = self._single(points, "ffn")
        most = max(lost, key=lambda layer: lost[layer].median)
        whole = known(points, "bits_per_fact", WHOLE).median
        return (
            f"Of {significant_text(whole)} bits a fact the decoder loses most, {significant_text(lost[most].median)}, "
            f"without the FFN of layer {most} of {self.depth}."
        )

    def _of_agreement(self, points: Sequence[Point]) -> str:
        """Whether the layer whose loss costs most is the one that holds most by itself."""
        lost, alone = self._single(points, "ffn"), self._alone(points)
        most = max(lost, key=lambda layer: lost[layer].median)
        best = max(alone, key=lambda layer: alone[layer].median)
        if most not in alone:
            raise NotMeasured(alone_in(most))
        of_most = f"{significant_text(alone[most].median)} bits a fact with it in layer {most}"
        if most == best:
            compared = "no fewer than in any other"
        else:
            verdict = {"more": "more", "less": "fewer", "no clear difference": "no clear difference"}
            compared = (
                f"{significant_text(alone[best].median)} in layer {best}, {verdict[against(alone[best], alone[most])]}"
            )
        return f"Of decoders with as many parameters, those trained with one FFN hold {of_most}, {compared}."

    def _alone(self, points: Sequence[Point]) -> dict[int, Spread]:
        return of_each(lambda layer: known(points, "bits_per_fact", alone_in(layer)), range(1, self.depth + 1))

    def _of_layers(self, points: Sequence[Point]) -> str:
        lost = self._single(points, "ffn")
        said = [f"{significant_text(spread.median)} (layer {layer})" for layer, spread in lost.items()]
        most, *others = sorted(lost, key=lambda layer: -lost[layer].median)
        clear = others and all(against(lost[most], lost[other]) == "more" for other in others)
        verdict = f"most clearly in layer {most}" if clear else "no layer clearly ahead of all others"
        return f"Bits a fact lost with the FFN of one layer at its mean: {list_text(said)}, {verdict}."

    def _of_sum(self, points: Sequence[Point]) -> str:
        lost = self._single(points, "ffn")
        every = known(points, "bits_lost", ALL_FFNS, **TO_MEAN).median
        single = sum(spread.median for spread in lost.values())
        verdict = (
            "layers stand in for each other"
            if single < 0.9 * every
            else "a fact needs several of them"
            if single > 1.1 * every
            else "losses add up"
        )
        return (
            f"Together that is {significant_text(single)}, while {ALL_FFNS} at its mean costs "
            f"{significant_text(every)}: {verdict}."
        )

    def _of_attention(self, points: Sequence[Point]) -> str:
        lost, of_ffn = self._single(points, "attention"), self._single(points, "ffn")
        said = [f"{significant_text(spread.median)} (layer {layer})" for layer, spread in lost.items()]
        larger = [layer for layer in lost if layer in of_ffn and lost[layer].median > of_ffn[layer].median]
        compared = [layer for layer in lost if layer in of_ffn]
        if not compared:
            raise NotMeasured("FFN and attention of one layer")
        verdict = (
            "more than the FFN in every layer"
            if len(larger) == len(compared)
            else f"more than the FFN in {_layers_text(larger)}"
            if larger
            else "in no layer more than the FFN"
        )
        return f"With attention at its mean: {list_text(said)}, {verdict}."

    def _of_one(self, points: Sequence[Point]) -> str:
        bits, whole = self._alone(points), known(points, "bits_per_fact", WHOLE)
        said = [f"{significant_text(spread.median)} (layer {layer})" for layer, spread in bits.items()]
        best = max(bits, key=lambda layer: bits[layer].median)
        verdict = {
            "more": "more than FFNs in all layers hold",
            "less": "less than FFNs in all layers hold",
            "no clear difference": "no clear difference from FFNs in all layers",
        }[against(bits[best], whole)]
        return (
            f"Trained with one FFN at equal parameters decoders hold {list_text(said)}; the best, with layer "
            f"{best}, {verdict} ({significant_text(whole.median)})."
        )

    def _of_none(self, points: Sequence[Point]) -> str:
        none, whole = (known(points, "bits_per_fact", arm) for arm in (NO_FFN, WHOLE))
        verdict = {
            "more": "FFNs are no help here",
            "less": "FFNs add to it",
            "no clear difference": "FFNs make no clear difference",
        }[against(none, whole)]
        return (
            f"With {NO_FFN} at all, from fewer parameters, attention and embeddings hold "
            f"{significant_text(none.median)}: {verdict}."
        )

    def _ablations(self, points: Sequence[Point]) -> Table:
        def line(name: str, series: str, layer: float | None) -> list[Cell]:
            cells = []
            for given in (TO_ZEROS, TO_MEAN):
                cells.append(spread_cell(spread_at(points, "bits_lost", series, layer, **given)))
                cells.append(spread_cell(spread_at(points, "accuracy_lost", series, layer, **given), percent_text))
            return [Cell(text=name), *cells]

        rows = [
            line(f"{series}, {layer} of {self.depth}", series, float(layer))
            for series in PARTS.values()
            for layer in range(1, self.depth + 1)
        ]
        rows.append(line(ALL_FFNS, ALL_FFNS, None))
        header = ["ablated", "to zeros: bits a fact lost", "accuracy lost", "to its mean: bits a fact lost"]
        return medians_table(points, "What ablated branches cost.", [*header, "accuracy lost"], rows)

    def _trained(self, points: Sequence[Point]) -> Table:
        def line(arm: str, decoder: DecoderConfig) -> list[Cell]:
            num_params = spread_at(points, "num_params", arm)
            return [
                Cell(text=arm),
                spread_cell(spread_at(points, "bits_per_fact", arm)),
                spread_cell(spread_at(points, "accuracy", arm), percent_text),
                Cell(text="" if num_params is None or arm == NO_FFN else count_text(decoder.ffn.size or 0)),
                spread_cell(num_params, count_text),
            ]

        demand = spread_at(points, "demand_per_fact", "demand")
        of_demand = "" if demand is None else f" {significant_text(demand.median)} bits a fact would be all."
        header = ["trained with", "bits a fact", "accuracy", "hidden units of an FFN", "parameters"]
        rows = [line(arm, decoder) for arm, decoder in self.arms().items()]
        return medians_table(points, f"What decoders hold at the same exposures.{of_demand}", header, rows)


def _layers_text(layers: Sequence[int]) -> str:
    """`layer 2`, `layers 1 and 3`."""
    return f"layer{'s' if len(layers) > 1 else ''} {list_text([str(layer) for layer in layers])}"
