import csv
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import MeasureConfig
from retromem.memories.static_function import StaticFunction, StaticFunctionConfig
from retromem.report.sides import Group, group_of
from retromem.rows import COLUMNS, LawBroken, Row, row_from_json, rows_to_csv, to_csv
from retromem.seam import Footprint, Holding, Part

SOUND = Row(
    study="s", side="retrieval", memory="m", role="arm", family="f", stores="questions", knowledge="k",
    knowledge_name="n", twin=False, uniform=True, num_facts=100, seed=0, phrasing="identical", num_asked=100,
    accuracy=1.0, demand_bits=400.0, bits_ce=400.0, bits_argmax=400.0, storage_bytes=45,
)  # fmt: skip


@pytest.mark.parametrize(
    "broken, said",
    [
        ({"bits_ce": 401.0}, "bits_ce is 401, and the demand is 400.0 bits"),
        ({"bits_argmax": 400.1}, "bits_argmax is 400, and the demand"),
        ({"demand_bits": None}, "the demand is None"),
        ({"accuracy": 1.01}, "accuracy is 1.01, and a share is 0 to 1"),
        ({"storage_bytes": 44}, "400 bits from 44 storage bytes, more than 8 a byte"),
        ({"storage_bytes": 44, "uniform": False, "twin": True}, "more than 8 a byte"),
        ({"shuffled": True}, "400 bits of answers that were shuffled"),
        ({"side": "weights"}, "side is 'weights', none of parametric, retrieval"),
        ({"role": "judge"}, "role is 'judge', none of arm, control"),
        ({"phrasing": "verbatim"}, "phrasing is 'verbatim', none of identical"),
        ({"stores": "vectors"}, "stores is 'vectors', none of questions, statements"),
    ],
)
def test_a_row_that_breaks_a_law_cannot_be_made(broken: dict[str, Any], said: str) -> None:
    with pytest.raises(LawBroken, match=said):
        replace(SOUND, **broken)
    with pytest.raises(LawBroken, match=said):  # nor read
        row_from_json(asdict(SOUND) | broken)


@pytest.mark.parametrize(
    "allowed",
    [
        {"storage_bytes": 44, "uniform": False},  # an encoder may know real values
        {"storage_bytes": 44, "bits_ce": 392.0},  # 8 bits per byte and 40
        {"storage_bytes": 20, "num_asked": 50},  # what was asked of 100 facts is worth 200 bits
        {"shuffled": True, "bits_ce": 40.0},
        {"storage_bytes": None},
    ],
)
def test_what_the_laws_allow(allowed: dict[str, Any]) -> None:
    replace(SOUND, **allowed)


class _Forgetful(StaticFunction):
    """Says that it weighs a byte less than it saves."""

    def footprint(self) -> Footprint:
        return Footprint((*super().footprint().holdings, Holding(name="forgotten", part=Part.STORAGE, num_bytes=-1)))


class _ForgetfulConfig(StaticFunctionConfig):
    def build(self, *, seed: int) -> StaticFunction:
        return _Forgetful(self, seed=seed)


def test_a_ledger_that_is_not_its_folder_is_refused() -> None:
    knowledge = keys_set(KeysConfig(num_facts=32)).prefix(32)
    with pytest.raises(LawBroken, match=r"footprint says ([\d,]+) bytes, and what it saves has"):
        judge(
            _ForgetfulConfig(),
            knowledge,
            setting=Setting(study="s", role="floor", seed=0),
            measures=MeasureConfig(robustness=False),
            encoder=EncoderCost(),
        )


def test_what_a_memory_stores_decides_its_group_and_not_its_name() -> None:
    for family in ("bm25-q", "hybrid-q", "my-own"):
        assert group_of(replace(SOUND, family=family)) is Group.INDEX
        assert group_of(replace(SOUND, family=family, stores="statements")) is Group.TEXT_INDEX


