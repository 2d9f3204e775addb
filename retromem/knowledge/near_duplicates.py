"""Invented facts about subjects that are hard to tell apart: people of one family name, samples with neighbouring
numbers. How many stand together is a dial.

Subjects that stand together are neighbours in the set's order, so that a prefix has as large a crowd as the whole.
Values are drawn uniformly and independently; no encoder has read of any of them, so there is no twin.

Shape legend: N facts, V values.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from retromem.knowledge.biography_wordings import BIOGRAPHY_WORDINGS
from retromem.knowledge.from_table import fact_id
from retromem.knowledge.knowledge_set import KnowledgeSet, TextTask, content_hash
from retromem.knowledge.label_noise import LabelNoise
from retromem.knowledge.wordings import Wordings
from retromem.seam import ValueTable

SubjectKind = Literal["names", "numbers"]

_ONSETS = ("B", "D", "F", "G", "H", "K", "L", "M", "N", "P", "R", "S", "T", "V", "W", "Z")
_GIVEN = tuple(
    one + two + end for one, two, end in product(_ONSETS, ("a", "e", "i", "o"), ("lba", "mund", "nric", "ress", "vin"))
)
_FAMILY = tuple(
    one + two + middle + end
    for one, two, middle, end in product(
        _ONSETS,
        ("a", "e", "o", "u"),
        ("ch", "ld", "mm", "nk", "rr", "sk", "tt", "vl"),
        ("aby", "amo", "eck", "ell", "ering", "esco", "ford", "idge",
         "iken", "ino", "obar", "oski", "ov", "ton", "uard", "wick"),
    )
)  # fmt: skip
_MOST_NUMBER = 10_000_000

_SAMPLES = Wordings(
    statements=("{subject} is kept in the depot of {value}.", "The depot of {value} keeps {subject}."),
    written=(
        "Which depot keeps {subject}?",
        "In the depot of which town is {subject} kept?",
        "Name the depot that has {subject}.",
    ),
    calibrate="Where is the depot that {subject} was brought to?",
    heldout=(
        "I need {subject} by tomorrow. Which depot do I write to?",
        "A courier is to fetch {subject}: to which town does he drive?",
    ),
)
_TOWNS = tuple(
    stem + end
    for stem, end in product(
        ("Aln", "Bru", "Cors", "Dell", "Elm", "Fair", "Gold", "Hart"),
        ("bach", "bury", "combe", "dorf", "ham", "hurst", "mere", "vik"),
    )
)
_WORDINGS: Mapping[SubjectKind, tuple[str, Wordings]] = {
    "names": ("employer", BIOGRAPHY_WORDINGS["employer"]),
    "numbers": ("depot", _SAMPLES),
}


@dataclass(frozen=True, kw_only=True)
class NearDuplicatesConfig(LabelNoise):
    """People by given and family name, or samples by number, that differ in as little as the dial says."""

    source: Literal["near_duplicates"] = "near_duplicates"
    kind: SubjectKind = "names"
    """names: people with an employer; numbers: samples in a depot"""
    crowd: int = 1
    """subjects that stand together: they share a family name, or their numbers follow one another"""
    num_facts: int = 8192
    """in the whole set, one a subject"""
    num_written: int = 1
    """W, wordings a fact is written in"""
    pool: int = 1
    """wordings dealt to the facts, at most"""
    max_calibration: int = 512
    """questions that fit (T, eps), at most"""
    seed: int = 0
    """of subjects, values and the dealing of wordings"""

    def __post_init__(self) -> None:
        super().__post_init__()
        most_written = len(_WORDINGS[self.kind][1].written)
        if not 1 <= self.crowd <= len(_GIVEN):
            raise ValueError(f"crowd should be 1 to {len(_GIVEN)}, not {self.crowd}")
        if not 1 <= self.num_facts <= self.crowd * len(_FAMILY):
            raise ValueError(f"num_facts should be 1 to {self.crowd * len(_FAMILY):,} for a crowd of {self.crowd}")
        if not 1 <= self.num_written <= self.pool <= most_written:
            raise ValueError(f"num_written should be 1 or more, and no more than pool, which is at most {most_written}")

    def build(self) -> KnowledgeSet:
        return near_duplicates_set(self)


def near_duplicates_set(config: NearDuplicatesConfig) -> KnowledgeSet:
    """One fact a subject, crowd after crowd."""
    rng = np.random.default_rng([config.seed, 0x2EA2])
    subjects = (_people if config.kind == "names" else _samples)(config, rng)
    value_ids_N = rng.integers(len(_TOWNS), size=config.num_facts)
    dealt_N = rng.integers(2**40, size=config.num_facts)
    relation, wordings = _WORDINGS[config.kind]
    wordings = replace(wordings, written=wordings.written[: config.pool])
    identity = json.dumps([relation, subjects, config.num_written, wordings.identity])
    knowledge = KnowledgeSet(
        name=f"near-duplicates-{config.kind}-{config.crowd}",
        content_hash=content_hash(identity.encode(), value_ids_N.tobytes(), dealt_N.tobytes()),
        values=ValueTable(strings=_TOWNS, relations=(relation,), starts=(0, len(_TOWNS))),
        uniform=True,
        all_fact_ids=np.array([fact_id(subject, relation) for subject in subjects]),
        all_relation_ids=np.zeros(config.num_facts, dtype=np.int64),
        all_value_ids=value_ids_N,
        rows_N=np.arange(config.num_facts),
        text=TextTask(
            subjects=tuple(subjects),
            aliases=((),) * config.num_facts,
            wordings=(wordings,),
            num_written=config.num_written,
            dealt_N=dealt_N,
        ),
        max_calibration=config.max_calibration,
    )
    return knowledge.with_label_noise(config.label_noise)


def _people(config: NearDuplicatesConfig, rng: np.random.Generator) -> list[str]:
    families = rng.permutation(len(_FAMILY))[: -(-config.num_facts // config.crowd)]
    people = [
        f"{_GIVEN[given]} {_FAMILY[family]}"
        for family in families.tolist()
        for given in rng.permutation(len(_GIVEN))[: config.crowd].tolist()
    ]
    return people[: config.num_facts]


def _samples(config: NearDuplicatesConfig, rng: np.random.Generator) -> list[str]:
    runs = -(-config.num_facts // config.crowd)
    starts = rng.choice(_MOST_NUMBER // config.crowd - 1, size=runs, replace=False) * config.crowd + _MOST_NUMBER
    numbers = [start + place for start in starts.tolist() for place in range(config.crowd)]
    return [f"sample {number}" for number in numbers[: config.num_facts]]
