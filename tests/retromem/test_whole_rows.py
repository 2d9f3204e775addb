"""Whole rows: every column of what is judged, put together again from the memory that was left."""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest

from models.expert_kinds import ExpertsConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.from_table import text_set
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.text_keys import Template
from retromem.knowledge.wordings import Wordings
from retromem.measure import bits
from retromem.measure.judgement import Judged, Setting, floor_lines, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.robustness import flip90, sigma90, with_key_noise
from retromem.measure.settings import CapacitySearch, MeasureConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemory, FFNMemoryConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.rows import Row
from retromem.seam import Asked, Memory, Part

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

ENCODER = EncoderCost(seconds_per_text=0.25, single_text_ms=3.0, file_bytes=77)
MEASURES = MeasureConfig(max_asked=45, max_reworded=33, max_disturbed=40)


class NearKeys:
    """A key for each subject and relation, and a fifth of another for each wording: not all nearest are right."""

    encoder_hash = "near"

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> np.ndarray:
        def drawn(text: str) -> np.ndarray:
            return np.random.default_rng(list(text.encode())).standard_normal(6)

        keys_QD = np.array([drawn(" ".join(sorted(text.split())[-2:])) + 0.4 * drawn(text) for text in texts])
        return (keys_QD / np.linalg.norm(keys_QD, axis=1, keepdims=True)).astype(np.float32)


def things() -> KnowledgeSet:
    """Sixty facts: forty colours of five, twenty sizes of three, unevenly; a third have another name."""
    relations = ("zcolour",) * 40 + ("zsize",) * 20
    values = [f"c{min(4, number % 7)}" for number in range(40)] + [f"s{number % 7 % 3}" for number in range(20)]
    table = FactTable(
        name="things",
        subjects=tuple(f"zz{number}" for number in range(60)),
        relations=relations,
        values=tuple(values),
        popularity=None,
        aliases=tuple((f"zy{number}",) if number % 3 == 0 else () for number in range(60)),
        dropped={},
        attribution=None,
        notes=(),
    )
    wordings = {
        relation: Wordings(
            statements=("{subject} has " + relation + " {value}.",),
            written=(f"What {relation} {{subject}}", f"Name {relation} {{subject}}", f"Ask {relation} {{subject}}"),
            calibrate=f"Give {relation} {{subject}}",
            heldout=(f"Say {relation} {{subject}}",),
        )
        for relation in ("zcolour", "zsize")
    }
    return text_set(table, wordings, num_written=2).with_keys(NearKeys())


THINGS = things()


@pytest.fixture(autouse=True)
def quick_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not looked at here: few answers are timed."""
    monkeypatch.setattr("retromem.measure.latency._REPEATS", 2)
    monkeypatch.setattr("retromem.measure.latency._WARM_UP", 1)


def fitted(memory: Memory, asked: Asked, num_facts: int) -> bits.Calibration:
    fit = bits.CalibrationFit(num_facts=num_facts)
    for _ in range(fit.num_passes):
        for relation in range(2):
            rows = np.flatnonzero(asked.queries.relation_ids_Q == relation)
            own = THINGS.values.candidates(relation)
            recall = memory.recall(asked.queries.rows(rows), top_k=1, score=np.tile(own, (len(rows), 1)))
            fit.add(recall.scored_QC.astype(np.float64), asked.value_ids_Q[rows] - own[0], asked.prior_Q[rows])
        fit.end_pass()
    return fit.result


def answered_by(memory: Memory, asked: Asked, calibration: bits.Calibration, num_facts: int) -> dict[str, float | None]:
    """The columns of what was answered."""
    recall = memory.recall(asked.queries, top_k=1, score=np.tile(np.arange(8), (len(asked), 1)))
    own_QV = np.array([[1] * 5 + [0] * 3, [0] * 5 + [1] * 3])[asked.queries.relation_ids_Q] == 1
    weights_QV = np.where(own_QV, np.exp(recall.scored_QC.astype(np.float64) / calibration.temperature), 0)
    probability_Q = np.take_along_axis(weights_QV, asked.value_ids_Q[:, None], axis=1)[:, 0] / weights_QV.sum(axis=1)
    log2_p_Q = np.log2((1 - calibration.epsilon) * probability_Q + calibration.epsilon * asked.prior_Q)
    right_Q = recall.value_ids_QK[:, 0] == asked.value_ids_Q
    demand, candidates_Q = THINGS.demand_bits(), own_QV.sum(axis=1)
    return {
        "num_asked": len(asked),
        "accuracy": float(right_Q.mean()),
        "temperature": calibration.temperature,
        "epsilon": calibration.epsilon,
        "bits_ce": max(0.0, demand + float(log2_p_Q.sum()) * num_facts / len(asked)),
        "bits_argmax": bits.bits_argmax(demand, right_Q, candidates_Q, num_facts),
        "bits_ce_clipped": float(np.maximum(0, np.log2(candidates_Q) + log2_p_Q).sum()) * num_facts / len(asked),
        "bits_at_tau": None,  # these values were not drawn uniformly
        "chunk_at_1": None
        if recall.fact_ids_QK is None
        else float((recall.fact_ids_QK[:, 0] == asked.fact_ids_Q).mean()),
    }


def compared(found: Row, wanted: dict[str, object]) -> None:
    """Every column but the clock's."""
    of_the_clock = (
        "write_seconds", "memory_write_seconds", "query_ms_p50", "query_ms_p95", "query_ms_p50_end_to_end",
        "queries_per_second", "queries_per_second_end_to_end",
    )  # fmt: skip
    row = {name: value for name, value in asdict(found).items() if name not in of_the_clock}
    assert set(row) == set(wanted)
    for name, value in wanted.items():
        if isinstance(value, float):
            assert row[name] == pytest.approx(value, rel=1e-5, abs=1e-5, nan_ok=True), name
        else:
            assert row[name] == value and type(row[name]) is type(value), name