def test_nothing_saved_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    setting = Setting(study="s", role="floor", seed=0)
    judge(
        StaticFunctionConfig(),
        keys_set(KeysConfig(num_facts=32)).prefix(32),
        setting=setting,
        measures=MeasureConfig(robustness=False),
        encoder=EncoderCost(),
    )
    assert not list(tmp_path.iterdir())


def test_rows_as_lines_with_every_kind_of_value() -> None:
    short = replace(
        SOUND, twin=True, accuracy=1 / 3, bits_ce=123456789.0, demand_bits=1e9, storage_bytes=10**9,
        write_flops=float("nan"), memory='a "b", c', succeeded=False, bits_argmax=None,
        exposures=0.0, num_params=0, seed=12345678,
    )  # fmt: skip
    header, line, empty = rows_to_csv([short]).split("\n")
    assert header.split(",") == list(COLUMNS) and empty == ""
    fields_of_line = next(csv.reader([line]))
    told = dict(zip(COLUMNS, fields_of_line, strict=True))
    assert {name: text for name, text in told.items() if text} == {
        "study": "s", "side": "retrieval", "memory": 'a "b", c', "role": "arm", "family": "f", "stores": "questions",
        "knowledge": "k", "knowledge_name": "n", "twin": "true", "uniform": "true", "shuffled": "false",
        "num_facts": "100", "seed": "12345678", "phrasing": "identical", "halves": "false", "num_asked": "100",
        "accuracy": "0.333333", "demand_bits": "1e+09", "bits_ce": "1.23457e+08", "storage_bytes": "1000000000",
        "exposures": "0", "num_params": "0", "succeeded": "false",
    }  # fmt: skip
    assert '"a ""b"", c"' in line
    assert to_csv([SOUND, short], ["seed", "twin"]) == "seed,twin\n0,false\n12345678,true\n"
    assert rows_to_csv([]) == header + "\n"


@pytest.mark.parametrize(
    ("at_the_edge", "beyond"),
    [
        ({"accuracy": 0.0}, {"accuracy": -0.001}),
        ({"chunk_at_1": 1.0}, {"chunk_at_1": 1.001}),
        ({"accuracy_noise_10": 0.0}, {"accuracy_noise_10": -0.5}),
        ({"slots_used": 1.0}, {"slots_used": 1.5}),
        ({"bits_ce": 0.0}, {"bits_ce": -0.001}),
        ({"bits_argmax": 400.0 * (1 + 1e-9)}, {"bits_argmax": 400.0 * (1 + 3e-9)}),
        ({"bits_at_tau": 400.0}, {"bits_at_tau": 400.1}),
        # Of 45 bytes 360 bits, and 40; of the half that was asked half of the bits.
        ({"storage_bytes": 45}, {"storage_bytes": 44}),
        ({"storage_bytes": 20, "num_asked": 50}, {"storage_bytes": 19, "num_asked": 50}),
        # More questions than facts are worth no more.
        ({"storage_bytes": 45, "num_asked": 200}, {"storage_bytes": 44, "num_asked": 200}),
        ({"shuffled": True, "bits_ce": 40.0}, {"shuffled": True, "bits_ce": 40.1}),
        ({"shuffled": True, "bits_ce": 80.0, "num_asked": 50}, {"shuffled": True, "bits_ce": 80.2, "num_asked": 50}),
        ({"storage_bytes": 0, "num_asked": 0}, {"storage_bytes": 0, "num_asked": 100}),
        ({"storage_bytes": 0, "bits_ce": None}, {"storage_bytes": 0, "bits_ce": 41.0}),
        ({"storage_bytes": 0, "uniform": False}, {"storage_bytes": 0, "uniform": False, "twin": True}),
        ({"phrasing": ""}, {"phrasing": "none"}),
    ],
)
def test_laws_hold_up_to_their_edge(at_the_edge: dict[str, Any], beyond: dict[str, Any]) -> None:
    replace(SOUND, **at_the_edge)
    with pytest.raises(LawBroken, match="^s, m, 100 facts, "):
        replace(SOUND, **beyond)
