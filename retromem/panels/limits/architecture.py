"""Panel: what the architecture makes of equal parameters: depth against width, serial against parallel, presets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, get_args

from models.any_ffn import AnyFFNConfig, sized
from models.ffn_kinds import DenseConfig, GatedConfig
from models.presets import Preset, PresetConfig
from models.stack_kinds import StackConfig
from retromem.panels.limits.key_choice import KeyChoiceConfig
from retromem.panels.panel_config import Encoded
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import (
    against,
    known,
    known_curve,
    least_and_most,
    of_each,
    sentences,
    spread_cell,
    tables,
)
from retromem.report.numerals import count_text, list_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread, medians_text
from retromem.report.table_text import Cell, Table

ONE_LAYER: Mapping[str, AnyFFNConfig] = {
    "gelu": DenseConfig(kind="gelu"),
    "swiglu": GatedConfig(kind="swiglu"),
}
STACKS: Mapping[str, StackConfig] = {
    "gelu": StackConfig(block=DenseConfig(kind="gelu")),
    "swiglu": StackConfig(block=GatedConfig(kind="swiglu")),
}
PRESETS: tuple[Preset, ...] = get_args(Preset)
GUIDE_LINE = "published guide line, ReLU"
EXPECTED_BITS = 2.0
"""a parameter; searches go up to twice as many, where no FFN trained like this was ever seen"""


@dataclass(frozen=True, kw_only=True)
class ArchitectureConfig(KeyChoiceConfig):
    """Capacity of stacks over depth, serial and parallel, and of presets, all at equal parameters."""

    panel: Literal["architecture"] = "architecture"
    dim: int = 16
    """of the stream, of keys and of codes"""
    num_params: int = 2100
    """of the whole FFN or stack, at most"""
    num_values: int = 16
    """that a fact can have"""
    depths: tuple[int, ...] = (1, 2, 4)
    """of the serial stacks"""
    presets: tuple[Preset, ...] = PRESETS
    """that are measured beside the stacks"""
    preset_depth: int = 2
    """blocks of each preset"""
    steps: int = 1500
    """of each training, at most"""
    resolution: float = 0.05
    """of the searches for the capacity, relative"""

    seconds_expected: ClassVar[float] = 150.0
    version: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.depths) < 2:
            raise ValueError(f"depths must name a stack of 2 blocks or more, not {self.depths}")
        if self.preset_depth not in self.depths:
            raise ValueError(f"preset_depth must be one of depths, {self.depths}, not {self.preset_depth}")
        for ffn in (*(stack for _, stack in self.stacks), *self.whole.values()):
            sized(ffn, self.num_params, self.dim, self.dim)  # says which one does not fit, and its smallest size

    @property
    def stacks(self) -> Sequence[tuple[str, StackConfig]]:
        """The series of each stack, which has its depth; their width is still to be chosen."""
        return [(name, replace(stack, depth=depth)) for name, stack in STACKS.items() for depth in self.depths]

    @property
    def whole(self) -> Mapping[str, AnyFFNConfig]:
        """One layer of each kind, and the presets."""
        whole: dict[str, AnyFFNConfig] = {one_layer(kind): config for kind, config in ONE_LAYER.items()}
        return whole | {name: PresetConfig(kind=name, depth=self.preset_depth) for name in self.presets}

    @property
    def num_keys(self) -> int:
        return 2 * math.floor(EXPECTED_BITS * self.num_params / math.log2(self.num_values)) + 3

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.architecture_points import architecture_points

        return architecture_points(self, seed, self.chosen_keys(self.dim, seed, encoded))

    def page(self, points: Sequence[Point]) -> PanelPage:
        bits = partial(Chart, quantities=["bits_per_param"], y_label="bits per parameter at accuracy .99")
        return PanelPage(
            title=self.titled("Architecture at equal parameters"),
            answer=sentences(points, _of_stacks, _of_presets),
            finding=sentences(points, self._of_depth, _guide, self._of_parallel, _ranked),
            explained=[
                f"Every FFN and stack has at most {self.num_params:,} parameters, with norms, routers and read-outs "
                f"counted, and {self.dim} dimensions. Capacity is the largest number of keys, each with one of "
                f"{self.num_values} values, that it answers with accuracy .99 after at most {self.steps:,} steps on "
                f"all facts, searched to {100 * self.resolution:g} %; bits are divided by its real parameters.",
                "Stacks are pre-norm with LayerNorm and a plain residual stream. 'Parallel' has a matrix beside each "
                "FFN, which stands where a transformer has its attention: at equal parameters it is paid for with "
                "hidden units. Presets are the FFNs of published families: what the name says of kind, norm, bias, "
                f"order and experts, at depth {self.preset_depth}, without attention.",
                "The references are one FFN of the same kind without stream or norm, and the published guide line of "
                "one ReLU layer (2.06 bits per parameter, Nichani et al.). Mixtures are counted by all their "
                "parameters, although only some answer a key.",
                *self.explained_keys(self.dim),
                "Learning rate and steps are the same for all and were tuned for none. Small stacks of random facts "
                "say nothing of what depth gives a language model beside storage.",
            ],
            charts=[
                bits(
                    title="Depth against width",
                    x_label="blocks",
                    x_scale="log",
                    series=[*STACKS, *map(one_layer, ONE_LAYER), GUIDE_LINE],
                ),
                bits(
                    title=f"Presets at depth {self.preset_depth}, and one layer",
                    series=[*self.whole, GUIDE_LINE],
                ),
            ],
            tables=tables(points, self._table),
        )

    def _of_depth(self, points: Sequence[Point]) -> str:
        def said(kind: str) -> str:
            flat = known(points, "bits_per_param", one_layer(kind))
            by_depth = known_curve(points, "bits_per_param", kind)
            best, deepest = max(by_depth, key=lambda depth: by_depth[depth].median), max(by_depth)
            told = (
                f"{kind} holds {significant_text(flat.median)} bits per parameter in one layer and "
                f"{significant_text(by_depth[best].median)} in its best stack, of {_blocks(best)} "
                f"({self._against(by_depth[best], flat)})"
            )
            if deepest != best:
                told += f", {significant_text(by_depth[deepest].median)} in {_blocks(deepest)}"
            return told

        return f"At equal parameters {'; '.join(of_each(said, ONE_LAYER).values())}."

    def _of_parallel(self, points: Sequence[Point]) -> str:
        def said(preset: str) -> str:
            beside = known(points, "bits_per_param", preset)
            of = (
                known(points, "bits_per_param", "gpt2")
                if preset == "gptj"
                else known(points, "bits_per_param", "swiglu", float(self.preset_depth))
            )
            return (
                f"{preset} {significant_text(beside.median)} against {significant_text(of.median)} of the same "
                f"blocks in series ({self._against(beside, of)})"
            )

        told = list_text(list(of_each(said, ("gptj", "palm")).values()))
        return f"Parallel at {_blocks(float(self.preset_depth))}: {told}."

    def _against(self, spread: Spread, other: Spread) -> str:
        return against(spread, other, resolution=self.resolution)

    def _table(self, points: Sequence[Point]) -> Table:
        columns = {"facts": count_text, "params": count_text, "bits_per_param": significant_text}

        def line(name: str, series: str, x: float | None = None) -> list[Cell]:
            spreads = [spread_cell(spread_at(points, quantity, series, x), text) for quantity, text in columns.items()]
            return [Cell(text=name), *spreads]

        stacks = [
            line(f"{series}, {_blocks(depth)}", series, depth)
            for series in STACKS
            for depth in curve(points, "bits_per_param", series)
        ]
        whole = [line(series, series) for series in self.whole]
        return Table(
            caption=f"Facts held at accuracy .99. {medians_text(points)}",
            header=["", "facts", "parameters", "bits per parameter"],
            blocks=[("stacks", stacks), (f"one layer, and presets at depth {self.preset_depth}", whole)],
        )


def one_layer(kind: str) -> str:
    """The series of the FFN without a stream."""
    return f"one layer, {kind}"


def _held(points: Sequence[Point]) -> dict[str, float]:
    """Bits per parameter of every preset that was measured."""
    return of_each(lambda name: known(points, "bits_per_param", name).median, PRESETS)


def _of_stacks(points: Sequence[Point]) -> str:
    def said(kind: str) -> str:
        flat = known(points, "bits_per_param", one_layer(kind)).median
        stacks = {depth: spread for depth, spread in curve(points, "bits_per_param", kind).items() if depth > 1}
        best = max(of_each(lambda depth: stacks[depth].median, stacks).values())
        return f"{significant_text(flat)} in one {kind} layer and {significant_text(best)} in its best stack"

    return f"A parameter holds, in bits, {', '.join(of_each(said, ONE_LAYER).values())}."


def _of_presets(points: Sequence[Point]) -> str:
    held = _held(points)
    ends = reversed(least_and_most(held))
    return f"Presets hold {' to '.join(f'{significant_text(held[name])} ({name})' for name in ends)}."


def _guide(points: Sequence[Point]) -> str:
    guide = known(points, "bits_per_param", GUIDE_LINE).median
    return f"The published guide line of one ReLU layer is {significant_text(guide)}."


def _ranked(points: Sequence[Point]) -> str:
    held = _held(points)
    ranked = [f"{name} {significant_text(held[name])}" for name in sorted(held, key=lambda name: -held[name])]
    return f"Presets: {list_text(ranked)}."


def _blocks(depth: float) -> str:
    return "1 block" if depth == 1 else f"{count_text(depth)} blocks"
