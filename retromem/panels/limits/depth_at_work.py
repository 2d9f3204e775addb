"""Panel: do the residual schemes keep deep stacks of FFNs at work? Rank, updates, dead units, ablated blocks."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from models.any_ffn import sized
from models.ffn_kinds import DenseConfig
from models.stack_kinds import StackConfig
from retromem.panels.panel_config import Encoded, PanelConfig, check_facts
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import known, median_cell, of_each, sentences, spread_cell, tables
from retromem.report.numerals import count_text, list_text, percent_text, range_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import medians_text
from retromem.report.table_text import Cell, Table

_BLOCK = DenseConfig(kind="relu")
SCHEMES: Mapping[str, StackConfig] = {
    "no stream": StackConfig(block=_BLOCK, residual="none", norm="none"),
    "plain": StackConfig(block=_BLOCK, norm="none"),
    "plain, pre-norm": StackConfig(block=_BLOCK),
    "LayerScale, pre-norm": StackConfig(block=_BLOCK, residual="layerscale"),
    "ReZero": StackConfig(block=_BLOCK, residual="rezero", norm="none"),
    "DeepNorm": StackConfig(block=_BLOCK, residual="deepnorm", norm="post"),
    "plain, pre-norm, parallel": StackConfig(block=_BLOCK, parallel=True),
    "plain, post-norm": StackConfig(block=_BLOCK, norm="post"),
}
"""at every depth"""
OTHERS: Mapping[str, StackConfig] = {
    "no stream, pre-norm": StackConfig(block=_BLOCK, residual="none"),
    "no stream, post-norm": StackConfig(block=_BLOCK, residual="none", norm="post"),
    "LayerScale": StackConfig(block=_BLOCK, residual="layerscale", norm="none"),
    "LayerScale, post-norm": StackConfig(block=_BLOCK, residual="layerscale", norm="post"),
    "ReZero, pre-norm": StackConfig(block=_BLOCK, residual="rezero"),
    "ReZero, post-norm": StackConfig(block=_BLOCK, residual="rezero", norm="post"),
    "plain, parallel": StackConfig(block=_BLOCK, norm="none", parallel=True),
    "plain, post-norm, parallel": StackConfig(block=_BLOCK, norm="post", parallel=True),
    "LayerScale, parallel": StackConfig(block=_BLOCK, residual="layerscale", norm="none", parallel=True),
    "LayerScale, pre-norm, parallel": StackConfig(block=_BLOCK, residual="layerscale", parallel=True),
    "LayerScale, post-norm, parallel": StackConfig(block=_BLOCK, residual="layerscale", norm="post", parallel=True),
    "ReZero, parallel": StackConfig(block=_BLOCK, residual="rezero", norm="none", parallel=True),
    "ReZero, pre-norm, parallel": StackConfig(block=_BLOCK, residual="rezero", parallel=True),
    "ReZero, post-norm, parallel": StackConfig(block=_BLOCK, residual="rezero", norm="post", parallel=True),
    "DeepNorm, parallel": StackConfig(block=_BLOCK, residual="deepnorm", norm="post", parallel=True),
}
"""at the largest depth"""
_EVERY = {**SCHEMES, **OTHERS}
# Seven colours are told apart at a glance; plain post-norm is in the table.
_CHARTED = [scheme for scheme in SCHEMES if scheme != "plain, post-norm"]
NO_STREAM = "no stream"
_STREAM = {NO_STREAM: "without a residual stream", "plain, pre-norm": "with one (pre-norm)"}
_WITH_STREAM = [name for name, stack in _EVERY.items() if stack.residual != "none"]
CHANCE = "chance"
UNCORRELATED = "uncorrelated numbers"

_COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "accuracy": ("accuracy", percent_text),
    "loss": ("final loss, nats", significant_text),
    "last_rank_untrained": ("rank after the last block, untrained", significant_text),
    "last_rank_trained": ("trained", significant_text),
    "mean_update": ("update, of the stream", significant_text),
    "mean_dead_units": ("dead units", percent_text),
    "mean_bits_lost": ("bits a fact lost without one block: mean", significant_text),
    "least_bits_lost": ("without the idlest", significant_text),
}
"""quantity -> its column, and how it is written"""
_OF_BLOCKS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "bits_lost_of_block": ("bits a fact lost without the block", significant_text),
    "update_of_block": ("update of the block, of the stream", significant_text),
    "dead_units_of_block": ("dead units of the block", percent_text),
}
"""the same for every block of the deepest stacks"""


@dataclass(frozen=True, kw_only=True)
class DepthAtWorkConfig(PanelConfig):
    """Residual schemes over depth, at equal parameters of the whole stack and a fixed load."""

    panel: Literal["depth_at_work"] = "depth_at_work"
    dim: int = 16
    """of the stream, of keys and of codes"""
    num_params: int = 4096
    """of the whole stack, at most"""
    num_values: int = 16
    """that a fact can have"""
    bits_per_param: float = 1.2
    """to be stored"""
    depths: tuple[int, ...] = (1, 2, 4, 8)
    """blocks"""
    steps: int = 1500
    """of each training"""

    seconds_expected: ClassVar[float] = 150.0
    version: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim < 2:
            raise ValueError(f"dim must be 2 or more, as a norm leaves nothing of one number, not {self.dim}")
        check_facts(self.num_facts, 2, "raise bits_per_param or num_params")
        for scheme in _EVERY:
            # Says which scheme does not fit, and its smallest size.
            sized(self.stack(scheme, max(self.depths)), self.num_params, self.dim, self.dim)

    @property
    def num_facts(self) -> int:
        return math.floor(self.bits_per_param * self.num_params / math.log2(self.num_values))

    def stack(self, scheme: str, depth: int) -> StackConfig:
        """Of width still to be chosen."""
        return replace(_EVERY[scheme], depth=depth)

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.depth_at_work_points import depth_at_work_points

        return depth_at_work_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        ranks = partial(
            Chart,
            x_label=f"after block, of {max(self.depths)}",
            y_label=f"participation ratio, {self.dim} at most",
            series=[*_CHARTED, UNCORRELATED],
        )
        return PanelPage(
            title="Deep stacks at work: residual schemes",
            answer=sentences(points, self._of_untrained, self._of_trained),
            finding=sentences(points, self._of_ranks, self._without_stream, self._with_stream),
            explained=[
                f"Stacks of ReLU FFNs with a stream of {self.dim} dimensions and at most {self.num_params:,} "
                f"parameters in all, whatever their depth, learn {self.num_facts:,} random keys, each with one of "
                f"{self.num_values} values ({significant_text(self.bits_per_param)} bits per parameter), in "
                f"{self.steps:,} steps on all facts. 'No stream' means that each block replaces its input: at depth 1 "
                "this is the FFN of one layer, the reference for what depth gains or costs.",
                "Rank is the participation ratio of the stream over all facts, less their mean: how many dimensions "
                "tell facts apart. Keys of independent numbers have almost all of them; 1 means that every fact lies "
                "on one line (rank collapse).",
                "Update is the length of what a block adds, over the length of the stream it is added to (DeepNorm: to "
                "the enlarged stream). A dead unit is 0 for every fact. A block is ablated by adding nothing in its "
                "place (with its matrix, where one stands beside it), and what is stored is counted in bits by cross-"
                f"entropy, of {significant_text(math.log2(self.num_values))} a fact; without a stream nothing is left.",
                "Learning rate and steps are the same for all schemes, none was tuned. The load is meant to lie below "
                "what the best can hold, so that this shows who still trains, not who holds most: that is the panel on "
                "architecture.",
            ],
            charts=[
                Chart(
                    title="Loss after training",
                    quantities=["loss"],
                    x_label="blocks",
                    y_label="final loss, nats a fact",
                    x_scale="log",
                    y_scale="log",
                    series=[*_CHARTED, CHANCE],
                ),
                ranks(title="Rank of the stream, untrained", quantities=["rank_untrained"]),
                ranks(title="Rank of the stream, trained", quantities=["rank_trained"]),
            ],
            tables=tables(points, self._table, self._blocks_table),
        )

    def _at_deepest(self, points: Sequence[Point], quantity: str, schemes: Iterable[str]) -> dict[str, float]:
        return of_each(lambda scheme: known(points, quantity, scheme, float(max(self.depths))).median, schemes)

    def _of_untrained(self, points: Sequence[Point]) -> str:
        left = self._at_deepest(points, "last_rank_untrained", _STREAM)
        said = list_text([f"{significant_text(rank)} {_STREAM[scheme]}" for scheme, rank in left.items()])
        return (
            f"Of {significant_text(known(points, 'rank_untrained', next(iter(left)), 0.0).median)} dimensions of the "
            f"facts {max(self.depths)} untrained blocks leave {said}."
        )

    def _of_trained(self, points: Sequence[Point]) -> str:
        right = self._at_deepest(points, "accuracy", _STREAM)
        said = list_text([f"{percent_text(share)} {_STREAM[scheme]}" for scheme, share in right.items()])
        return f"Trained, of the facts are right: {said}."

    def _of_ranks(self, points: Sequence[Point]) -> str:
        moments = [f"last_rank_{when}" for when in ("untrained", "trained")]
        start = known(points, "rank_untrained", NO_STREAM, 0.0).median
        without = [significant_text(self._at_deepest(points, one, [NO_STREAM])[NO_STREAM]) for one in moments]
        with_stream = [range_text(self._at_deepest(points, one, _WITH_STREAM).values()) for one in moments]
        return (
            f"Through {max(self.depths)} untrained blocks the rank of the facts, {significant_text(start)} at first, "
            f"ends at {without[0]} without a stream and at {with_stream[0]} with one; after training at "
            f"{without[1]} and {with_stream[1]}."
        )

    def _without_stream(self, points: Sequence[Point]) -> str:
        right = self._at_deepest(points, "accuracy", [NO_STREAM])[NO_STREAM]
        chance = percent_text(1 / self.num_values)
        return f"Without a stream {percent_text(right)} of the facts are answered (chance {chance})."

    def _with_stream(self, points: Sequence[Point]) -> str:
        accuracy, loss = (self._at_deepest(points, quantity, _WITH_STREAM) for quantity in ("accuracy", "loss"))
        best = min(loss, key=lambda scheme: loss[scheme])
        worst = min(accuracy, key=lambda scheme: accuracy[scheme])
        of_best = self._at_deepest(points, "accuracy", [best])[best]
        one_layer = spread_at(points, "loss", NO_STREAM, 1.0)
        beside = "" if one_layer is None else f"; one layer of this size: {significant_text(one_layer.median)} nats"
        least = "" if worst == best else f", with the least accurate, {worst}, {percent_text(accuracy[worst])}"
        return (
            f"With the scheme of the lowest loss, {best}, {percent_text(of_best)} ({significant_text(loss[best])} "
            f"nats{beside}){least}."
        )

    def _table(self, points: Sequence[Point]) -> Table:
        deepest = max(self.depths)
        blocks = [
            (f"{depth} blocks" if depth > 1 else "1 block", self._lines(points, SCHEMES, depth))
            for depth in self.depths
            if depth != deepest
        ]
        for heading, parallel in (("serial", False), ("parallel", True)):
            names = [name for name, stack in _EVERY.items() if stack.parallel == parallel]
            blocks.append((f"{count_text(deepest)} blocks, {heading}", self._lines(points, names, deepest)))
        return Table(
            caption=f"Stacks of equal parameters, the most accurate first. {medians_text(points)}",
            header=["", *(title for title, _ in _COLUMNS.values())],
            blocks=blocks,
        )

    def _blocks_table(self, points: Sequence[Point]) -> Table:
        every_block = range(1, max(self.depths) + 1)

        def line(scheme: str, quantity: str, text: Callable[[float], str]) -> list[Cell]:
            spreads = (spread_at(points, quantity, scheme, float(block)) for block in every_block)
            return [Cell(text=scheme), *(median_cell(spread, text) for spread in spreads)]

        return Table(
            caption=f"Every block of the stacks of {count_text(max(self.depths))}, from the input on. A block whose "
            f"loss costs nothing is not at work. {medians_text(points)}",
            header=["", *(f"block {block}" for block in every_block)],
            blocks=[
                (heading, [line(scheme, quantity, text) for scheme in SCHEMES])
                for quantity, (heading, text) in _OF_BLOCKS.items()
            ],
        )

    def _lines(self, points: Sequence[Point], names: Iterable[str], depth: int) -> list[list[Cell]]:
        at = {
            name: {quantity: spread_at(points, quantity, name, float(depth)) for quantity in _COLUMNS} for name in names
        }

        def rank(name: str) -> tuple[float, float]:
            right, nats = at[name]["accuracy"], at[name]["loss"]
            return (-right.median if right else 1.0, nats.median if nats else math.inf)

        return [
            [Cell(text=name), *(spread_cell(at[name][quantity], text) for quantity, (_, text) in _COLUMNS.items())]
            for name in sorted(at, key=rank)
        ]
