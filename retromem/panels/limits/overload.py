"""Panel: more facts than fit, and whether generalisation dips where the FFN is just full."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from models.ffn_kinds import DenseConfig, GatedConfig
from retromem.panels.limits.key_choice import KeyChoiceConfig
from retromem.panels.panel_config import Encoded, check_facts
from retromem.panels.point_spread import curve
from retromem.panels.points import PUBLISHED, Point
from retromem.panels.spread_text import known_curve, of_each, sentences
from retromem.report.numerals import list_text, percent_text, range_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread

DIM, NUM_VALUES = 16, 16
PUBLISHED_CAPACITY = {"ReLU": 2.03, "SwiGLU": 2.64}
"""bits per parameter at accuracy .99"""


@dataclass(frozen=True, kw_only=True)
class OverloadConfig(KeyChoiceConfig):
    """Keys up to many times an FFN's capacity: bits stored, accuracy, and queries with noise."""

    panel: Literal["overload"] = "overload"
    loads: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0, 8.0)
    """facts, over the capacity that was published for these settings"""
    width: int = 32
    """hidden units of the ReLU FFN; the SwiGLU FFN has its parameters at most"""
    query_noise: float = 0.1
    """length of the Gaussian noise on a query, relative to its own"""
    steps: int = 3000
    """of each training"""

    seconds_expected: ClassVar[float] = 20.0
    version: ClassVar[int] = 3
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"steps", "seeds", "query_noise"})

    def __post_init__(self) -> None:
        super().__post_init__()
        fewest = min(self.num_facts(name, load) for name in self.kinds for load in self.loads)
        check_facts(fewest, 2, "raise loads or width")

    @property
    def kinds(self) -> Mapping[str, DenseConfig | GatedConfig]:
        return {
            "ReLU": DenseConfig(kind="relu", width=self.width),
            "SwiGLU": GatedConfig(kind="swiglu", width=self.width),
        }

    def num_facts(self, name: str, load: float) -> int:
        """Of a kind at a load."""
        capacity_bits = PUBLISHED_CAPACITY[name] * self.kinds[name].num_params(DIM, DIM)
        return round(load * capacity_bits / math.log2(NUM_VALUES))

    @property
    def num_keys(self) -> int:
        return max(self.num_facts(name, max(self.loads)) for name in self.kinds)

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.overload_points import overload_points

        return overload_points(self, seed, self.chosen_keys(DIM, seed, encoded))

    def page(self, points: Sequence[Point]) -> PanelPage:
        noise = f"key noise {self.query_noise:g}"
        over_load = partial(Chart, x_label="facts, times the capacity", x_scale="log")
        return PanelPage(
            title=self.titled("Overload: beyond the capacity"),
            answer=sentences(points, _answer),
            finding=sentences(points, *(partial(_of_bits, kind=kind) for kind in self.kinds), self._of_loss),
            explained=[
                f"FFNs in 16 dimensions with about {32 * self.width:,} parameters get "
                f"{range_text(self.loads)} times as many facts of {self.key_name} (16 values) as they store of random "
                "keys at accuracy .99 (2.03 bits per parameter for ReLU, 2.64 for SwiGLU, as published), here called "
                f"their capacity, in {self.steps:,} full-batch steps of Adam each. Bits are those of cross-entropy, "
                "after temperature and prior share were fitted to the memory's answers; at most the facts' own.",
                f"Held out are the same keys with Gaussian noise of {significant_text(100 * self.query_noise)} % of "
                "their length: inputs that were never written, whose answer is known. Loss is the cross-entropy of "
                "these queries with the probabilities as trained, not fitted: a guess among 16 costs 4 bits. A double "
                "descent is a loss that falls again as more facts are written.",
                *self.explained_keys(DIM),
                "Dashed: bits published for one run of the same settings, with capacities of its own. A longer "
                "training may lift the part beyond the capacity; what is shown is these steps.",
            ],
            charts=[
                over_load(title="Bits stored", quantities=["bits_per_param"], y_label="bits per parameter"),
                over_load(
                    title="Right answers",
                    quantities=["accuracy", "accuracy_noisy"],
                    y_label="accuracy",
                    names={"accuracy": "keys as written", "accuracy_noisy": noise},
                    percent=True,
                ),
                over_load(
                    title="Loss, noisy queries",
                    quantities=["loss_noisy_bits"],
                    y_label="bits a query",
                    y_scale="log",
                ),
            ],
        )

    def _of_loss(self, points: Sequence[Point]) -> str:
        """Whether more facts ever help under noise: for each kind, by more than the seeds differ."""
        told = of_each(lambda kind: _of_noisy(points, kind), self.kinds).values()
        return f"Under key noise {self.query_noise:g} {'; '.join(told)}."


