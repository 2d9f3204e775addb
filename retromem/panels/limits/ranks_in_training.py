"""Panel: how much of their rank weights and hidden activations use, along a training."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from models.any_ffn import sized
from models.ffn_kinds import DenseConfig, GatedConfig
from retromem.panels.limits.key_choice import KeyChoiceConfig
from retromem.panels.panel_config import Encoded, check_facts
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import (
    NotMeasured,
    known,
    lines,
    median_cell,
    of_each,
    sentences,
    spread_cell,
    tables,
)
from retromem.report.numerals import list_text, percent_text, range_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread, medians_text
from retromem.report.table_text import Cell, Table

KINDS: Mapping[str, DenseConfig | GatedConfig] = {
    "relu": DenseConfig(kind="relu"),
    "gelu": DenseConfig(kind="gelu"),
    "swiglu": GatedConfig(kind="swiglu"),
    "geglu": GatedConfig(kind="geglu"),
}
_SORTS = (GatedConfig, DenseConfig)
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

GIVEN, OWN = "as given", "in the encoder's own"
EQUAL_FACTS = {"at": "equal facts"}
"""labels of FFNs that hold as many facts as those of every other kind"""


@dataclass(frozen=True, kw_only=True)
class RanksInTrainingConfig(KeyChoiceConfig):
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

    seconds_expected: ClassVar[float] = 20.0
    version: ClassVar[int] = 3
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

    @property
    def num_keys(self) -> int:
        return max(self.num_facts.values())

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.ranks_in_training_points import ranks_in_training_points

        return ranks_in_training_points(self, seed, self.chosen_keys(self.dim, seed, encoded))

    def page(self, points: Sequence[Point]) -> PanelPage:
        facts = list_text([f"{kind} {num_facts:,}" for kind, num_facts in self.num_facts.items()])
        return PanelPage(
            title=self.titled("Correlated parameters: ranks along the training"),
            answer=sentences(points, self._answer),
            finding=sentences(points, self._of_kinds, self._of_gaussian, self._gated_against_dense, self._of_keys),
            explained=[
                f"{len(KINDS)} kinds of FFN with at most {self.num_params:,} parameters learn {self.key_name} in "
                f"{self.dim} dimensions, each with one of {self.num_values} values, in {max(self.at_steps):,} steps on "
                f"all facts: {facts} facts, {percent_text(self.load)} of what each held of random keys at accuracy .99 "
                "with 1,024 parameters. On the way and at the "
                "end the ranks of their matrices and of their hidden activations (less their mean) are read.",
                "Effective rank is exp of the entropy of the singular values (Roy and Vetterli 2007); participation "
                "ratio is (sum s^2)^2 / sum s^4; stable rank is sum s^2 over the largest s^2. All count dimensions; "
                "the largest possible number is the shorter side of the matrix. A gated FFN has fewer hidden units for "
                "the same parameters, so a larger share of the possible can be fewer dimensions.",
                "The reference is what a matrix of independent Gaussian numbers of the same shape has: no correlation "
                "at all (mean of 20 draws). The untrained FFN is the other one: its matrices are random, its hidden "
                "activations are not, because an activation has a preferred direction.",
                *self.explained_keys(self.dim),
                "Full rank does not mean that much is stored, nor low rank that little is: whether rank limits what "
                "is held is asked by intervention, in the panel on rank as a cause.",
            ],
            charts=[
                Chart(
                    title=title,
                    quantities=[rank],
                    labels={"part": part},
                    x_label="optimisation steps",
                    y_label=f"{RANKS[rank]}, dimensions",
                    x_scale="log",
                    series=[*KINDS, gaussian("relu"), gaussian("swiglu")],
                )
                for title, rank, part in (
                    ("Hidden activations", "participation_ratio", "hidden"),
                    ("Matrix in", "effective", "w_in"),
                    ("Matrix out", "effective", "w_out"),
                )
            ],
            tables=tables(points, self._table),
        )

    def _shares(self, points: Sequence[Point]) -> dict[str, Spread]:
        """Of the largest possible, by kind."""
        trained = self._of_hidden(points, KINDS)
        return of_each(lambda kind: _scaled(trained[kind], 1 / _largest(points, "hidden", kind)), trained)

    def _of_hidden(self, points: Sequence[Point], series: Iterable[str]) -> dict[str, Spread]:
        end = float(max(self.at_steps))
        return of_each(lambda one: known(points, "participation_ratio", one, end, part="hidden"), series)

    def _answer(self, points: Sequence[Point]) -> str:
        shares = self._shares(points)

        def said(name: str) -> str:
            sort = DenseConfig if name == "dense" else GatedConfig
            own = of_each(lambda kind: shares[kind].median, [kind for kind in shares if isinstance(KINDS[kind], sort)])
            return f"{range_text(own.values(), percent_text)} in {name} kinds"

        told = list_text(list(of_each(said, ("dense", "gated")).values()))
        return f"Of their dimensions trained hidden activations use {told} (participation ratio)."

    def _of_kinds(self, points: Sequence[Point]) -> str:
        trained = self._of_hidden(points, KINDS)
        said = of_each(
            lambda kind: (
                f"{kind} {significant_text(trained[kind].median)} of "
                f"{significant_text(_largest(points, 'hidden', kind))}"
            ),
            trained,
        )
        return (
            "Once trained, the hidden activations use this many dimensions (participation ratio): "
            f"{list_text(list(said.values()))}."
        )

    def _of_gaussian(self, points: Sequence[Point]) -> str:
        shaped = {gaussian(kind): kind for kind in ("relu", "swiglu")}
        found = self._of_hidden(points, shaped)
        said = [f"{significant_text(one.median)} in the shape of {shaped[series]}" for series, one in found.items()]
        return f"Gaussian numbers would use {list_text(said)}."

    def _of_keys(self, points: Sequence[Point]) -> str:
        """Of keys that were chosen; random ones are Gaussian numbers themselves, normalised."""

        def said(place: str) -> str:
            own, of_gaussian = (
                known(points, "participation_ratio", series, part="keys")
                for series in (place, gaussian(f"keys {place}"))
            )
            return f"{significant_text(own.median)} {place} (Gaussian numbers {significant_text(of_gaussian.median)})"

        told = list_text(list(of_each(said, (GIVEN, OWN)).values()))
        return f"The keys use this many dimensions (participation ratio): {told}."

    def _gated_against_dense(self, points: Sequence[Point]) -> str:
        measured: Mapping[str, Callable[[], Mapping[str, Spread]]] = {
            "in dimensions": lambda: self._of_hidden(points, KINDS),
            "as a share of the largest possible": lambda: self._shares(points),
            "in dimensions at equal facts": lambda: of_each(
                lambda kind: known(points, "participation_ratio", kind, part="hidden", **EQUAL_FACTS), KINDS
            ),
        }
        said = of_each(lambda what: f"{what} {_compared(measured[what]())}", measured)
        return f"Gated against dense kinds at equal parameters: {', '.join(said.values())}."

    def _table(self, points: Sequence[Point]) -> Table:
        end = float(max(self.at_steps))

        def line(part: str, kind: str, at_equal_facts: bool = False) -> list[Cell]:
            cells = [Cell(text=kind), Cell(text=significant_text(_largest(points, part, kind)))]
            for rank in RANKS:
                at = partial(spread_at, points, rank)
                if at_equal_facts:
                    cells += [Cell(), Cell(), spread_cell(at(kind, part=part, **EQUAL_FACTS))]
                else:
                    cells.append(median_cell(at(gaussian(kind), end, part=part)))
                    cells += [spread_cell(at(kind, x, part=part)) for x in (None, end)]
            return cells

        # Dense kinds have no gate.
        blocks = [(heading, lines(partial(line, part), KINDS)) for part, heading in PARTS.items()]
        equal = f"{PARTS['hidden']}, {min(self.num_facts.values()):,} in every kind"
        blocks.append((equal, lines(partial(line, "hidden", at_equal_facts=True), KINDS)))
        header = ["", "largest possible"]
        for name in RANKS.values():
            header += [f"{name}: Gaussian", "untrained", "trained"]
        return Table(caption=f"Ranks in dimensions. {medians_text(points)}", header=header, blocks=blocks)


def gaussian(like: str) -> str:
    """The series of the Gaussian matrices that are shaped like those of a kind, or like the keys."""
    return f"Gaussian, shaped like {like}"


def _largest(points: Sequence[Point], part: str, kind: str) -> float:
    return known(points, "largest", kind, part=part).median


def _scaled(spread: Spread, factor: float) -> Spread:
    median, low, high = (factor * number for number in (spread.median, spread.low, spread.high))
    return Spread(median=median, low=low, high=high, num_seeds=spread.num_seeds)


def _compared(of_kinds: Mapping[str, Spread]) -> str:
    """Whether every gated kind has more than every dense one, over all seeds; NotMeasured without both."""
    gated, dense = ([of_kinds[kind] for kind in of_kinds if isinstance(KINDS[kind], config)] for config in _SORTS)
    if not gated or not dense:
        raise NotMeasured("gated kinds beside dense ones")
    in_all = " in every seed" if gated[0].num_seeds > 1 else ""
    if min(spread.low for spread in gated) > max(spread.high for spread in dense):
        return f"higher{in_all}"
    if max(spread.high for spread in gated) < min(spread.low for spread in dense):
        return f"lower{in_all}"
    return "no clear difference"
