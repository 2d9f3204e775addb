"""Panel: do tokens become alike with depth in a decoder? Skip connections, FFNs, residual schemes and training."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Literal

from retromem.panels.decoders.people_decoder import PeopleDecoderConfig
from retromem.panels.panel_config import Encoded
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import (
    NotMeasured,
    against,
    known,
    known_curve,
    median_cell,
    of_each,
    sentences,
    spread_cell,
    tables,
)
from retromem.report.numerals import count_text, list_text, percent_text, range_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread, medians_text, num_seeds
from retromem.report.table_text import Cell, Table

BARE = "bare attention"
_BARE_WITH_FFN = "attention and FFN without skips"
_SKIPPING = "attention with skips"
_SERIAL = "serial"
ARMS: Mapping[str, Mapping[str, Any]] = {
    BARE: {"residual": "none"},
    _BARE_WITH_FFN: {"residual": "none"},
    _SKIPPING: {},
    _SERIAL: {},
    "ReZero": {"residual": "rezero"},
    "DeepNorm": {"residual": "deepnorm"},
    "parallel": {"parallel": True},
    "LayerScale": {"residual": "layerscale"},
}
"""settings of each decoder; those of attention alone have no FFN"""
WITHOUT_FFN = (BARE, _SKIPPING)
_WITH_SKIPS = [arm for arm, settings in ARMS.items() if settings.get("residual") != "none"]
AVERAGING = "averaging of the past"
# Seven colours are told apart at a glance; the last ones are in the tables.
_CHARTED = [arm for arm in ARMS if arm not in ("parallel", "LayerScale")]
OF_TOKENS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "cosine": ("mean cosine of two tokens", significant_text),
    "distance": ("distance from one vector", significant_text),
    "token_rank": ("effective rank of a text's tokens", significant_text),
    "fact_rank": ("effective rank of all questions", significant_text),
}
"""quantity -> its heading in the table"""
WHEN = ("untrained", "trained")


@dataclass(frozen=True, kw_only=True)
class DecoderDepthConfig(PeopleDecoderConfig):
    """Similarity and rank of token states after each layer, with and without skip connections and FFNs."""

    panel: Literal["decoder_depth"] = "decoder_depth"
    depth: int = 6
    """layers"""
    exposures: int = 70
    """passes over the questions"""

    seconds_expected: ClassVar[float] = 50.0
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 2:
            raise ValueError(f"depth must be 2 or more, to see what one layer adds to another, not {self.depth}")

    def arm(self, name: str) -> Any:
        """The decoder of one of ARMS."""
        without = tuple(range(self.depth)) if name in WITHOUT_FFN else ()
        return self.decoder(without_ffn=without, **ARMS[name])

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.decoders.decoder_depth_points import decoder_depth_points

        return decoder_depth_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        through = partial(Chart, x_label=f"after layer, of {self.depth}", series=[*_CHARTED, AVERAGING])
        return PanelPage(
            title="Depth in decoders: do tokens become alike?",
            answer=sentences(points, self._of_collapse, self._of_learning),
            finding=sentences(
                points,
                self._of_distance,
                self._of_pace,
                self._of_ffns,
                self._of_training,
                self._of_questions,
                self._of_best,
            ),
            explained=[
                f"{self.of_training} All have {count_text(self.depth)} layers: bare attention (no skip connections, "
                "no FFNs), the same with FFNs, attention with skip connections, and both, one after the other "
                "(serial) or side by side (parallel); LayerScale, ReZero and DeepNorm are serial. Norms are before "
                "each branch, in DeepNorm behind it. Learning rate and exposures are the same for all; none was "
                "tuned.",
                "Of the states of each question's tokens, after each layer: the mean cosine of two different tokens; "
                "the distance from one common vector, ||X - 1 m|| over ||X|| with m the mean token and the composite "
                "norm of Dong et al. (2021, sqrt of largest column sum times largest row sum); and the effective rank "
                "of the matrix of tokens (Roy and Vetterli 2007). Tokens that are all alike have 1, 0 and 1. The "
                "effective rank of all questions is that of their last tokens, less the mean: in how many directions "
                "questions can still be told apart.",
                "Dong et al. predict for attention without skip connections and FFNs that the distance falls doubly "
                "exponentially with depth. Their attention looks at all tokens; here it is causal, the first token "
                "sees itself alone, and even attention that looks at all of the past alike, the grey reference, only "
                "halves what is left of the slowest direction in each layer.",
                "Alike tokens forbid no answer by themselves: what is asked is read from the last token, so it is "
                "the rank of all questions that has to survive. A decoder that only learns which values occur at all "
                "is given bits for it, too.",
            ],
            charts=[
                through(
                    title="Distance, untrained",
                    quantities=["distance_untrained"],
                    y_label="distance from one vector",
                    y_scale="log",
                ),
                through(
                    title="Distance, trained",
                    quantities=["distance_trained"],
                    y_label="distance from one vector",
                    y_scale="log",
                ),
                through(
                    title="Questions, trained",
                    quantities=["fact_rank_trained"],
                    y_label=f"effective rank, {self.dim} at most",
                ),
            ],
            tables=tables(points, self._table, self._layers_table),
        )

    def _last(self, points: Sequence[Point], quantity: str, series: str) -> Spread:
        return known(points, quantity, series, float(self.depth))

    def _of_collapse(self, points: Sequence[Point]) -> str:
        said = of_each(
            lambda arm: f"{significant_text(self._last(points, 'cosine_untrained', arm).median)} in {arm}",
            (BARE, _SKIPPING),
        )
        return (
            f"After {count_text(self.depth)} untrained layers two tokens of a text have a mean cosine of "
            f"{list_text(list(said.values()))}."
        )

    def _of_learning(self, points: Sequence[Point]) -> str:
        right = of_each(lambda arm: known(points, "accuracy", arm).median, (BARE, _SKIPPING, _SERIAL))
        said = [f"{percent_text(share)} ({arm})" for arm, share in right.items()]
        return f"Trained, of the facts are answered: {list_text(said)}."

    def _of_distance(self, points: Sequence[Point]) -> str:
        of = partial(self._last, points, "distance_untrained")
        start = known(points, "distance_untrained", BARE, 0.0).median
        bare, skipping = of(BARE), of(_SKIPPING)
        verdict = {
            "more": "skip connections keep tokens apart",
            "less": "skip connections do not keep tokens apart, they bring them together",
            "no clear difference": "no clear difference is made by skip connections",
        }[against(skipping, bare)]
        reference = spread_at(points, "distance_untrained", AVERAGING, float(self.depth))
        beside = "" if reference is None else f"; averaging of the past alone {significant_text(reference.median)}"
        return (
            f"The distance of the tokens from one common vector, {significant_text(start)} at first, is then "
            f"{significant_text(bare.median)} in {BARE} and {significant_text(skipping.median)} in {_SKIPPING}"
            f"{beside}: {verdict}{_in_every_seed(points, bare, skipping)}."
        )

    def _of_pace(self, points: Sequence[Point]) -> str:
        """Doubly exponential: each layer takes a larger factor than the one before."""
        falls = known_curve(points, "distance_untrained", BARE)
        factors = [
            falls[layer].median / falls[layer + 1].median
            for layer in sorted(falls)
            if layer + 1 in falls and falls[layer + 1].median > 0
        ]
        if len(factors) < 2:
            raise NotMeasured("layers one after another")
        faster = all(later > earlier for earlier, later in pairwise(factors))
        verdict = "ever faster, as a doubly exponential fall would" if faster else "not ever faster"
        return (
            f"A layer of {BARE} divides the distance by {range_text(factors)}, the first by "
            f"{significant_text(factors[0])} and the last by {significant_text(factors[-1])}: {verdict}."
        )

    def _of_ffns(self, points: Sequence[Point]) -> str:
        bare, with_ffn = (self._last(points, "distance_untrained", arm) for arm in (BARE, _BARE_WITH_FFN))
        verdict = {
            "more": "FFNs slow the fall",
            "less": "FFNs hasten the fall",
            "no clear difference": "FFNs make no clear difference",
        }[against(with_ffn, bare)]
        return f"In {_BARE_WITH_FFN} the distance ends at {significant_text(with_ffn.median)}: {verdict}."

    def _of_training(self, points: Sequence[Point]) -> str:
        def change(arm: str) -> str:
            untrained, trained = (self._last(points, f"distance_{when}", arm) for when in WHEN)
            return f"{significant_text(untrained.median)} before and {significant_text(trained.median)} after ({arm})"

        said = of_each(change, (BARE, _BARE_WITH_FFN, _SKIPPING, _SERIAL))
        return f"Training changes the distance after the last layer: {list_text(list(said.values()))}."

    def _of_questions(self, points: Sequence[Point]) -> str:
        ranks = of_each(lambda arm: self._last(points, "fact_rank_trained", arm), ARMS)
        bare = [ranks[arm].median for arm in ranks if arm not in _WITH_SKIPS]
        skipping = [ranks[arm].median for arm in ranks if arm in _WITH_SKIPS]
        if not bare or not skipping:
            raise NotMeasured("decoders with skip connections beside those without")
        return (
            f"All questions together then differ in {range_text(bare)} directions (effective rank) without skip "
            f"connections and in {range_text(skipping)} with them."
        )

    def _of_best(self, points: Sequence[Point]) -> str:
        bits = of_each(lambda arm: known(points, "bits_per_fact", arm), _WITH_SKIPS)
        best = max(bits, key=lambda arm: bits[arm].median)
        worst = min(bits, key=lambda arm: bits[arm].median)
        least = "" if worst == best else f", fewest in {worst}, {significant_text(bits[worst].median)}"
        return (
            f"Most bits a fact are held, of decoders with skip connections, in {best}, "
            f"{significant_text(bits[best].median)}{least}."
        )

    def _table(self, points: Sequence[Point]) -> Table:
        columns: list[tuple[str, str, Callable[[float], str]]] = [
            ("accuracy", "accuracy", percent_text),
            ("bits_per_fact", "bits a fact", significant_text),
        ]
        header = ["", *(heading for _, heading, _ in columns)]
        for heading, _ in OF_TOKENS.values():
            header += [f"{heading}: untrained", "trained"]

        def line(arm: str) -> list[Cell]:
            cells = [spread_cell(spread_at(points, quantity, arm), text) for quantity, _, text in columns]
            for quantity, (_, text) in OF_TOKENS.items():
                for when in WHEN:
                    cells.append(median_cell(spread_at(points, f"{quantity}_{when}", arm, float(self.depth)), text))
            return [Cell(text=arm), *cells]

        demand = spread_at(points, "demand_per_fact", "demand")
        of_demand = "" if demand is None else f", {significant_text(demand.median)} would be all"
        return Table(
            caption=f"States after the last layer, and what is held{of_demand}. {medians_text(points)}",
            header=header,
            blocks=[("", [line(arm) for arm in [*ARMS, AVERAGING]])],
        )

    def _layers_table(self, points: Sequence[Point]) -> Table:
        layers = range(self.depth + 1)

        def line(quantity: str, arm: str) -> list[Cell]:
            return [Cell(text=arm), *(median_cell(spread_at(points, quantity, arm, float(at))) for at in layers)]

        def block(quantity: str, arms: Iterable[str]) -> list[list[Cell]]:
            return [line(quantity, arm) for arm in arms]

        return Table(
            caption=f"Distance of the tokens from one common vector, layer by layer. {medians_text(points)}",
            header=["", "tokens", *(f"layer {at}" for at in layers if at)],
            blocks=[(when, block(f"distance_{when}", [*ARMS, AVERAGING])) for when in WHEN],
        )


def _in_every_seed(points: Sequence[Point], *spreads: Spread) -> str:
    """Only where there are several, and their ranges are apart."""
    one, other = spreads
    return " in every seed" if num_seeds(points) > 1 and against(one, other) != "no clear difference" else ""
