"""Panel: whether the limits found on random keys hold on keys that a text encoder gives to real subjects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from models.any_ffn import AnyFFNConfig, sized
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig
from models.memory_kinds import ProductKeysConfig
from models.stack_kinds import StackConfig
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import against, known, of_each, sentences, tables
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage

CITIES, RANDOM, SHAPED = "cities", "random", "shaped"
GAUSSIAN, CHANCE, INDEX, CONSTRUCTED = "Gaussian", "chance", "index", "values on a line"
RELU, GELU, SWIGLU = "ReLU", "GELU", "SwiGLU"
KINDS: Mapping[str, DenseConfig | GatedConfig] = {
    RELU: DenseConfig(kind="relu"),
    GELU: DenseConfig(kind="gelu"),
    SWIGLU: GatedConfig(kind="swiglu", bias=True),  # as the construction has them
}
WRITERS: Mapping[str, AnyFFNConfig] = {
    GELU: KINDS[GELU],
    SWIGLU: KINDS[SWIGLU],
    "4 experts, top-2": ExpertsConfig(experts=4, top_k=2),
    "product keys": ProductKeysConfig(heads=2, top_k=2),
}
"""that are asked for A once B was written"""
LIMITS: Mapping[str, tuple[str, int]] = {
    "interference": ("of A right after B, of A right alone; GELU", 0),
    "relations": ("the same, B another relation of the same subjects; GELU", 0),
    "optimisation": ("facts stored by training, of those by construction; SwiGLU", 2),
    "overload": ("bits stored at the largest load, of the most at any; SwiGLU", 0),
    "ranks": ("participation ratio of hidden activations, of that of Gaussian numbers; SwiGLU", 0),
    "architecture": ("facts in the deepest stack, of those in one layer; GELU", 2),
}
"""limit -> what share it leaves, and how many searched numbers that rests on"""
KEYS = {CITIES: "keys of cities", RANDOM: "random keys"}


@dataclass(frozen=True, kw_only=True)
class EncoderKeysConfig(PanelConfig):
    """Every limit on two tables with the same dealt values: one has an encoder's keys of cities, one random keys."""

    panel: Literal["encoder_keys"] = "encoder_keys"
    num_cities: int = 1500
    """of the permuted twin; those that were dealt a rare country are left out"""
    num_in_both: int = 500
    """of these, whose time zone is asked as well"""
    dim: int = 32
    """of the keys, turned and cut to it, and of the codes of the values"""
    num_values: int = 32
    """the most common countries"""
    num_params: int = 1024
    """of each FFN or stack, at most; half of them under optimisation and overload"""
    exposures: tuple[int, ...] = (100, 1000, 3000)
    """full-batch steps of SwiGLU's trainings"""
    depths: tuple[int, ...] = (2, 4)
    """blocks of the residual stacks"""
    loads: tuple[float, ...] = (1.0, 2.0, 4.0)
    """facts under overload, times those of 1.1 bits a parameter, about what is stored of random keys"""
    steps: int = 600
    """of every other training, at most"""
    resolution: float = 0.06
    """of the searches for the capacity, relative"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of the values' dealing, of random keys, of the turn and of first weights"""

    seconds_expected: ClassVar[float] = 180.0
    version: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_values > self.dim:
            raise ValueError(f"num_values must be dim, {self.dim}, or fewer, not {self.num_values}: codes on a line")
        for name in ("loads", "exposures"):
            if len(set(getattr(self, name))) < 2:
                raise ValueError(f"{name} must name two or more, not {getattr(self, name)}")
        for kind in (*self.kinds.values(), *WRITERS.values()):
            sized(kind, self.num_params, self.dim, self.dim)  # says which one does not fit, and its smallest size

    @property
    def kinds(self) -> Mapping[str, AnyFFNConfig]:
        """Whose capacity is searched: one layer of each kind, then stacks, the deepest last."""
        stacks = {depth: StackConfig(block=KINDS[GELU], depth=depth) for depth in sorted(self.depths)}
        return {**KINDS, **{f"{depth} blocks, {GELU}": stack for depth, stack in stacks.items()}}

    @property
    def deepest(self) -> str:
        return list(self.kinds)[-1]

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        """Countries, and time zones of some of the same cities. The same texts for every seed, which deals the values
        anew."""
        countries = build_knowledge(TextConfig(source="cities")).prefix(self.num_cities)
        zones = build_knowledge(TextConfig(source="city_timezones"))
        assert countries.text is not None and zones.text is not None
        row_of = {name: row for row, name in enumerate(zones.text.subjects)}
        names = [countries.text.subjects[row] for row in countries.rows_N[: self.num_in_both].tolist()]
        rows_N = np.array([row_of[name] for name in names if name in row_of], dtype=np.int64)
        return [_as_written(one).twin(seed=seed) for one in (countries, replace(zones, rows_N=rows_N))]

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.encoder_keys_points import encoder_keys_points

        return encoder_keys_points(self, seed, [encoded(knowledge) for knowledge in self.text_sets(seed)])

    def page(self, points: Sequence[Point]) -> PanelPage:
        from retromem.panels.limits.encoder_keys_table import limits_table

        return PanelPage(
            title="The limits on an encoder's keys",
            answer=sentences(points, _stored, partial(_left, resolution=self.resolution)),
            finding=sentences(
                points,
                partial(_of_limits, resolution=self.resolution),
                partial(_of_ranks, config=self),
                partial(_of_capacity, resolution=self.resolution),
            ),
            explained=[
                f"Two tables of the same facts: cities of the permuted twin, each dealt one of the {self.num_values} "
                "most common countries. In one their keys are those that a text encoder gives to questions about them, "
                f"centred per wording and seen in {self.dim} random orthogonal directions; in the other keys are "
                "random. Number, values and how often each comes are the same, so whatever differs is the keys'.",
                f"Every FFN and stack has at most {self.num_params:,} parameters, {self.num_params // 2:,} under "
                f"optimisation and overload, and at most {self.steps:,} full-batch steps where no other number is "
                f"said. Stored is what is 99 % right, searched to {100 * self.resolution:g} %. Groups and relations "
                "are of .7 bits a parameter together; those of relations are the country and the time zone of the same "
                "cities, whose questions have keys near each other, and values of their own. Loads are multiples of "
                "1.1 bits a parameter, about what is stored of random keys in these steps; a fact is worth the log2 "
                "multinomial of the values' counts.",
                "References: the index answers by the nearest key, computed here; chance names the commonest value; "
                "the construction places the values on a line, in SwiGLU's own parameters, from the best of 3 draws; "
                "Gaussian numbers of one shape have no correlation at all. A third table tells rank from the rest: "
                "Gaussian keys with the mean and covariance of the cities' keys.",
                f"The turn to {self.dim} dimensions can make the encoder's keys more like random ones than they are in "
                "its own. One encoder, one kind of subject, one size, and settings that were tuned for none.",
            ],
            charts=[
                Chart(
                    title="Left under each limit",
                    quantities=[f"left_{keys}" for keys in KEYS],
                    y_label="share",
                    names={f"left_{keys}": name for keys, name in KEYS.items()},
                    percent=True,
                ),
                Chart(
                    title="Exposures, SwiGLU",
                    quantities=[f"exposed_{keys}" for keys in KEYS],
                    x_label="full-batch steps",
                    y_label="facts stored",
                    x_scale="log",
                    names={f"exposed_{keys}": name for keys, name in KEYS.items()},
                ),
            ],
            tables=tables(points, partial(limits_table, config=self)),
        )