NAMED = {
    "study": "toys", "role": "control", "knowledge": THINGS.content_hash, "knowledge_name": "things", "twin": False,
    "uniform": False, "shuffled": False, "num_facts": 60, "seed": 5, "halves": False, "shared_bytes": 77,
    "succeeded": True, "demand_bits": float(THINGS.demand_bits()), "bits_stored": None,
    "accuracy_noise_10": None, "sigma90": None, "flip90": None, "slots_used": None, "slot_kl_bits": None,
    "share_of_steps": None, "smallest_for": "", "smallest_tau": None, "dial_setting": None,
    "exact_match": None, "num_embedding_params": None,
}  # fmt: skip


def judged(config: FFNMemoryConfig | FaissMemoryConfig) -> Judged:
    setting = Setting(study="toys", role="control", seed=5)
    return judge(
        config,
        THINGS,
        setting=setting,
        measures=MEASURES,
        encoder=ENCODER,
    )


def rows_are_whole(found: Judged, wanted: dict[str, object], identical: dict[str, object]) -> None:
    memory = found.memory
    as_written = fitted(memory, THINGS.ask("identical", num=512), 60)
    otherwise = fitted(memory, THINGS.ask("calibrate"), 60)
    assert memory.calibration == as_written.to_bytes() + otherwise.to_bytes()
    phrasings = ("identical", "seen", "heldout", "alias")
    assert [row.phrasing for row in found.rows] == list(phrasings)
    assert [row.num_asked for row in found.rows] == [45, 33, 33, 20]
    footprint = memory.footprint()
    weighed = {
        "num_params": footprint.num_params,
        "num_active_params": footprint.num_active_params,
        "storage_bytes": footprint.storage_bytes,
        "maintain_bytes": footprint.num_bytes(Part.MAINTAIN),
        "value_bytes": footprint.num_bytes(Part.VALUE),
        "seeded_bytes": footprint.num_bytes(Part.SEEDED),
        "resident_bytes": footprint.resident_bytes,
    }
    assert len(set(weighed.values())) >= 5
    for row in found.rows:
        num = 45 if row.phrasing == "identical" else 33
        asked = THINGS.ask(row.phrasing, num=num)
        scored = answered_by(memory, asked, as_written if row.phrasing == "identical" else otherwise, 60)
        worth = float(scored["bits_ce"] or 0)
        compared(
            row,
            {
                **NAMED,
                **weighed,
                **wanted,
                **scored,
                "phrasing": row.phrasing,
                "bits_per_param": worth / footprint.num_params if footprint.num_params else None,
                "bits_per_byte": worth / (footprint.storage_bytes or 1),
                **(identical if row.phrasing == "identical" else {}),
            },
        )
        assert row.write_seconds == pytest.approx((row.memory_write_seconds or 0) + 120 * 0.25)
        assert row.query_ms_p50_end_to_end == pytest.approx((row.query_ms_p50 or 0) + 3)
    assert len({row.accuracy for row in found.rows}) >= 3  # the phrasings can be told apart


def test_every_column_of_an_index() -> None:
    found = judged(FaissMemoryConfig(chunks=3, temperature=0.1))
    memory, disturbed = found.memory, THINGS.ask("identical", num=40)
    noisy = with_key_noise(disturbed, 0.1, seed=5)
    right_Q = memory.recall(noisy.queries, top_k=1).value_ids_QK[:, 0] == noisy.value_ids_Q
    broken = flip90(memory, disturbed, seed=5)
    assert broken is not None
    wanted = {
        "side": "retrieval", "memory": "faiss-q-Flat-k3", "family": "faiss-q", "stores": "questions",
        "precision": None, "device": "cpu", "exposures": 2.0, "optimizer_steps": 0, "write_flops": math.nan,
    }  # fmt: skip
    identical = {"accuracy_noise_10": float(right_Q.mean()), "flip90": broken}
    rows_are_whole(found, wanted, identical)


