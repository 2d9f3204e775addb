"""Invented people with six attributes: a text set whose entropy is known exactly.

Values are drawn uniformly and independently, all but the city of work: a company has one seat, so that city follows
from the employer and adds no bits. Every city is the seat of two companies, so that it is uniform where the employer is
not known. The table of seats itself, 1,556 bits once, is counted for nobody. No encoder has read of these people, so
there is no twin: as for random keys, labels are dealt anew by seed.

Names and values are products of our own syllables. Bits a person, by default 39.62 in all:

    birth date 336 a year    birth city 128    university 192    major 100    employer 256    work city 128, given it 1
           8.39 + log2 years            7.00             7.58         6.64            8.00                          0

Shape legend: P people, A attributes, N facts, M values of an attribute, V values, E employers.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retromem.knowledge.biography_wordings import BIOGRAPHY_WORDINGS
from retromem.knowledge.from_table import fact_id
from retromem.knowledge.knowledge_set import FollowingFacts, KnowledgeSet, TextTask, content_hash
from retromem.knowledge.label_noise import LabelNoise
from retromem.knowledge.wordings import SUBJECT, VALUE
from retromem.seam import ValueTable

Attribute = Literal["birth_date", "birth_city", "university", "major", "employer", "work_city"]
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)
NUM_NAMES = 409_600
"""full names that can be drawn: naming a person takes log2 of it"""
NUM_WRITTEN = min(len(wordings.written) for wordings in BIOGRAPHY_WORDINGS.values())
"""wordings that a fact can be written in"""

_ONSETS = ("B", "C", "D", "F", "G", "H", "J", "K", "L", "M", "N", "P", "R", "S", "T", "V")
_FIRST_ENDS = ("drin", "lessa", "mund", "rik", "vanne")
_LAST_VOWELS = ("ae", "i", "o", "u")
_LAST_ENDS = (
    "bbick", "ckford", "dderan", "ffling", "ggart", "kkonen", "lquist", "mmerle",
    "nthorpe", "ppelin", "rvasky", "sselby", "ttenau", "vvero", "xley", "zzaro",
)  # fmt: skip
_CITY_STEMS = (
    "Arken", "Bromm", "Cald", "Drax", "Elgen", "Fenn", "Grell", "Holm",
    "Ister", "Jarn", "Kell", "Lorn", "Mell", "Norr", "Ost", "Quarr",
)  # fmt: skip
_CITY_ENDS = ("burgh", "dale", "ford", "haven", "minster", "mouth", "stead", "wick")
_UNIVERSITY_STEMS = ("Arbe", "Cole", "Dome", "Fira", "Ghela", "Jovi", "Luma", "Neri")
_UNIVERSITY_ENDS = ("dan", "rill", "thor")
_UNIVERSITY_KINDS = (
    "Academy", "College", "Conservatory", "Institute", "Polytechnic", "School", "Seminary", "University",
)  # fmt: skip
_MAJOR_KINDS = (
    "Applied", "Comparative", "Computational", "Experimental", "Historical",
    "Maritime", "Medical", "Social", "Theoretical", "Urban",
)  # fmt: skip
_MAJOR_FIELDS = (
    "Chemistry", "Ecology", "Economics", "Ethics", "Geography",
    "Geology", "Linguistics", "Musicology", "Physics", "Statistics",
)  # fmt: skip
_EMPLOYER_STEMS = ("Kes", "Tam", "Vol", "Zor")
_EMPLOYER_ENDS = ("dell", "pharn", "trane", "wex")
_EMPLOYER_TRADES = (
    "Airways", "Brewery", "Ceramics", "Foundry", "Glass", "Insurance", "Mining", "Motors",
    "Optics", "Pharma", "Printing", "Robotics", "Shipping", "Textiles", "Timber", "Toys",
)  # fmt: skip
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_FIRST_YEAR, _MOST_YEARS = 1900, 100


@dataclass(frozen=True, kw_only=True)
class BiographiesConfig(LabelNoise):
    """Invented people with up to six attributes, in wordings: values drawn uniformly, entropy known exactly."""

    source: Literal["biographies"] = "biographies"
    num_people: int = 1000
    """people in the whole set; each has one fact an attribute"""
    attributes: tuple[Attribute, ...] = ATTRIBUTES
    """what is known of a person; the city of work adds bits only where the employer is left out"""
    num_birth_years: int = 4
    """336 dates each. 4: softmax over 1,344 dates; 100, as in the literature: over 33,600, dear for FFNs"""
    num_written: int = 1
    """W, wordings a fact is written in, 1 to 9"""
    pool: int | None = None
    """wordings dealt to the facts, at most; all nine where empty"""
    max_calibration: int = 512
    """questions that fit (T, eps), at most"""
    seed: int = 0
    """of names, values, seats of the companies, and of the dealing of wordings"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.num_people <= NUM_NAMES:
            raise ValueError(f"num_people should be 1 to {NUM_NAMES:,}, the full names that there are")
        if not self.attributes or len(set(self.attributes)) < len(self.attributes):
            raise ValueError(f"attributes should be one or more of {', '.join(ATTRIBUTES)}, each once")
        if not 1 <= self.num_birth_years <= _MOST_YEARS:
            raise ValueError(f"num_birth_years should be 1 to {_MOST_YEARS}")
        most = NUM_WRITTEN if self.pool is None else min(self.pool, NUM_WRITTEN)
        if not 1 <= self.num_written <= most:
            raise ValueError(f"num_written should be 1 to {NUM_WRITTEN}, and no more than pool")

    def build(self) -> KnowledgeSet:
        return biographies_set(self)


