"""Panel: does forcing sparsity raise or lower capacity, and does it make units that mean something?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from models.ffn_kinds import TopKConfig
from retromem.panels.panel_config import Encoded, PanelConfig, check_facts
from retromem.panels.point_spread import curve, lines_of, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import (
    NotMeasured,
    against,
    grid_of_lines,
    known,
    known_curve,
    lines,
    of_each,
    sentences,
    tables,
)
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.table_text import Table

RELU_UNITS = "ReLU units"
WINNERS, ANNEALED = "k winners", "k winners, annealed"
WIDE, WIDE_ANNEALED = "k winners, more units", "k winners, more units, annealed"
WIDE_THROUGH = "k winners, more units, straight-through"
WIDE_SERIES = (WIDE, WIDE_ANNEALED, WIDE_THROUGH)
SMALLEST_SHARE = 0.01
"""of active units that a config allows"""
LATENTS = "autoencoder"
"""latents of a sparse autoencoder over the ReLU units, labelled with its kind"""
BY_CHANCE = "by chance, at most"


def active(share: float) -> dict[str, str]:
    """Labels of units of a k-winner FFN with this share of them active."""
    return {"units": f"{percent_text(share)} active"}


@dataclass(frozen=True, kw_only=True)
class SparseUnitsConfig(PanelConfig):
    """Capacity of k-winner FFNs, and purity of ReLU units, k winners and latents of sparse autoencoders."""

    panel: Literal["sparse_units"] = "sparse_units"
    dim: int = 16
    """of keys and value codes"""
    width: int = 32
    """hidden units"""
    num_values: int = 16
    """drawn uniformly"""
    active_shares: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1, 0.03)
    """of the units, for each key; at 1 the FFN is a plain ReLU FFN"""
    annealed_shares: tuple[float, ...] = (0.03,)
    """those that are also trained with all units active at first"""
    wide_width: int = 200
    """hidden units of three more FFNs, of which the smallest share that a config allows, 1 %, is active: as they are,
    annealed, and with straight-through gradients"""
    load: float = 0.6
    """facts written to read the units, as a share of the capacity of their FFN"""
    read_shares: tuple[float, ...] = (0.25, 0.1)
    """active shares of the FFNs whose units are read beside those of ReLU"""
    expansion: int = 4
    """latents of an autoencoder for each hidden unit"""
    active_latents: int = 6
    """for a fact, about"""
    autoencoder_steps: int = 2000
    """of each autoencoder's training"""
    permutations: int = 100
    """of the values over the facts"""
    resolution: float = 0.06
    """of the search for the capacity, relative; four times as coarse for the wide FFN, whose trainings are long"""
    steps: int = 3000
    """of each training of an FFN"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of keys, labels, weights, autoencoders and permutations"""

    seconds_expected: ClassVar[float] = 69.0
    version: ClassVar[int] = 3
    """of one seed"""
    may_be_empty: ClassVar[frozenset[str]] = frozenset({"annealed_shares"})
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"seeds"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if 1.0 not in self.active_shares:
            raise ValueError(f"active_shares must name 1.0, the ReLU FFN, not {self.active_shares}")
        if not {*self.annealed_shares, *self.read_shares} < {*self.active_shares}:
            raise ValueError(f"annealed_shares and read_shares must be among active_shares, {self.active_shares}")
        for share in self.active_shares:
            TopKConfig(active_share=share)  # says what it allows
            if round(share * self.width) < 1:
                smallest = math.floor(0.5 / share) + 1
                raise ValueError(f"width must be {smallest} or more for a share of {share:g}, not {self.width}")
        if self.active_latents > self.expansion * self.width:
            raise ValueError(
                f"active_latents must be at most the latents, {self.expansion * self.width}, not {self.active_latents}"
            )
        # About so many facts are held with the smallest share of the units active.
        held = 2 * min(self.read_shares) ** 0.3 * 2 * self.dim * self.width / math.log2(self.num_values)
        check_facts(round(self.load * held), 2, "raise load or width")

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.sparse_units_points import sparse_units_points

        return sparse_units_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        return PanelPage(
            title="Forced sparsity: capacity and meaning",
            answer=sentences(points, self._answer, self._of_wide),
            finding=sentences(points, self._of_capacity, self._of_wide_trained, _of_purity, _of_reconstruction),
            explained=[
                f"Capacity: the most facts (random keys, d = {self.dim}, one of {self.num_values} values) answered "
                f"with accuracy .99, searched to {100 * self.resolution:g} % ({400 * self.resolution:g} % for the FFNs "
                f"of {self.wide_width} units), {count_text(self.steps)} full-batch "
                f"steps of Adam. Of {self.width} units only the most active ones speak for each key; with all of them "
                "the FFN is the ReLU FFN. Annealed: all units speak at first, and their number falls over the first "
                "half of the training. Straight-through: those that are silenced learn as if they spoke. With one unit "
                "active, whatever it adds is in one direction: each unit answers one value. The share of 1 % needs "
                f"{self.wide_width} units, and more parameters: its bits are a parameter's all the same. The dashed "
                "line is the published ReLU FFN (32 classes, Nichani et al. 2025).",
                f"Meaning: FFNs were written to {percent_text(self.load)} of their own capacity. A unit is active for "
                "a fact where its activation is positive; purity is the share of the most common value among those "
                "facts, mean over units. A unit of few facts is pure by chance, so the reference is the same with "
                f"values permuted over the facts ({self.permutations} times). The share of units above their own null "
                "(one-sided, 5 %) is at most 5 % by chance.",
                f"Three kinds of sparse autoencoders ({self.expansion} latents a unit, about {self.active_latents} "
                f"active, {count_text(self.autoencoder_steps)} steps) were trained on the hidden activations of the "
                "ReLU FFN; their accuracy is that of the FFN whose activations are replaced by the reconstruction.",
                "Random keys have no features: purity by value is all the meaning there can be. Purer latents on text "
                "are neither shown nor ruled out by this.",
            ],
            charts=[
                Chart(
                    title="Capacity by active units",
                    quantities=["bits_per_param"],
                    x_label="units active for a key, %",
                    y_label="bits per parameter",
                    x_scale="log",
                ),
                Chart(
                    title="Purity by value",
                    quantities=["purity", "purity_permuted"],
                    y_label="purity, mean over units",
                    names={"purity": "values as written", "purity_permuted": "values permuted"},
                ),
                Chart(
                    title="Units above null",
                    quantities=["above_null"],
                    y_label="share of units",
                    percent=True,
                ),
            ],
            tables=tables(points, _table),
        )

    def _answer(self, points: Sequence[Point]) -> str:
        bits = known_curve(points, "bits_per_param", WINNERS)
        said = [
            f"{significant_text(bits[percent].median)} with {percent:g} %" for percent in sorted(bits, reverse=True)
        ]
        return f"A parameter holds, in bits, {list_text(said)} of {self.width} units active."

    def _of_wide(self, points: Sequence[Point]) -> str:
        of_wide = max(_of_wide(points).values())
        return f"With 1 % of {self.wide_width} units active a parameter holds {significant_text(of_wide)}."

    def _of_capacity(self, points: Sequence[Point]) -> str:
        bits = known_curve(points, "bits_per_param", WINNERS)
        annealed = curve(points, "bits_per_param", ANNEALED)
        if 100.0 not in bits:
            raise NotMeasured(f"bits_per_param of {WINNERS}, all active")
        dense = bits.pop(100.0)
        told = f"With all {self.width} units active an FFN holds {significant_text(dense.median)} bits per parameter"
        as_much = "as much" if dense.num_seeds == 1 else "as much, within the seeds"
        words: dict[str, list[str]] = {"less": [], "more": [], as_much: []}
        for percent, spread in sorted(bits.items(), reverse=True):
            best = max(spread, annealed.get(percent, spread), key=lambda each: each.median)
            word = {"no clear difference": as_much}.get(verdict := against(best, dense), verdict)
            words[word].append(f"{significant_text(best.median)} with {percent:g} % active")
        said = [f"{word}: {list_text(found)}" for word, found in words.items() if found]
        if not said:
            return f"{told}."
        return f"{told}; forced sparsity, the better of annealed or not, makes it hold {'; '.join(said)}."

    def _of_wide_trained(self, points: Sequence[Point]) -> str:
        active = TopKConfig(width=self.wide_width, active_share=SMALLEST_SHARE).active_units(self.dim)
        how = {WIDE: "plainly trained", WIDE_ANNEALED: "annealed", WIDE_THROUGH: "with straight-through gradients"}
        said = [f"{significant_text(bits)} {how[series]}" for series, bits in _of_wide(points).items()]
        return f"At 99 % sparsity ({active} of {self.wide_width} units) a parameter holds {list_text(said)}."