def test_every_column_of_weights() -> None:
    ffn = ExpertsConfig(experts=3, width=9, top_k=1)
    config = FFNMemoryConfig(ffn=ffn, precision="float16", training=TrainingBudget(steps=120, goal_nats=0.0))
    found = judged(config)
    memory, disturbed = found.memory, THINGS.ask("identical", num=40)
    assert isinstance(memory, FFNMemory)
    noisy = with_key_noise(disturbed, 0.1, seed=5)
    right_Q = memory.recall(noisy.queries, top_k=1).value_ids_QK[:, 0] == noisy.value_ids_Q
    counts_S = memory.slot_counts(THINGS.ask("identical", num=45).queries)
    assert counts_S is not None
    share_S = counts_S[counts_S > 0] / counts_S.sum()
    wanted = {
        "side": "parametric", "memory": config.name, "family": config.family, "stores": "questions",
        "precision": "float16", "device": memory.trained_on, "exposures": 240.0, "optimizer_steps": 120,
        "write_flops": 120.0 * 120 * (ffn.training_flops(6, 6) + 4 * 8 * 6),
    }  # fmt: skip
    identical = {
        "accuracy_noise_10": float(right_Q.mean()),
        "sigma90": sigma90(memory, disturbed, seed=5),
        "flip90": flip90(memory, disturbed, seed=5),
        "slots_used": float((counts_S > 0).mean()),
        "slot_kl_bits": float((share_S * np.log2(3 * share_S)).sum()),
    }
    rows_are_whole(found, wanted, identical)


def test_exact_keys_are_asked_and_calibrated_as_written_alone() -> None:
    found = judge(
        StaticFunctionConfig(),
        THINGS,
        setting=Setting(study="toys", role="floor", seed=5),
        measures=MEASURES,
        encoder=ENCODER,
    )
    (row,) = found.rows
    as_written = fitted(found.memory, THINGS.ask("identical", num=512), 60)
    assert found.memory.calibration == 2 * as_written.to_bytes()
    assert (row.phrasing, row.accuracy, row.num_asked, row.side) == ("identical", 1.0, 45, "floor")


@pytest.mark.parametrize("uniform", [False, True])
def test_every_column_of_the_floors(uniform: bool) -> None:
    knowledge = replace(THINGS, uniform=uniform)
    found = floor_lines(knowledge, setting=Setting(study="toys", role="control", seed=5), encoder=ENCODER)
    demand = float(knowledge.demand_bits())
    if uniform:
        assert demand == pytest.approx(40 * math.log2(5) + 20 * math.log2(3))
    empty = {name: None for name in asdict(found[0])}
    for row, name, size in zip(
        found, ("floor-entropy", "floor-known-0.01"), (demand / 8, (demand + 60 * math.log2(100)) / 8), strict=True
    ):
        wanted = {
            **empty, **NAMED, "uniform": uniform, "side": "floor", "memory": name, "role": "floor", "family": "floor",
            "stores": "questions", "phrasing": "", "succeeded": None, "demand_bits": demand,
            "storage_bytes": math.ceil(size),
        }  # fmt: skip
        assert asdict(row) == wanted


# ---- settings ------------------------------------------------------------------------------------------------------


def test_settings_at_their_edges() -> None:
    assert [MEASURES.most(phrasing) for phrasing in ("identical", "seen", "heldout", "alias")] == [45, 33, 33, 33]
    assert MeasureConfig().most("identical") is None
    MeasureConfig(max_asked=1, max_reworded=1, max_disturbed=1)
    for name in ("max_asked", "max_reworded", "max_disturbed"):
        with pytest.raises(ValueError, match="max_asked, max_reworded and max_disturbed must be 1 or more"):
            MeasureConfig(**{name: 0})
    CapacitySearch(low=1, high=1, accuracy=1.0, resolution=1e-300)
    for wrong in ({"low": 0}, {"low": 8, "high": 7}):
        with pytest.raises(ValueError, match="low must be 1 or more, and high no less"):
            CapacitySearch(**wrong)
    for share in (0.0, 1.001):
        with pytest.raises(ValueError, match=f"accuracy must be more than 0 and at most 1, not {share:g}"):
            CapacitySearch(accuracy=share)
    for width in (0.0, math.inf, -0.5):
        with pytest.raises(ValueError, match=f"resolution must be more than 0, not {width:g}"):
            CapacitySearch(resolution=width)
