"""Sets that are drawn: people with attributes, and subjects that are hard to tell apart, each drawn by hand as well."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from retromem.knowledge.biographies import ATTRIBUTES, BiographiesConfig, biographies_set
from retromem.knowledge.biography_wordings import BIOGRAPHY_WORDINGS
from retromem.knowledge.from_table import fact_id
from retromem.knowledge.knowledge_set import content_hash
from retromem.knowledge.near_duplicates import NearDuplicatesConfig, near_duplicates_set

# ---- people and near duplicates ------------------------------------------------------------------------------------


def test_people_are_drawn_attribute_by_attribute() -> None:
    config = BiographiesConfig(
        num_people=40, attributes=("work_city", "university", "employer"), num_birth_years=3, num_written=2, pool=3,
        max_calibration=99, seed=6,
    )  # fmt: skip
    knowledge = biographies_set(config)
    rng = np.random.default_rng(6)
    names_P = rng.choice(409_600, size=40, replace=False).tolist()
    drawn = {
        name: rng.integers(most, size=40)
        for name, most in zip(ATTRIBUTES[:-1], (336 * 3, 128, 192, 100, 256), strict=True)
    }
    seats_E = rng.permutation(256) % 128
    assert knowledge.values.relations == ("university", "employer", "work_city"), "in the order of all attributes"
    assert knowledge.values.starts == (0, 192, 192 + 256, 192 + 256 + 128)
    assert knowledge.all_value_ids.reshape(40, 3).tolist() == [
        [int(school), 192 + int(company), 448 + int(seats_E[company])]
        for school, company in zip(drawn["university"], drawn["employer"], strict=True)
    ]
    assert knowledge.all_relation_ids.tolist() == [0, 1, 2] * 40 and knowledge.rows_N.tolist() == list(range(120))
    assert knowledge.text is not None
    onsets, last = "BCDFGHJKLMNPRSTV", 16 * 4 * 16
    first_ends, last_ends = ("drin", "lessa", "mund", "rik", "vanne"), (
        "bbick", "ckford", "dderan", "ffling", "ggart", "kkonen", "lquist", "mmerle",
        "nthorpe", "ppelin", "rvasky", "sselby", "ttenau", "vvero", "xley", "zzaro",
    )  # fmt: skip
    people = []
    for name in names_P:
        one, two = divmod(name, last)
        given = onsets[one // 25] + "aeioy"[one // 5 % 5] + first_ends[one % 5]
        family = onsets[two // 64] + ("ae", "i", "o", "u")[two // 16 % 4] + last_ends[two % 16]
        people.append(f"{given} {family}")
    assert list(knowledge.text.subjects) == [name for name in people for _ in range(3)]
    assert knowledge.text.aliases == ((),) * 120 and knowledge.text.num_written == 2
    wordings = tuple(
        replace(BIOGRAPHY_WORDINGS[name], written=BIOGRAPHY_WORDINGS[name].written[:3])
        for name in knowledge.values.relations
    )
    assert knowledge.text.wordings == wordings
    dealt_N = np.random.default_rng([6, 0xDEA1]).integers(2**40, size=120)
    assert knowledge.text.dealt_N.tolist() == dealt_N.tolist()
    assert knowledge.all_fact_ids.tolist() == [
        fact_id(name, attribute) for name in people for attribute in knowledge.values.relations
    ]
    assert (knowledge.name, knowledge.uniform, knowledge.max_calibration) == ("biographies", True, 99)
    following = knowledge.following
    assert following is not None
    assert following.cause_A.tolist() == [cause for person in range(40) for cause in (-1, -1, 3 * person + 1)]
    assert following.value_of_V.tolist() == [-1] * 192 + [448 + int(seat) for seat in seats_E] + [-1] * 128
    described = [[own.statements, own.written, own.calibrate, own.heldout] for own in wordings]
    identity = [people, knowledge.values.relations, knowledge.values.strings, 2, described]
    assert knowledge.content_hash == content_hash(
        json.dumps(identity).encode(), knowledge.all_value_ids.tobytes(), seats_E.tobytes(), dealt_N.tobytes()
    )
    # A person without its employer's fact has a city of work that is worth its own bits.
    assert knowledge.demand_bits() == pytest.approx(40 * (math.log2(192) + 8))
    cities = replace(knowledge, rows_N=np.array([2, 4, 5, 8]))
    assert cities.demand_bits() == pytest.approx(7 + 8 + 7)
    twin = knowledge.twin(seed=1)
    assert [int(twin.all_value_ids[row + 2]) for row in range(0, 120, 3)] == [
        448 + int(seats_E[int(twin.all_value_ids[row + 1]) - 192]) for row in range(0, 120, 3)
    ]
    assert not twin.is_twin
    # The very first fact may be the cause of the second.
    pairs = biographies_set(replace(config, attributes=("employer", "work_city")))
    assert pairs.following is not None
    assert pairs.following.cause_A.tolist() == [cause for person in range(40) for cause in (-1, 2 * person)]
    for dealt in (pairs, *(pairs.twin(seed=seed) for seed in range(3))):
        assert dealt.all_value_ids[1::2].tolist() == [256 + int(seats_E[value]) for value in dealt.all_value_ids[::2]]
    assert pairs.prefix(3).demand_bits() == pytest.approx(16)
    for left_out in (("work_city",), ("employer",), ("birth_date", "major")):
        assert biographies_set(replace(config, attributes=left_out)).following is None


def test_values_of_people_are_products_in_a_fixed_order() -> None:
    strings = biographies_set(BiographiesConfig(num_people=1, num_birth_years=2)).values.strings or ()
    assert strings[:5] == ("1 January 1900", "1 January 1901", "1 February 1900", "1 February 1901", "1 March 1900")
    assert strings[24] == "2 January 1900" and strings[671:674] == ("28 December 1901", "Arkenburgh", "Arkendale")
    assert strings[799:802] == ("Quarrwick", "Arbedan Academy", "Arbedan College")
    assert strings[672 + 128 + 8] == "Arberill Academy" and strings[672 + 128 + 191] == "Nerithor University"
    assert strings[992:994] == ("Applied Chemistry", "Applied Ecology") and strings[1091] == "Urban Statistics"
    assert strings[1092:1094] == ("Kesdell Airways", "Kesdell Brewery") and strings[1347] == "Zorwex Toys"
    assert strings[1348:] == strings[672:800]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_people": 0}, "num_people should be 1 to 409,600, the full names that there are"),
        ({"num_people": 409_601}, "num_people should be 1 to 409,600, the full names that there are"),
        ({"attributes": ()}, "attributes should be one or more of birth_date, "),
        ({"attributes": ("major", "major")}, "attributes should be one or more of birth_date, "),
        ({"num_birth_years": 0}, "num_birth_years should be 1 to 100"),
        ({"num_birth_years": 101}, "num_birth_years should be 1 to 100"),
        ({"num_written": 0}, "num_written should be 1 to 9, and no more than pool"),
        ({"num_written": 10}, "num_written should be 1 to 9, and no more than pool"),
        ({"num_written": 4, "pool": 3}, "num_written should be 1 to 9, and no more than pool"),
        ({"num_written": 10, "pool": 12}, "num_written should be 1 to 9, and no more than pool"),
    ],
)
def test_people_that_cannot_be_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        BiographiesConfig(**fields)  # type: ignore[arg-type]
    for most in ({"num_people": 409_600}, {"num_birth_years": 100}, {"num_written": 9}, {"num_written": 3, "pool": 3}):
        BiographiesConfig(**most)  # type: ignore[arg-type]


GIVEN = [a + b + c for a in "BDFGHKLMNPRSTVWZ" for b in "aeio" for c in ("lba", "mund", "nric", "ress", "vin")]
FAMILY = [
    a + b + c + d
    for a in "BDFGHKLMNPRSTVWZ"
    for b in "aeou"
    for c in ("ch", "ld", "mm", "nk", "rr", "sk", "tt", "vl")
    for d in [
        "aby",
        "amo",
        "eck",
        "ell",
        "ering",
        "esco",
        "ford",
        "idge",
        "iken",
        "ino",
        "obar",
        "oski",
        "ov",
        "ton",
        "uard",
        "wick",
    ]
]


def test_near_duplicates_are_crowds_of_one_family_or_of_neighbouring_numbers() -> None:
    for kind, relation in (("names", "employer"), ("numbers", "depot")):
        config = NearDuplicatesConfig(
            kind=kind,
            crowd=3,
            num_facts=20,
            num_written=2,
            pool=2,
            max_calibration=33,
            seed=7,  # type: ignore[arg-type]
        )
        knowledge = near_duplicates_set(config)
        rng = np.random.default_rng([7, 0x2EA2])
        if kind == "names":
            families = rng.permutation(len(FAMILY))[:7].tolist()
            subjects = [
                f"{GIVEN[given]} {FAMILY[family]}" for family in families for given in rng.permutation(320)[:3].tolist()
            ]
        else:
            starts = rng.choice(10_000_000 // 3 - 1, size=7, replace=False).tolist()
            subjects = [f"sample {start * 3 + 10_000_000 + place}" for start in starts for place in range(3)]
        assert knowledge.text is not None and list(knowledge.text.subjects) == subjects[:20]
        values_N, dealt_N = rng.integers(64, size=20), rng.integers(2**40, size=20)
        assert knowledge.all_value_ids.tolist() == values_N.tolist()
        assert knowledge.text.dealt_N.tolist() == dealt_N.tolist()
        assert knowledge.all_fact_ids.tolist() == [fact_id(subject, relation) for subject in subjects[:20]]
        assert knowledge.values.relations == (relation,) and knowledge.values.starts == (0, 64)
        assert (knowledge.values.strings or ())[7:10] == ("Alnvik", "Brubach", "Brubury")
        assert (knowledge.name, knowledge.uniform, knowledge.max_calibration) == (f"near-duplicates-{kind}-3", True, 33)
        assert knowledge.all_relation_ids.tolist() == [0] * 20 and knowledge.rows_N.tolist() == list(range(20))
        (wordings,) = knowledge.text.wordings
        assert len(wordings.written) == 2 == knowledge.text.num_written and knowledge.text.aliases == ((),) * 20
        described = [wordings.statements, wordings.written, wordings.calibrate, wordings.heldout]
        assert knowledge.content_hash == content_hash(
            json.dumps([relation, subjects[:20], 2, described]).encode(), values_N.tobytes(), dealt_N.tobytes()
        )
    assert (len(GIVEN), len(FAMILY)) == (320, 8192)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crowd": 0}, "crowd should be 1 to 320, not 0"),
        ({"crowd": 321}, "crowd should be 1 to 320, not 321"),
        ({"crowd": 2, "num_facts": 0}, "num_facts should be 1 to 16,384 for a crowd of 2"),
        ({"crowd": 2, "num_facts": 16_385}, "num_facts should be 1 to 16,384 for a crowd of 2"),
        ({"num_written": 0}, "num_written should be 1 or more, and no more than pool, which is at most 9"),
        ({"num_written": 2}, "num_written should be 1 or more, and no more than pool, which is at most 9"),
        ({"pool": 10}, "num_written should be 1 or more, and no more than pool, which is at most 9"),
        ({"kind": "numbers", "pool": 4}, "num_written should be 1 or more, and no more than pool, which is at most 3"),
    ],
)
def test_crowds_that_cannot_be_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        NearDuplicatesConfig(**fields)  # type: ignore[arg-type]
    for most in (
        {"crowd": 320},
        {"crowd": 2, "num_facts": 16_384},
        {"pool": 9, "num_written": 9},
        {"kind": "numbers", "pool": 3},
    ):
        NearDuplicatesConfig(**most)  # type: ignore[arg-type]
