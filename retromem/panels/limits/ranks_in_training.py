"""Panel: how much of their rank weights and hidden activations use, along a training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from models.any_ffn import sized
from models.ffn_kinds import DenseConfig, GatedConfig
from retromem.panels.panel_config import Encoded, PanelConfig, check_facts
from retromem.panels.point_spread import series_of
from retromem.panels.spread_text import known, spread_cell
from retromem.points import Point
from retromem.report.numerals import list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell, Table

KINDS: Mapping[str, DenseConfig | GatedConfig] = {
    "relu": DenseConfig(kind="relu"),
    "gelu": DenseConfig(kind="gelu"),
    "swiglu": GatedConfig(kind="swiglu"),
    "geglu": GatedConfig(kind="geglu"),
}
CAPACITY_BITS: Mapping[str, float] = {"relu": 2.1, "gelu": 2.3, "swiglu": 2.55, "geglu": 2.6}
"""bits per parameter at accuracy .99, as measured with 16 dimensions, 16 values and 3000 steps"""
PARTS: Mapping[str, str] = {
    "w_in": "matrix into the hidden units",
    "w_gate": "matrix into the gates",
    "w_out": "matrix out of the hidden units",
    "hidden": "hidden activations of all facts",
}
RANKS: Mapping[str, str] = {
    "effective": "effective rank",
    "participation_ratio": "participation ratio",
    "stable": "stable rank",
}


@dataclass(frozen=True, kw_only=True)
class RanksInTrainingConfig(PanelConfig):
    """Ranks of weights and hidden activations along the training, dense and gated kinds at equal parameters."""

    panel: Literal["ranks_in_training"] = "ranks_in_training"
    dim: int = 16
    """of keys and codes"""
    num_params: int = 1024
    """of each FFN, at most"""
    num_values: int = 16
    """that a fact can have"""
    load: float = 0.9
    """share of what each kind can hold"""
    at_steps: tuple[int, ...] = (0, 30, 100, 300, 1000, 3000)
    """where it is looked at; the last one ends the training"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of keys, labels and first weights"""

    seconds_expected: ClassVar[float] = 20.0
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"seeds", "at_steps"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.load > 1:
            raise ValueError(f"load must be more than 0 and at most 1, not {self.load}")
        if max(self.at_steps) < 1:
            raise ValueError(f"at_steps must be 0 or more and end a training of 1 step or more, not {self.at_steps}")
        # A gated unit is the largest of all kinds; this says the smallest size where it does not fit.
        sized(KINDS["swiglu"], self.num_params, self.dim, self.dim)
        check_facts(min(self.num_facts.values()), 2, "raise load or num_params")

    @property
    def num_facts(self) -> Mapping[str, int]:
        """Of each kind, at its load."""
        bits = self.load * self.num_params / math.log2(self.num_values)
        return {kind: math.floor(bits * capacity) for kind, capacity in CAPACITY_BITS.items()}

    def ffn(self, kind: str) -> DenseConfig | GatedConfig:
        return KINDS[kind]

    def gaussian(self, kind: str) -> str:
        """The series of the Gaussian matrices that are shaped like those of this kind."""
        return f"Gaussian, shaped like {kind}"

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.ranks_in_training_points import ranks_in_training_points

        return ranks_in_training_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        facts = list_text([f"{kind} {num_facts:,}" for kind, num_facts in self.num_facts.items()])
        return PanelPage(
            title="Correlated parameters: ranks along the training",
            answer=self._answer(points),
            finding=self._finding(points),
            explained=[
                f"{len(KINDS)} kinds of FFN with at most {self.num_params:,} parameters learn random keys in "
                f"{self.dim} dimensions, each with one of {self.num_values} values, in {max(self.at_steps):,} steps on "
                f"all facts: {facts} facts, {percent_text(self.load)} of what each held at accuracy .99 "
                "with 1,024 parameters. On the way and at the "
                "end the ranks of their matrices and of their hidden activations (less their mean) are read.",
                "Effective rank is exp of the entropy of the singular values (Roy and Vetterli 2007); participation "
                "ratio is (sum s^2)^2 / sum s^4; stable rank is sum s^2 over the largest s^2. All count dimensions; "
                "the largest possible number is the shorter side of the matrix. A gated FFN has fewer hidden units for "
                "the same parameters, so a larger share of the possible can be fewer dimensions.",
                "The reference is what a matrix of independent Gaussian numbers of the same shape has: no correlation "
                "at all (mean of 20 draws). The untrained FFN is the other one: its matrices are random, its hidden "
                "activations are not, because an activation has a preferred direction.",
                "Full rank does not mean that much is stored, nor low rank that little is: whether rank limits what "
                "is held is asked by intervention, in the panel on rank as a cause.",
            ],
            charts=[
                self._chart("Hidden activations", "participation_ratio_hidden", "participation ratio"),
                self._chart("Matrix in", "effective_w_in", "effective rank"),
                self._chart("Matrix out", "effective_w_out", "effective rank"),
            ],
            tables=[self._table(points)],
        )

    def _chart(self, title: str, quantity: str, rank: str) -> Chart:
        return Chart(
            title=title,
            quantities=[quantity],
            x_label="optimisation steps",
            y_label=f"{rank}, dimensions",
            x_scale="log",
            series=[*KINDS, self.gaussian("relu"), self.gaussian("swiglu")],
        )

    def _answer(self, points: Sequence[Point]) -> str:
        shares = {
            kind: self._trained(points, "participation_ratio_hidden", kind).median / _largest(points, "hidden", kind)
            for kind in KINDS
        }
        said = []
        for name, config in (("dense", DenseConfig), ("gated", GatedConfig)):
            own = [shares[kind] for kind, ffn in KINDS.items() if isinstance(ffn, config)]
            ends = dict.fromkeys([percent_text(min(own)), percent_text(max(own))])
            said.append(f"{' to '.join(ends)} in {name} kinds")
        return f"Of their dimensions trained hidden activations use {list_text(said)} (participation ratio)."

    def _finding(self, points: Sequence[Point]) -> str:
        largest = {kind: _largest(points, "hidden", kind) for kind in KINDS}
        trained = {kind: self._trained(points, "participation_ratio_hidden", kind) for kind in KINDS}
        shares = {kind: _scaled(trained[kind], 1 / largest[kind]) for kind in KINDS}
        equal = {kind: known(points, "participation_ratio_hidden_equal_facts", kind) for kind in KINDS}
        said = [
            f"{kind} {significant_text(trained[kind].median)} of {significant_text(largest[kind])}" for kind in KINDS
        ]
        gaussian = {kind: self._trained(points, "participation_ratio_hidden", self.gaussian(kind)) for kind in KINDS}
        return (
            f"Once trained, the hidden activations use this many dimensions (participation ratio): {list_text(said)}; "
            f"Gaussian numbers would use {significant_text(gaussian['relu'].median)} in the shape of relu and "
            f"{significant_text(gaussian['swiglu'].median)} in that of swiglu. Gated against dense kinds at equal "
            f"parameters: in dimensions {_compared(trained)}, as a share of the largest possible {_compared(shares)}, "
            f"in dimensions at equal facts {_compared(equal)}."
        )

    def _trained(self, points: Sequence[Point], quantity: str, series: str) -> Spread:
        return known(points, quantity, series, float(max(self.at_steps)))

    def _table(self, points: Sequence[Point]) -> Table:
        blocks = []
        for part, heading in PARTS.items():
            lines = []
            for kind in KINDS:
                if kind not in series_of(points, f"largest_{part}"):
                    continue  # dense kinds have no gate
                cells = [Cell(text=kind), Cell(text=significant_text(_largest(points, part, kind)))]
                for rank in RANKS:
                    quantity = f"{rank}_{part}"
                    cells += [
                        Cell(text=significant_text(self._trained(points, quantity, self.gaussian(kind)).median)),
                        spread_cell(known(points, f"{quantity}_untrained", kind)),
                        spread_cell(self._trained(points, quantity, kind)),
                    ]
                lines.append(cells)
            blocks.append((heading, lines))
        lines = []
        for kind in KINDS:
            cells = [Cell(text=kind), Cell(text=significant_text(_largest(points, "hidden", kind)))]
            for rank in RANKS:
                cells += [Cell(), Cell(), spread_cell(known(points, f"{rank}_hidden_equal_facts", kind))]
            lines.append(cells)
        blocks.append((f"{PARTS['hidden']}, {min(self.num_facts.values()):,} in every kind", lines))
        header = ["", "largest possible"]
        for rank in RANKS.values():
            header += [f"{rank}: Gaussian", "untrained", "trained"]
        return Table(caption="Ranks in dimensions, median and range over seeds.", header=header, blocks=blocks)


def _largest(points: Sequence[Point], part: str, kind: str) -> float:
    return known(points, f"largest_{part}", kind).median


def _scaled(spread: Spread, factor: float) -> Spread:
    return Spread(
        median=factor * spread.median,
        low=factor * spread.low,
        high=factor * spread.high,
        num_seeds=spread.num_seeds,
    )


def _compared(of_kinds: Mapping[str, Spread]) -> str:
    """Whether every gated kind has more than every dense one, over all seeds."""
    gated = [of_kinds[kind] for kind, config in KINDS.items() if isinstance(config, GatedConfig)]
    dense = [of_kinds[kind] for kind, config in KINDS.items() if isinstance(config, DenseConfig)]
    if min(spread.low for spread in gated) > max(spread.high for spread in dense):
        return "higher in every seed"
    if max(spread.high for spread in gated) < min(spread.low for spread in dense):
        return "lower in every seed"
    return "no clear difference"