def biographies_set(config: BiographiesConfig) -> KnowledgeSet:
    """People one after the other, so that a prefix of a multiple of the attributes' number holds whole people.

    Within a person the attributes stand in the order of ATTRIBUTES, whatever order the config has, so that the employer
    stands before the city of work in every prefix.
    """
    pools = _pools(config.num_birth_years)
    rng = np.random.default_rng(config.seed)
    names_P = rng.choice(NUM_NAMES, size=config.num_people, replace=False)
    # All are drawn, wanted or not: people keep their values when an attribute is left out.
    drawn = {attribute: rng.integers(len(pools[attribute]), size=config.num_people) for attribute in ATTRIBUTES[:-1]}
    seats_E = rng.permutation(len(pools["employer"])) % len(pools["work_city"])
    drawn["work_city"] = seats_E[drawn["employer"]]

    attributes = tuple(attribute for attribute in ATTRIBUTES if attribute in config.attributes)
    strings = tuple(value for attribute in attributes for value in pools[attribute])
    starts_A = np.cumsum([0, *(len(pools[attribute]) for attribute in attributes)])
    people = [_names()[name] for name in names_P.tolist()]
    subjects = tuple(name for name in people for _ in attributes)
    relation_ids_N = np.tile(np.arange(len(attributes)), config.num_people)
    drawn_PA = np.stack([drawn[attribute] for attribute in attributes], axis=1)
    value_ids_N = (drawn_PA + starts_A[:-1]).reshape(-1)
    dealt_N = np.random.default_rng([config.seed, 0xDEA1]).integers(2**40, size=len(subjects))
    wordings = tuple(
        replace(own, written=own.written[: config.pool])
        for own in (BIOGRAPHY_WORDINGS[attribute] for attribute in attributes)
    )
    identity = [people, attributes, strings, config.num_written, [own.identity for own in wordings]]
    knowledge = KnowledgeSet(
        name="biographies",
        content_hash=content_hash(
            json.dumps(identity).encode(), value_ids_N.tobytes(), seats_E.tobytes(), dealt_N.tobytes()
        ),
        values=ValueTable(strings=strings, relations=attributes, starts=tuple(starts_A.tolist())),
        uniform=True,
        all_fact_ids=np.array([fact_id(name, attribute) for name in people for attribute in attributes]),
        all_relation_ids=relation_ids_N,
        all_value_ids=value_ids_N,
        rows_N=np.arange(len(subjects)),
        text=TextTask(
            subjects=subjects,
            aliases=((),) * len(subjects),
            wordings=wordings,
            num_written=config.num_written,
            dealt_N=dealt_N,
        ),
        following=_following(attributes, starts_A, seats_E, config.num_people),
        max_calibration=config.max_calibration,
    )
    return knowledge.with_label_noise(config.label_noise)


def _following(
    attributes: tuple[Attribute, ...], starts_A: Int64[ndarray, " A1"], seats_E: Int64[ndarray, " E"], num_people: int
) -> FollowingFacts | None:
    """The cities of work, each after the employer of the same person; None where either is left out."""
    if not {"employer", "work_city"} <= set(attributes):
        return None
    employer, work_city = attributes.index("employer"), attributes.index("work_city")
    cause_PA = np.full((num_people, len(attributes)), -1)
    cause_PA[:, work_city] = np.arange(num_people) * len(attributes) + employer
    value_of_V = np.full(starts_A[-1], -1)
    value_of_V[starts_A[employer] : starts_A[employer + 1]] = starts_A[work_city] + seats_E
    return FollowingFacts(cause_A=cause_PA.reshape(-1), value_of_V=value_of_V)


def _joined(*pools: tuple[str, ...], by: str = "") -> list[str]:
    return [by.join(parts) for parts in product(*pools)]


def _name_parts() -> tuple[list[str], list[str]]:
    """First names and last names."""
    return _joined(_ONSETS, ("a", "e", "i", "o", "y"), _FIRST_ENDS), _joined(_ONSETS, _LAST_VOWELS, _LAST_ENDS)


@cache
def _names() -> list[str]:
    return [f"{one} {two}" for one, two in product(*_name_parts())]


def texts_of_people() -> list[str]:
    """Every name, every value and every wording that there can be, as far as words go: a closed vocabulary's texts."""
    pools = _pools(1)
    years = [str(_FIRST_YEAR + year) for year in range(_MOST_YEARS)]
    first, last = _name_parts()
    wordings = [
        template.replace(SUBJECT, " ").replace(VALUE, " ")
        for own in BIOGRAPHY_WORDINGS.values()
        for template in (*own.statements, *own.questions)
    ]
    return [*wordings, *first, *last, *years, *(value for values in pools.values() for value in values)]


def _pools(num_birth_years: int) -> dict[Attribute, list[str]]:
    """Attribute -> its values, in a fixed order."""
    days = tuple(str(day) for day in range(1, 29))
    years = tuple(str(_FIRST_YEAR + year) for year in range(num_birth_years))
    cities = _joined(_CITY_STEMS, _CITY_ENDS)
    return {
        "birth_date": _joined(days, _MONTHS, years, by=" "),
        "birth_city": cities,
        "university": _joined(tuple(_joined(_UNIVERSITY_STEMS, _UNIVERSITY_ENDS)), _UNIVERSITY_KINDS, by=" "),
        "major": _joined(_MAJOR_KINDS, _MAJOR_FIELDS, by=" "),
        "employer": _joined(tuple(_joined(_EMPLOYER_STEMS, _EMPLOYER_ENDS)), _EMPLOYER_TRADES, by=" "),
        "work_city": cities,
    }