def _as_written(knowledge: KnowledgeSet) -> KnowledgeSet:
    """Asked in no held-out wording and by no other name: thousands of texts less to encode."""
    assert knowledge.text is not None
    wordings = tuple(replace(one, calibrate=None, heldout=()) for one in knowledge.text.wordings)
    return replace(
        knowledge, text=replace(knowledge.text, wordings=wordings, aliases=((),) * len(knowledge.text.aliases))
    )


def left_against(points: Sequence[Point], limit: str, resolution: float) -> str:
    """Whether a limit leaves keys of cities more or less than random ones, beyond seeds and search."""
    cities, random = (known(points, f"left_{keys}", limit) for keys in KEYS)
    return against(cities, random, resolution=(1 + resolution) ** LIMITS[limit][1] - 1)


def _stored(points: Sequence[Point]) -> str:
    held = of_each(lambda keys: count_text(known(points, f"capacity_{keys}", SWIGLU).median), KEYS)
    called = {CITIES: "keys that an encoder gave to cities", RANDOM: "random keys"}
    return f"An FFN holds {list_text([f'{facts} facts of {called[keys]}' for keys, facts in held.items()])}."


def _left(points: Sequence[Point], resolution: float) -> str:
    told = {"no clear difference": "as much", "less": "less", "more": "more"}
    by_verdict: dict[str, list[str]] = {verdict: [] for verdict in told}
    for limit, verdict in of_each(lambda limit: left_against(points, limit, resolution), LIMITS).items():
        by_verdict[verdict].append(limit)
    said = [f"{told[verdict]} under {list_text(limits)}" for verdict, limits in by_verdict.items() if limits]
    return f"Beside random keys the limits leave keys of cities {', '.join(said)}."


def _of_limits(points: Sequence[Point], resolution: float) -> str:
    def said(limit: str) -> str:
        cities, random = (percent_text(known(points, f"left_{keys}", limit).median) for keys in KEYS)
        return f"{limit} {cities} and {random} ({left_against(points, limit, resolution)})"

    told = list_text(list(of_each(said, LIMITS).values()))
    return f"The limits leave this share on keys of cities and on random keys: {told}."


def _of_ranks(points: Sequence[Point], config: EncoderKeysConfig) -> str:
    turned, of_random = (known(points, f"rank_{keys}", "keys").median for keys in KEYS)
    said = (
        f"Keys of cities have a participation ratio of {significant_text(turned)} in {config.dim} dimensions, random "
        f"keys {significant_text(of_random)}"
    )
    own, own_gaussian = (spread_at(points, "encoder_rank", series) for series in (CITIES, GAUSSIAN))
    if own and own_gaussian:
        said += (
            f" (in the encoder's own {significant_text(own.median)}, Gaussian {significant_text(own_gaussian.median)})"
        )
    return f"{said}."


def _of_capacity(points: Sequence[Point], resolution: float) -> str:
    """Whether the covariance of the keys is what makes the difference."""
    cities, random, shaped = (known(points, f"capacity_{keys}", SWIGLU) for keys in (CITIES, RANDOM, SHAPED))
    differs = against(cities, random, resolution=resolution)
    as_cities, as_random = (against(shaped, one, resolution=resolution) for one in (cities, random))
    if differs == "no clear difference":
        cause = "no clear difference that a rank could explain"
    elif as_cities == "no clear difference" and as_random == differs:
        cause = "the covariance of the keys explains the difference"
    elif as_cities != "no clear difference" and as_random == "no clear difference":
        cause = "the covariance of the keys does not explain the difference"
    else:
        cause = "whether their covariance explains the difference cannot be told"
    return (
        f"SwiGLU stores {count_text(cities.median)} facts of cities, {count_text(random.median)} of random keys and "
        f"{count_text(shaped.median)} of Gaussian keys with the cities' covariance: {cause}."
    )
