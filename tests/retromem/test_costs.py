"""What a row charges, counted by hand: sixteen facts of two relations, each written in two wordings.

Ten colours (three values: two bits a label), six sizes (two values: one bit); keys of 8 dimensions; 32 cues.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.fact_table import FactRow, clean
from retromem.knowledge.from_table import text_set
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.text_keys import Template
from retromem.knowledge.wordings import Wordings
from retromem.measure.judgement import Setting, _costs, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import MeasureConfig
from retromem.memories.closed_form_memory import ClosedFormMemoryConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.hybrid_memory import HybridMemoryConfig
from retromem.memories.lexical_memory import LexicalMemoryConfig
from retromem.memories.paired_memory import PairedMemory, PairedMemoryConfig
from retromem.memories.sign_memory import SignMemoryConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.rows import Row
from retromem.seam import Facts, Memory, WriteCost

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

DIM = 8
HEADER = 128  # of a .npy file
SECONDS_A_TEXT = 0.5
SEVEN_STEPS = TrainingBudget(steps=7, goal_nats=0.0)
RELU = DenseConfig(kind="relu", width=4)
VALUES = ["blue", "green", "red", "big", "small"]


class KeysOfFacts:
    """Unit keys, random for each fact and almost the same in every wording."""

    encoder_hash = "made up"

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> np.ndarray:
        def drawn(seed: list[int]) -> np.ndarray:
            return np.random.default_rng(seed).standard_normal(DIM)

        facts = [[int("".join(filter(str.isdigit, text))), int("colour" in text)] for text in texts]
        keys_QD = np.stack(
            [drawn(fact) + 0.1 * drawn([*text.encode()]) for fact, text in zip(facts, texts, strict=True)]
        )
        return (keys_QD / np.linalg.norm(keys_QD, axis=1, keepdims=True)).astype(np.float32)


def in_two_wordings(relation: str) -> Wordings:
    return Wordings(
        statements=("{subject} has the " + relation + " {value}.",),
        written=(f"The {relation} of " + "{subject}?", f"Which {relation} has " + "{subject}?"),
        calibrate=f"Name the {relation} of " + "{subject}.",
        heldout=(f"{relation}, " + "{subject}:",),
    )


@pytest.fixture(scope="module")
def toys() -> KnowledgeSet:
    of_value = {"colour": ["red", "green", "blue", "red", "red"] * 2, "size": ["big", "small", "big"] * 2}
    rows = [
        FactRow(subject=f"toy {number}", relation=relation, value=value)
        for relation, values in of_value.items()
        for number, value in enumerate(values)
    ]
    table = clean(rows, name="toys", source="here")
    wordings = {relation: in_two_wordings(relation) for relation in of_value}
    return text_set(table, wordings, num_written=2).with_keys(KeysOfFacts())


def judged(config: Any, toys: KnowledgeSet, *, halves: bool = False, **setting: Any) -> tuple[Memory, dict[str, Row]]:
    """The memory, and phrasing -> row."""
    found = judge(
        config,
        toys,
        setting=Setting(study="study", role="arm", seed=0, halves=halves, **setting),
        measures=MeasureConfig(robustness=False),
        encoder=EncoderCost(seconds_per_text=SECONDS_A_TEXT, file_bytes=90),
        quick=True,
    )
    return found.memory, {row.phrasing: row for row in found.rows}


def saved(memory: Memory, folder: Path) -> dict[str, int]:
    """File -> bytes, of the saved folder."""
    memory.save(folder)
    return {file.name: file.stat().st_size for file in folder.iterdir()}


def written_alike(rows: dict[str, Row]) -> Row:
    """One of the rows, all of which charge the same."""
    charged = [
        "num_params", "num_active_params", "storage_bytes", "maintain_bytes", "value_bytes", "shared_bytes",
        "seeded_bytes", "resident_bytes", "write_seconds", "memory_write_seconds", "exposures", "optimizer_steps",
    ]  # fmt: skip
    assert set(rows) == {"identical", "heldout"}
    assert len({tuple(getattr(row, column) for column in charged) for row in rows.values()}) == 1
    return rows["identical"]


def texts_charged(row: Row) -> float:
    return ((row.write_seconds or 0) - (row.memory_write_seconds or 0)) / SECONDS_A_TEXT


# ---- weights -------------------------------------------------------------------------------------------------------

OUT = 6  # dimensions of the value codes
NUM_PARAMS = 4 * DIM + 4 * OUT
CODE_BYTES = 5 * OUT * 4  # of five values


@pytest.mark.parametrize(
    ("budget", "shown"),
    [(SEVEN_STEPS, 7 * 32), (replace(SEVEN_STEPS, full_batch_up_to=16, batch_size=8), 7 * 8)],
    ids=["full batch", "minibatches"],
)
@pytest.mark.parametrize(
    ("precision", "weight_bytes"),
    # A float16 scale for each output of either matrix, then the codes.
    [("float32", 4 * NUM_PARAMS), ("float16", 2 * NUM_PARAMS), ("int8", 2 * (4 + OUT) + NUM_PARAMS)],
)
def test_an_ffn_charges_every_wording(
    toys: KnowledgeSet, tmp_path: Path, budget: TrainingBudget, shown: int, precision: Any, weight_bytes: int
) -> None:
    config = FFNMemoryConfig(ffn=RELU, code_dim=OUT, precision=precision, training=budget)
    memory, rows = judged(config, toys)
    row, files = written_alike(rows), saved(memory, tmp_path / "saved")
    assert texts_charged(row) == pytest.approx(32)
    assert row.optimizer_steps == 7
    assert row.exposures == 2 * shown / 32  # of a fact, which has two cues
    # Forward 2 a weight, backward 2 for its gradient and 2 for that of its input; keys and codes want none.
    assert row.write_flops == shown * (4 * 4 * DIM + 6 * 4 * OUT + 4 * 5 * OUT)
    assert row.num_params == row.num_active_params == NUM_PARAMS
    assert files["weights.bin"] == weight_bytes
    assert files["calibration.bin"] == len(memory.calibration) > 0
    assert row.storage_bytes == weight_bytes + len(memory.calibration)
    assert row.value_bytes == len(zlib.compress(json.dumps(VALUES).encode(), 9))
    assert files["training_values.npy"] == HEADER + 8 * 16
    assert files["optimizer.npy"] == HEADER + 3 * 4 * NUM_PARAMS  # a weight before rounding, and Adam's two moments
    assert set(files) == {
        "weights.bin", "calibration.bin", "values.json.zlib",
        "training_values.npy", "optimizer.npy", "training_cues.json.zlib", "manifest.json",
    }  # fmt: skip
    assert row.maintain_bytes == sum(files.values()) - row.storage_bytes - row.value_bytes
    assert row.shared_bytes == 90
    assert row.seeded_bytes == CODE_BYTES
    assert row.resident_bytes == 4 * NUM_PARAMS + CODE_BYTES


# ---- an index ------------------------------------------------------------------------------------------------------

# Twenty colours, three fifths red, and twelve sizes, two thirds big, have 27.4 and 11.0 bits of entropy; half of it in
# statements. A stream is whole words, less zero bytes at the end.
PAYLOAD, PAYLOAD_OF_STATEMENTS = 8, 5


@pytest.mark.parametrize(
    ("config", "index", "seeded_bytes", "whole_bytes"),
    [
        (FaissMemoryConfig(), {"index.faiss": 45 + 32 * 4 * DIM}, 0, 0),
        (FaissMemoryConfig(factory="SQ8"), {"index.faiss": 81 + 8 * DIM + 32 * DIM}, 0, 0),
        (FaissMemoryConfig(factory="LSH", rotate_to=13), {"sorted_codes.bin": 32 * 13 // 8}, 8 * DIM * 13, 32 * 2),
        (
            FaissMemoryConfig(factory="PQ4x3np"),
            {"index.faiss": 86 + 4 * DIM * 8, "sorted_codes.bin": 32 * 12 // 8},
            0,
            32 * 2,
        ),
    ],
    ids=lambda given: given.name if isinstance(given, FaissMemoryConfig) else "",
)
def test_an_index_of_questions_charges_every_wording(
    toys: KnowledgeSet,
    tmp_path: Path,
    config: FaissMemoryConfig,
    index: dict[str, int],
    seeded_bytes: int,
    whole_bytes: int,
) -> None:
    """`whole_bytes`: of packed codes in memory. Sorted, they take less on disk than one after the other."""
    memory, rows = judged(config, toys)
    row, files = written_alike(rows), saved(memory, tmp_path / "saved")
    if "sorted_codes.bin" in index:
        assert 0.5 * index["sorted_codes.bin"] < files["sorted_codes.bin"] < index["sorted_codes.bin"]
        index = {**index, "sorted_codes.bin": files["sorted_codes.bin"]}
    assert texts_charged(row) == pytest.approx(32)
    assert (row.exposures, row.optimizer_steps, row.num_params) == (2, 0, 0)
    assert np.isnan(row.write_flops)
    index_bytes = sum(index.values())
    assert {name: files[name] for name in (*index, "payload.bin")} == {**index, "payload.bin": PAYLOAD}
    assert row.storage_bytes == index_bytes + PAYLOAD + len(memory.calibration)
    assert row.value_bytes == len(zlib.compress(json.dumps(VALUES).encode(), 9))
    assert (files["ids.npy"], files["vectors.npy"]) == (HEADER + 32 * 8, HEADER + 32 * 4 * DIM)
    assert set(files) == {
        *index, "payload.bin", "calibration.bin", "values.json.zlib",
        "ids.npy", "vectors.npy", "chunks.arrow", "manifest.json",
    }  # fmt: skip
    assert row.maintain_bytes == sum(files.values()) - row.storage_bytes - row.value_bytes
    assert row.seeded_bytes == seeded_bytes  # a rotation in float64
    # Labels lie in memory as int64, codes in whole bytes.
    in_memory = whole_bytes + index.get("index.faiss", 0)
    assert row.resident_bytes == in_memory + 32 * 8 + seeded_bytes


def test_an_index_of_statements_holds_one_a_fact(toys: KnowledgeSet) -> None:
    memory, rows = judged(FaissMemoryConfig(key_by="statement"), toys)
    row = written_alike(rows)
    assert texts_charged(row) == pytest.approx(16)
    assert row.storage_bytes == 45 + 16 * 4 * DIM + PAYLOAD_OF_STATEMENTS + len(memory.calibration)


# ---- a pair --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NotedPairConfig(PairedMemoryConfig):
    """A pair that notes what teaching and writing cost."""

    def build(self, *, seed: int) -> "NotedPair":
        return NotedPair(self, seed=seed)


class NotedPair(PairedMemory):
    def teach(self, facts: Facts) -> WriteCost:
        self.teaching = super().teach(facts)
        return self.teaching

    def write(self, facts: Facts) -> WriteCost:
        self.writing = super().write(facts)
        return self.writing


@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_a_pair_is_charged_for_its_lessons(toys: KnowledgeSet, tmp_path: Path, chunks: int) -> None:
    config = NotedPairConfig(ffn=RELU, code_dim=OUT, chunks=chunks, training=SEVEN_STEPS)
    memory, rows = judged(config, toys, halves=True)
    assert isinstance(memory, NotedPair)
    row, files = written_alike(rows), saved(memory, tmp_path / "saved")
    assert row.num_facts == 8
    # A question and a statement for each of the eight it is taught on, a statement for each of the eight it stores.
    assert texts_charged(row) == pytest.approx(8 * 2 + 8)
    assert row.memory_write_seconds == memory.teaching.seconds + memory.writing.seconds > memory.writing.seconds > 0
    assert (memory.teaching.exposures, memory.writing.exposures) == (7, 1)
    assert row.exposures == 7  # of a fact: those taught and those written are not the same
    assert row.optimizer_steps == 7
    inputs = DIM + chunks * (DIM + 1)  # the key, and each statement with its similarity
    num_params = 4 * inputs + 4 * OUT
    assert row.num_params == row.num_active_params == num_params
    assert np.isnan(row.write_flops)  # building an index is not counted in FLOPs
    assert memory.teaching.flops == 7 * 8 * (4 * 4 * inputs + 6 * 4 * OUT + 4 * 5 * OUT)
    index_bytes = 45 + 8 * 4 * DIM
    assert (files["index.faiss"], files["payload.bin"], files["weights.bin"]) == (index_bytes, 8, 4 * num_params)
    store_bytes = index_bytes + 8 if chunks else 0  # one that is never read is no storage
    assert row.storage_bytes == store_bytes + 4 * num_params + len(memory.calibration)
    assert row.value_bytes == len(zlib.compress(json.dumps(VALUES).encode(), 9))
    assert row.maintain_bytes == sum(files.values()) - row.storage_bytes - row.value_bytes
    assert row.seeded_bytes == CODE_BYTES
    assert row.resident_bytes == index_bytes + 8 * 8 + 4 * num_params + CODE_BYTES


# ---- the others ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "texts", "exposures"),
    [
        (FrequencyConfig(), 0, 1),
        (LexicalMemoryConfig(), 0, 2),  # words are not encoded
        (HybridMemoryConfig(), 32, 2),
        (HybridMemoryConfig(key_by="statement"), 16, 1),
        (ClosedFormMemoryConfig(method="pseudo_inverse"), 32, 2),
    ],
    ids=lambda given: given.name if hasattr(given, "name") else "",
)
def test_memories_that_take_no_step(toys: KnowledgeSet, config: Any, texts: int, exposures: int) -> None:
    row = written_alike(judged(config, toys)[1])
    assert texts_charged(row) == pytest.approx(texts)
    assert (row.exposures, row.optimizer_steps) == (exposures, 0)


@pytest.mark.parametrize("kind", [FaissMemoryConfig, LexicalMemoryConfig, HybridMemoryConfig])
@pytest.mark.parametrize("wording", [0, 1])
def test_a_chunk_in_any_wording_is_of_its_fact(toys: KnowledgeSet, kind: Any, wording: int) -> None:
    facts, memory = toys.facts(), kind().build(seed=0)
    memory.write(facts)
    found = memory.recall(facts.cues[wording], top_k=1)
    assert found.fact_ids_QK[:, 0].tolist() == facts.ids_N.tolist()
    assert found.value_ids_QK[:, 0].tolist() == facts.value_ids_N.tolist()


def test_what_lessons_and_writing_cost_is_added_up_by_hand() -> None:
    lessons = WriteCost(seconds=2.0, texts_encoded=3, flops=500.0, exposures=7.0, optimizer_steps=11, succeeded=False)
    writing = WriteCost(seconds=0.5, texts_encoded=5, flops=40.0, exposures=1.0, optimizer_steps=0, share_of_steps=0.25)
    for costs in ([lessons, writing], [writing, lessons]):
        assert _costs(costs, EncoderCost(seconds_per_text=0.25)) == {
            "memory_write_seconds": 2.5,
            "write_seconds": 2.5 + 8 * 0.25,
            "write_flops": 540.0,
            "exposures": 7.0,  # of a fact: those of the lessons are others than those that are written
            "optimizer_steps": 11,
            "succeeded": False,
            "share_of_steps": costs[-1].share_of_steps,
        }


def test_a_hybrid_holds_both_halves_in_memory(toys: KnowledgeSet) -> None:
    words, vectors, both = (
        written_alike(judged(config, toys)[1])
        for config in (LexicalMemoryConfig(), FaissMemoryConfig(), HybridMemoryConfig())
    )
    assert words.resident_bytes and vectors.resident_bytes
    labels = 32 * 8
    # Four words in each of 32 texts, a score and a number each; where the words begin, and one end, in eight bytes.
    assert words.resident_bytes - labels >= 32 * 4 * (4 + 4) + 8
    assert both.resident_bytes == vectors.resident_bytes + words.resident_bytes - labels


def test_one_bit_weights_are_charged_for_every_sweep(toys: KnowledgeSet) -> None:
    row = written_alike(judged(SignMemoryConfig(features=65), toys)[1])
    assert texts_charged(row) == pytest.approx(32)
    assert row.exposures == 2 * (row.optimizer_steps or 0) > 0


def test_a_static_function_is_charged_for_both_wordings_and_asked_in_them_alone(toys: KnowledgeSet) -> None:
    _, rows = judged(StaticFunctionConfig(), toys)
    assert set(rows) == {"identical"}
    assert texts_charged(rows["identical"]) == pytest.approx(32)
    assert (rows["identical"].exposures, rows["identical"].optimizer_steps) == (2, 0)


# ---- controls ------------------------------------------------------------------------------------------------------


def test_shuffled_answers_stay_in_their_relation_and_calibrate_too(toys: KnowledgeSet) -> None:
    """The most frequent values, which do not change, are right as often; an index that is surely wrong is not sure."""
    _, plain = judged(FrequencyConfig(), toys)
    _, null = judged(FrequencyConfig(), toys, shuffled=True)
    for phrasing in ("identical", "heldout"):
        assert null[phrasing].accuracy == plain[phrasing].accuracy == (6 + 4) / 16
        assert null[phrasing].bits_ce_clipped == pytest.approx(plain[phrasing].bits_ce_clipped) != 0
    _, plain = judged(FaissMemoryConfig(), toys)
    _, null = judged(FaissMemoryConfig(), toys, shuffled=True)
    for phrasing in ("identical", "heldout"):
        assert plain[phrasing].epsilon == 1 / 16
        assert (null[phrasing].epsilon or 0) > 0.5
