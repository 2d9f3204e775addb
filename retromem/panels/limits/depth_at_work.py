"""Panel: do the residual schemes keep deep stacks of FFNs at work? Rank, updates, dead units, ablated blocks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from models.any_ffn import sized
from models.ffn_kinds import DenseConfig
from models.stack_kinds import StackConfig
from retromem.panels.panel_config import Encoded, PanelConfig, check_facts
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.spread_text import known, spread_cell
from retromem.points import Point
from retromem.report.numerals import count_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
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
# Seven colours are told apart at a glance; plain post-norm is in the table.
_CHARTED = [scheme for scheme in SCHEMES if scheme != "plain, post-norm"]
NO_STREAM = "no stream"
CHANCE = "chance"
UNCORRELATED = "uncorrelated numbers"

_COLUMNS: Mapping[str, tuple[str, bool]] = {
    "accuracy": ("accuracy", True),
    "loss": ("final loss, nats", False),
    "last_rank_untrained": ("rank after the last block, untrained", False),
    "last_rank_trained": ("trained", False),
    "mean_update": ("update, of the stream", False),
    "mean_dead_units": ("dead units", True),
    "mean_bits_lost": ("bits a fact lost without one block: mean", False),
    "least_bits_lost": ("without the idlest", False),
}
"""quantity -> its column, and whether it is a share"""
_OF_BLOCKS: Mapping[str, tuple[str, bool]] = {
    "bits_lost_of_block": ("bits a fact lost without the block", False),
    "update_of_block": ("update of the block, of the stream", False),
    "dead_units_of_block": ("dead units of the block", True),
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
    seeds: tuple[int, ...] = (0, 1, 2)
    """of keys, labels and first weights"""

    seconds_expected: ClassVar[float] = 150.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim < 2:
            raise ValueError(f"dim must be 2 or more, as a norm leaves nothing of one number, not {self.dim}")
        check_facts(self.num_facts, 2, "raise bits_per_param or num_params")
        for scheme in (*SCHEMES, *OTHERS):
            # Says which scheme does not fit, and its smallest size.
            sized(self.stack(scheme, max(self.depths)), self.num_params, self.dim, self.dim)

    @property
    def num_facts(self) -> int:
        return math.floor(self.bits_per_param * self.num_params / math.log2(self.num_values))

    def stack(self, scheme: str, depth: int) -> StackConfig:
        """Of width still to be chosen."""
        return replace({**SCHEMES, **OTHERS}[scheme], depth=depth)

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.depth_at_work_points import depth_at_work_points

        return depth_at_work_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        deepest = max(self.depths)
        return PanelPage(
            title="Deep stacks at work: residual schemes",
            answer=self._answer(points),
            finding=self._finding(points),
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
                "Learning rate and steps are the same for all schemes, none was tuned. The load is below what the best "
                "can hold, so this shows who still trains, not who holds most: that is the panel on architecture.",
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
                Chart(
                    title="Rank of the stream, untrained",
                    quantities=["rank_untrained"],
                    x_label=f"after block, of {deepest}",
                    y_label=f"participation ratio, {self.dim} at most",
                    series=[*_CHARTED, UNCORRELATED],
                ),
                Chart(
                    title="Rank of the stream, trained",
                    quantities=["rank_trained"],
                    x_label=f"after block, of {deepest}",
                    y_label=f"participation ratio, {self.dim} at most",
                    series=[*_CHARTED, UNCORRELATED],
                ),
            ],
            tables=[self._table(points), self._blocks_table(points)],
        )

    def _answer(self, points: Sequence[Point]) -> str:
        deepest = max(self.depths)
        x, plain = float(deepest), "plain, pre-norm"
        rank, right = (
            {scheme: known(points, quantity, scheme, x).median for scheme in (NO_STREAM, plain)}
            for quantity in ("last_rank_untrained", "accuracy")
        )
        return (
            f"Of {significant_text(known(points, 'rank_untrained', NO_STREAM, 0.0).median)} dimensions of the facts "
            f"{deepest} untrained blocks leave {significant_text(rank[NO_STREAM])} without a residual stream and "
            f"{significant_text(rank[plain])} with one (pre-norm); trained, {percent_text(right[NO_STREAM])} and "
            f"{percent_text(right[plain])} of the facts are right."
        )

    def _finding(self, points: Sequence[Point]) -> str:
        deepest = max(self.depths)
        x = float(deepest)
        with_stream = [name for name, stack in {**SCHEMES, **OTHERS}.items() if stack.residual != "none"]
        accuracy = {scheme: known(points, "accuracy", scheme, x).median for scheme in (NO_STREAM, *with_stream)}
        loss = {scheme: known(points, "loss", scheme, x).median for scheme in with_stream}
        best, worst = min(loss, key=lambda scheme: loss[scheme]), min(with_stream, key=lambda scheme: accuracy[scheme])
        untrained, trained = (
            {scheme: known(points, f"last_rank_{when}", scheme, x).median for scheme in (NO_STREAM, *with_stream)}
            for when in ("untrained", "trained")
        )
        start = known(points, "rank_untrained", NO_STREAM, 0.0).median
        one_layer = spread_at(points, "loss", NO_STREAM, 1.0)
        against = "" if one_layer is None else f"; one layer of this size: {significant_text(one_layer.median)} nats"
        return (
            f"Through {deepest} untrained blocks without a stream the rank of the facts goes from "
            f"{significant_text(start)} to {significant_text(untrained[NO_STREAM])}, with one it ends at "
            f"{_range([untrained[scheme] for scheme in with_stream])}; after training at "
            f"{significant_text(trained[NO_STREAM])} and {_range([trained[scheme] for scheme in with_stream])}. "
            f"Without a stream {percent_text(accuracy[NO_STREAM])} of the facts are answered (chance "
            f"{percent_text(1 / self.num_values)}), with the scheme of the lowest loss, {best}, "
            f"{percent_text(accuracy[best])} ({significant_text(loss[best])} nats{against}), with the least accurate, "
            f"{worst}, {percent_text(accuracy[worst])}."
        )

    def _table(self, points: Sequence[Point]) -> Table:
        deepest = max(self.depths)
        blocks = [
            (f"{depth} blocks" if depth > 1 else "1 block", self._lines(points, list(SCHEMES), depth))
            for depth in self.depths
            if depth != deepest
        ]
        every = {**SCHEMES, **OTHERS}
        for heading, parallel in (("serial", False), ("parallel", True)):
            names = [name for name, stack in every.items() if stack.parallel == parallel]
            blocks.append((f"{count_text(deepest)} blocks, {heading}", self._lines(points, names, deepest)))
        return Table(
            caption="Stacks of equal parameters, the most accurate first.",
            header=["", *(title for title, _ in _COLUMNS.values())],
            blocks=blocks,
        )

    def _blocks_table(self, points: Sequence[Point]) -> Table:
        blocks = []
        for quantity, (heading, is_share) in _OF_BLOCKS.items():
            text = percent_text if is_share else significant_text
            lines = []
            for scheme in SCHEMES:
                by_block = curve(points, quantity, scheme)
                if by_block:
                    lines.append([Cell(text=scheme), *(Cell(text=text(spread.median)) for spread in by_block.values())])
            blocks.append((heading, lines))
        return Table(
            caption=f"Every block of the stacks of {count_text(max(self.depths))}, from the input on; medians over "
            "seeds. A block whose loss costs nothing is not at work.",
            header=["", *(f"block {block}" for block in range(1, max(self.depths) + 1))],
            blocks=blocks,
        )

    def _lines(self, points: Sequence[Point], names: Sequence[str], depth: int) -> list[list[Cell]]:
        x = float(depth)
        best_first = sorted(names, key=lambda name: known(points, "loss", name, x).median)
        best_first.sort(key=lambda name: -known(points, "accuracy", name, x).median)
        lines = []
        for name in best_first:
            cells = [Cell(text=name)]
            for quantity, (_, is_share) in _COLUMNS.items():
                spread = spread_at(points, quantity, name, x)
                text = percent_text if is_share else significant_text
                cells.append(spread_cell(spread, text) if spread else Cell(text="no stream"))
            lines.append(cells)
        return lines


def _range(numbers: Sequence[float]) -> str:
    ends = dict.fromkeys([significant_text(min(numbers)), significant_text(max(numbers))])
    return " to ".join(ends)