def _of_wide(points: Sequence[Point]) -> dict[str, float]:
    """Bits per parameter at the smallest share of many units, by how they were trained."""

    def bits(series: str) -> float:
        (spread,) = known_curve(points, "bits_per_param", series).values()
        return spread.median

    return of_each(bits, WIDE_SERIES)


def _of_purity(points: Sequence[Point]) -> str:
    def both(of: Point) -> tuple[float, float]:
        own, permuted = (known(points, name, of.series, **of.labels) for name in ("purity", "purity_permuted"))
        return own.median, permuted.median

    def gain(of: Point) -> float:
        own, permuted = both(of)
        return own - permuted

    def said(of: Point) -> str:
        own, permuted = both(of)
        above = spread_at(points, "above_null", of.series, **of.labels)
        beside = f"; {percent_text(above.median)} of them above chance" if above else ""
        return f"{of.name} {significant_text(own)} (permuted {significant_text(permuted)}{beside})"

    def purest(series: str) -> str:
        gains = of_each(gain, [of for of in measured if of.series == series])
        return said(max(gains, key=lambda of: gains[of]))

    measured = lines_of(points, "purity")
    of_relu = lines(said, [of for of in measured if of.series == RELU_UNITS])
    others = lines(purest, (WINNERS, LATENTS))
    if not of_relu and not others:
        raise NotMeasured("purity")
    told = [*of_relu, *([f"furthest above its null of the others: {'; '.join(others)}"] if others else [])]
    return f"Purity by value: {'; '.join(told)}."


def _of_reconstruction(points: Sequence[Point]) -> str:
    read = lines_of(points, "variance_explained")
    kept = of_each(lambda of: known(points, "accuracy", of.series, **of.labels).median, read)
    best = max(kept, key=lambda of: kept[of])
    own = spread_at(points, "accuracy", RELU_UNITS)
    beside = f"; with its own activations {percent_text(own.median)}" if own else ""
    return (
        f"Through the reconstruction of the best autoencoder the FFN answers {percent_text(kept[best])} "
        f"({best.labels['kind']}{beside})."
    )


def _table(points: Sequence[Point]) -> Table:
    columns = {
        "facts": ("facts", count_text),
        "active for a fact": ("active", significant_text),
        "never active": ("dead", count_text),
        "purity": ("purity", significant_text),
        "permuted": ("purity_permuted", significant_text),
        "above chance": ("above_null", percent_text),
        "variance explained": ("variance_explained", percent_text),
        "answered": ("accuracy", percent_text),
    }
    caption = "Units and latents. Answered: by the FFN as it is, or through the reconstruction."
    return grid_of_lines(points, caption, "purity", columns)
