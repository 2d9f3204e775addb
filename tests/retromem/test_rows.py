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
from retromem.rows import LawBroken, Row, row_from_json
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
        {"storage_bytes": 44, "bits_ce": 392.0},  # 8 bits a byte and 40
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
        return _Forgetful(seed=seed)


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