def _answer(points: Sequence[Point]) -> str:
    kinds = [series for series in PUBLISHED_CAPACITY if curve(points, "bits_per_param", series)]
    found = of_each(lambda kind: known_curve(points, "bits_per_param", kind), kinds)
    last = {kind: significant_text(bits[max(bits)].median) for kind, bits in found.items()}
    best = {kind: significant_text(max(spread.median for spread in bits.values())) for kind, bits in found.items()}
    said = [f"{last[kind]} of its {best[kind]} ({kind})" for kind in found]
    times = max(max(bits) for bits in found.values())
    return f"With {times:g} times the facts it can hold, an FFN keeps, in bits per parameter, {list_text(said)}."


def _of_bits(points: Sequence[Point], kind: str) -> str:
    """Where the most is stored, and what is left at the largest load, each beside the published number."""
    found = known_curve(points, "bits_per_param", kind)
    published = curve(points, "bits_per_param", kind, **PUBLISHED)
    best, last = max(found, key=lambda load: found[load].median), max(found)

    def told(load: float) -> str:
        beside = f" (published {significant_text(published[load].median)})" if load in published else ""
        return f"{significant_text(found[load].median)} bits per parameter{beside}"

    if best == last:
        return f"{kind} stores most, {told(best)}, at the largest load, {last:g} times its capacity."
    return f"{kind} stores most, {told(best)}, at {best:g} times its capacity, and {told(last)} at {last:g} times."


def _of_noisy(points: Sequence[Point], kind: str) -> str:
    loss = known_curve(points, "loss_noisy_bits", kind)
    falls = _largest_fall(loss)
    if falls is None:
        worst = max(loss, key=lambda load: loss[load].median)
        agreed = " that the seeds agree on" if loss[worst].num_seeds > 1 else ""
        told = f"{kind} shows no double descent{agreed}: a noisy query costs up to {_bits_text(loss, worst)}"
    else:
        before, after = (_bits_text(loss, load) for load in falls)
        told = f"{kind} shows a double descent: a noisy query costs {before} and {after}"
    right = curve(points, "accuracy_noisy", kind)
    if len(right) < 2:
        return told
    rises = _largest_fall({load: _negative(spread) for load, spread in right.items()})
    if rises is not None:
        return f"{told}, right answers rise from {_share_text(right, rises[0])} to {_share_text(right, rises[1])}"
    ends = list(dict.fromkeys(_share_text(right, load) for load in (min(right), max(right))))
    return f"{told}, right answers go from {' to '.join(ends)}"


def _largest_fall(found: Mapping[float, Spread]) -> tuple[float, float] | None:
    """The two loads between which the median falls most, if by more than the seeds differ; None where it never does.

    Only after a rise beyond the seeds: what falls from the first load on never came up, and there is no second descent.
    """
    falls = [
        (found[load].median - found[later].median, load, later)
        for load in found
        for later in found
        if later > load
        and found[load].low > found[later].high
        and any(first < load and found[first].high < found[load].low for first in found)
    ]
    return max(falls)[1:] if falls else None


def _negative(spread: Spread) -> Spread:
    return Spread(median=-spread.median, low=-spread.high, high=-spread.low, num_seeds=spread.num_seeds)


def _bits_text(loss: Mapping[float, Spread], load: float) -> str:
    return f"{significant_text(loss[load].median)} bits at {load:g} times the capacity"


def _share_text(right: Mapping[float, Spread], load: float) -> str:
    return f"{percent_text(right[load].median)} at {load:g} times"
