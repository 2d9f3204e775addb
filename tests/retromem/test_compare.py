import textwrap
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import retromem.compare
from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retrieval.embedding_cache import users_embeddings
from retrieval.encoder_config import EncoderConfig
from retrieval.errors import Refused, UserError
from retromem.compare import compare
from retromem.knowledge.fact_table import FactRow, clean
from retromem.knowledge.from_table import text_set
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.knowledge.wordings import generic_wordings
from retromem.measure.settings import MeasureConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.rows import Row

QUICK = MeasureConfig(robustness=False)
HASHED = EncoderConfig(model="hashed-trigrams")


def test_weights_and_index_are_judged_on_the_same_facts_and_questions() -> None:
    knowledge = keys_set(KeysConfig(num_facts=300, num_values=8))
    small = FFNMemoryConfig(ffn=DenseConfig(width=16), training=TrainingBudget(steps=200))
    rows = compare(knowledge, [small, FaissMemoryConfig()], num_facts=[40, 80], seeds=[0, 1], measures=QUICK)
    assert [(row.memory, row.num_facts, row.seed) for row in rows] == [
        (name, size, seed) for seed in (0, 1) for size in (40, 80) for name in ("ffn-gelu-16", "faiss-q-Flat")
    ]
    assert {row.knowledge for row in rows} == {knowledge.content_hash}
    assert {row.side for row in rows} == {"parametric", "retrieval"}
    assert {(row.phrasing, row.twin, row.num_asked == row.num_facts) for row in rows} == {("identical", False, True)}
    assert all(row.demand_bits == row.num_facts * 3 for row in rows)
    assert all(row.accuracy == 1.0 and row.chunk_at_1 == 1.0 for row in rows if row.side == "retrieval")
    for row in rows:
        assert row.accuracy is not None and row.accuracy > 0.5
        assert row.bits_ce is not None and row.storage_bytes is not None
        assert 0 < row.bits_ce <= row.num_facts * 3 + 1e-9
        assert row.bits_ce <= 8 * row.storage_bytes + 40


def test_labels_are_dealt_by_the_seed_and_a_twin_of_keys_is_no_other_arm() -> None:
    knowledge = keys_set(KeysConfig(num_facts=100, num_values=4))

    def accuracies(**options: Any) -> list[float | None]:
        rows = compare(knowledge, [FrequencyConfig()], num_facts=[50], measures=QUICK, **options)
        return [row.accuracy for row in rows]

    first, second = accuracies(seeds=[0]), accuracies(seeds=[3])
    assert len(first) == 1
    assert first != second
    assert accuracies(seeds=[0, 3], twins=[False, True]) == first + second


def test_a_size_beyond_the_set_and_an_index_that_cannot_be_trained_are_said() -> None:
    knowledge = keys_set(KeysConfig(num_facts=100))
    with pytest.raises(UserError, match="101 facts asked for"):
        compare(knowledge, [FrequencyConfig()], num_facts=[101])
    with pytest.raises(Refused, match="PQ4np"):
        compare(knowledge, [FaissMemoryConfig(factory="PQ4np")], num_facts=[50])


def people() -> KnowledgeSet:
    rows = [
        FactRow(subject=f"Person {row}", relation="trade", value=f"kind {row * row % 5}", aliases=(f"Nick {row}",))
        for row in range(40)
    ]
    table = clean(rows, name="people", source="here")
    return text_set(table, {"trade": generic_wordings("trade")})


def test_a_set_of_texts_is_encoded_and_asked_in_every_phrasing(tmp_path: Path) -> None:
    question, statement = FaissMemoryConfig(), FaissMemoryConfig(key_by="statement")
    rows = compare(
        people(),
        [question, statement],
        num_facts=[30],
        twins=[False, True],
        measures=QUICK,
        encoder=HASHED,
        cache=tmp_path,
    )
    assert {(row.memory, row.phrasing, row.twin) for row in rows} == {
        (name, phrasing, twin)
        for name in (question.name, statement.name)
        for phrasing in ("identical", "seen", "heldout", "alias")
        for twin in (False, True)
    }
    assert {row.knowledge for row in rows} == {people().content_hash}
    by_phrasing = {row.phrasing: row for row in rows if row.memory == question.name and row.twin}
    assert by_phrasing["identical"].accuracy == 1.0
    assert (by_phrasing["heldout"].accuracy or 0) > 0.8
    assert {row.shared_bytes for row in rows} == {0}  # this encoder has no files; test_cli charges the real one
    assert all((row.write_seconds or 0) > (row.memory_write_seconds or 0) for row in rows)
    assert all((row.query_ms_p50_end_to_end or 0) > (row.query_ms_p50 or 0) for row in rows)


def test_halves_of_texts_calibrate_on_facts_of_their_own(tmp_path: Path) -> None:
    knowledge = replace(people(), max_calibration=4)
    rows = compare(
        knowledge, [FaissMemoryConfig()], num_facts=[40], halves=True, measures=QUICK, encoder=HASHED, cache=tmp_path
    )
    assert {(row.num_facts, row.num_asked, row.halves) for row in rows} == {(20, 20, True)}


def test_the_example_in_the_docstring_runs() -> None:
    example = (retromem.compare.__doc__ or "").partition("\n\n")[2]
    source = "\n".join(line for line in textwrap.dedent(example).splitlines() if "pandas" not in line)
    names: dict[str, Any] = {}
    exec(source, names)
    rows: list[Row] = names["rows"]
    assert [row.memory for row in rows] == ["ffn-gelu-32", "faiss-q-Flat"]
    assert len({row.knowledge for row in rows}) == 1
    assert asdict(rows[0]).keys() == asdict(rows[1]).keys()  # a table


def test_an_encoder_of_ones_own_is_any_object_with_encode(tmp_path: Path) -> None:
    from retrieval.hashed_trigrams import hashed_trigrams

    class Letters:
        def encode(self, texts: list[str]) -> Any:
            return hashed_trigrams(texts).tolist()

    rows = [FactRow(subject=name, relation="capital", value=name[::-1]) for name in ("Oslo", "Lima", "Rome", "Suva")]
    knowledge = text_set(clean(rows, name="towns", source="here"), {"capital": generic_wordings("capital")})

    def told(encoder: Any) -> list[tuple[str, float | None, float | None]]:
        found = compare(
            knowledge, [FaissMemoryConfig()], num_facts=[4], encoder=encoder, measures=QUICK, cache=tmp_path
        )
        return [(row.phrasing, row.accuracy, row.bits_ce) for row in found]

    assert told(Letters()) == told("hashed-trigrams") == told(HASHED)


def test_vectors_are_kept_among_the_users_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever folder the code runs in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert users_embeddings() == tmp_path / "caches" / "retromem" / "embeddings"
