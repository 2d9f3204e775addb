"""A model of transformers that reads before it answers: what it reads, what is stored, what it knew without."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.decoder_budget import DecoderBudget
from retrieval.errors import Refused
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.judgement import Setting, judge, write
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import MeasureConfig
from retromem.memories.causal_lm_config import CausalLMConfig
from retromem.memories.causal_lm_memory import CausalLMMemory
from retromem.memories.reading_lm_memory import ReadingLMMemory
from retromem.seam import Part

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
SETTING = Setting(study="s", role="arm", seed=0)


class TrigramKeys:
    encoder_hash = "trigrams"

    def keys(self, texts, templates):
        vectors = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            for start in range(len(text) - 2):
                vectors[row, zlib.crc32(text[start : start + 3].encode()) % 64] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@pytest.fixture(scope="module")
def things(colours) -> KnowledgeSet:
    return colours(12, ["red", "tan", "blue"]).with_keys(TrigramKeys())


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_model, things) -> CausalLMConfig:
    facts = things.facts(statements=True)
    texts = [*facts.cues[0].texts, *facts.statements.texts]
    folder = tiny_model(tmp_path_factory.mktemp("models") / "tiny", texts)
    return CausalLMConfig(model=str(folder), write="none", reads=2)


def written(config: CausalLMConfig, things: KnowledgeSet) -> ReadingLMMemory:
    return write(config, things, setting=SETTING).memory


def scores(memory, queries) -> np.ndarray:
    candidates = np.tile(np.arange(3), (len(queries), 1))
    return memory.recall(queries, score=candidates).scored_QC


def test_the_nearest_statements_stand_before_the_question(config: CausalLMConfig, things: KnowledgeSet) -> None:
    memory, asked, facts = written(config, things), things.ask("identical"), things.facts(statements=True)
    nearest_QN = np.argsort(-asked.queries.keys_QD @ facts.statements.keys_QD.T, axis=1, kind="stable")
    read = [
        " ".join([*(facts.statements.texts[row] for row in rows), question])
        for rows, question in zip(nearest_QN[:, :2].tolist(), asked.queries.texts, strict=True)
    ]
    assert memory._with_read(asked.queries) == read
    told = replace(asked.queries, texts=read)
    closed = replace(config, reads=0).build(seed=0)
    closed.write(facts)
    assert np.allclose(scores(memory, asked.queries), scores(closed, told), atol=1e-5)
    assert memory.write_answers(asked.queries) == closed.write_answers(told)
    assert np.array_equal(scores(memory.before(), asked.queries), scores(closed, asked.queries))
    assert isinstance(memory.before(), CausalLMMemory) and memory.side == "paired"


def test_controls_read_any_statement_or_the_right_one(config: CausalLMConfig, things: KnowledgeSet) -> None:
    asked, facts = things.ask("identical"), things.facts(statements=True)
    own = dict(zip(facts.ids_N.tolist(), facts.statements.texts, strict=True))
    oracle = written(replace(config, neighbours="oracle"), things)
    oracle.reveal(dict(zip(asked.queries.texts, asked.fact_ids_Q.tolist(), strict=True)))
    for text, fact, question in zip(
        oracle._with_read(asked.queries), asked.fact_ids_Q.tolist(), asked.queries.texts, strict=True
    ):
        assert text == f"{own[fact]} {question}"
    drawn = written(replace(config, neighbours="random"), things)
    assert drawn._with_read(asked.queries) == written(replace(config, neighbours="random"), things)._with_read(
        asked.queries
    )
    assert drawn._with_read(asked.queries) != written(config, things)._with_read(asked.queries)


def test_the_folder_is_the_ledger_and_answers_alike(
    config: CausalLMConfig, things: KnowledgeSet, tmp_path: Path
) -> None:
    trained = DecoderBudget(exposures=1, batch_size=24)
    memory = written(replace(config, write="peft", training=trained, precision="float16"), things)
    memory.save(tmp_path / "saved")
    asked = things.ask("identical")
    again = ReadingLMMemory.load(tmp_path / "saved")
    assert np.allclose(scores(again, asked.queries), scores(memory, asked.queries), atol=1e-5)
    assert again._with_read(asked.queries) == memory._with_read(asked.queries)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "saved").iterdir()}
    ledger = memory.footprint()
    assert ledger.num_bytes(Part.STORAGE, Part.MAINTAIN, Part.VALUE) == sum(sizes.values())
    of_name = {holding.name: holding for holding in ledger.holdings}
    assert of_name["chunks.arrow"].part is Part.STORAGE and of_name["vectors.npy"].part is Part.MAINTAIN
    assert of_name["training_cues.json.zlib"].part is Part.MAINTAIN
    assert of_name["model"].num_bytes == memory.written.shared.num_bytes and of_name["model"].part is Part.SHARED
    assert ledger.num_params == of_name["adapter_model.safetensors"].num_params == 2 * 8 * (64 + 48)  # q and v


def test_rows_of_it_charge_the_encoder_and_the_model(config: CausalLMConfig, things: KnowledgeSet) -> None:
    assert config.needs_keys and config.stores == "statements" and config.name == "causal-lm-tiny-as-is-k2"
    encoder = EncoderCost(seconds_per_text=0.01, single_text_ms=1.0, file_bytes=90)
    measures = MeasureConfig(robustness=False, max_asked=6)
    (row,) = judge(config, things, setting=SETTING, measures=measures, encoder=encoder).rows
    shared = sum(path.stat().st_size for path in Path(config.model).iterdir())
    assert row.shared_bytes == 90 + shared and row.side == "paired" and row.num_params == 0
    assert row.write_seconds > 12 * 0.01 and row.bits_stored is not None


def test_vectors_alone_cannot_be_read(config: CausalLMConfig) -> None:
    facts = keys_set(KeysConfig()).facts()
    with pytest.raises(Refused, match="reads texts, and these facts are vectors alone"):
        config.build(seed=0).write(replace(facts, statements=facts.cues[0]))


@pytest.mark.slow
def test_trained_to_read_it_answers_of_what_it_reads(config: CausalLMConfig, things: KnowledgeSet) -> None:
    lora = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
    training = DecoderBudget(exposures=200, batch_size=12, learning_rate=1e-2, goal_nats=0.02)
    reading = replace(config, write="peft", peft=lora, training=training, neighbours="oracle", reads=1)
    row = judge(reading, things, setting=SETTING, measures=MeasureConfig(robustness=False), encoder=EncoderCost()).rows[
        0
    ]
    assert row.accuracy >= 0.95 and row.exact_match >= 0.95 and row.bits_stored > 0.5 * row.demand_bits
