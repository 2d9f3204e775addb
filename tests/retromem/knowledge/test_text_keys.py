import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder_config import Prompts
from retromem.compare import collect_texts
from retromem.knowledge.fact_table import FactRow, clean
from retromem.knowledge.from_table import text_set
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.text_keys import CachedTextKeys, Template, TextCollector, TextKeys
from retromem.knowledge.wordings import Wordings
from retromem.measure.settings import MeasureConfig

ENCODER = "a-made-up-encoder"
NAMES = ("Springfield", "Santa Cruz", "San José")
BORN = Wordings(
    statements=("{subject} was born in {value}.", "{value} is where {subject} was born."),
    written=("Where was {subject} born?", "{subject} was born in", "Name the birthplace of {subject}."),
    calibrate="In which place was {subject} born?",
    heldout=("Tell me where {subject} was born.",),
)
TRADE = Wordings(
    statements=("{subject} works as a {value}.",),
    written=("What does {subject} do?",),
    calibrate=None,
    heldout=("What is the trade of {subject}?",),
)


def vector(text: str) -> np.ndarray:
    """A random unit vector for each text, the offset that all texts share left in."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    raw = np.random.default_rng(seed).standard_normal(12) + 1
    return (raw / np.linalg.norm(raw)).astype(np.float32)


class NotingCache(EmbeddingCache):
    """Notes which texts were asked of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: set[str] = set()

    def vectors(self, encoder_hash: str, texts: Sequence[str]) -> np.ndarray:
        self.asked.update(texts)
        return super().vectors(encoder_hash, texts)


def cache_of(texts: Sequence[str], folder: Path) -> NotingCache:
    cache = NotingCache(folder)
    cache.add(ENCODER, texts, np.stack([vector(text) for text in texts]), seconds=1.0)
    return cache


def people() -> KnowledgeSet:
    rows = [
        FactRow(subject=f"Someone {row}", relation=relation, value=f"{relation} {row % 4}", aliases=(f"Nick {row}",))
        for relation in ("born", "trade")
        for row in range(24)
    ]
    table = clean(rows, name="people", source="here")
    return text_set(table, {"born": BORN, "trade": TRADE}, num_written=1)


# ---- centring ------------------------------------------------------------------------------------------------------


def test_keys_are_centred_by_the_mean_of_their_wording_over_names_off_the_set(tmp_path: Path) -> None:
    template, other = Template("Where was {subject} born?"), Template("{subject} was born in")
    texts = ["Where was Ada born?", "Alan was born in", "Where was Grace born?"]
    examples = [*template.examples(NAMES), *other.examples(NAMES)]
    assert examples[:2] == ["Where was Springfield born?", "Where was Santa Cruz born?"]
    keys = CachedTextKeys(cache_of(texts + examples, tmp_path), ENCODER, centred=True, names_off_the_set=NAMES)
    made = keys.keys(texts, [template, other, template])
    for row, own in enumerate((template, other, template)):
        mean = np.mean([vector(text).astype(np.float64) for text in own.examples(NAMES)], axis=0)
        expected = vector(texts[row]) - mean
        np.testing.assert_allclose(made[row], expected / np.linalg.norm(expected), atol=1e-6)
    assert made.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, rtol=1e-6)
    assert keys.encoder_hash == ENCODER


def test_raw_keys_are_the_embeddings_and_another_encoder(tmp_path: Path) -> None:
    texts = ["Where was Ada born?"]
    keys = CachedTextKeys(cache_of(texts, tmp_path), ENCODER, centred=False, names_off_the_set=NAMES)
    np.testing.assert_array_equal(keys.keys(texts, [Template("Where was {subject} born?")])[0], vector(texts[0]))
    assert keys.encoder_hash != ENCODER


def test_the_examples_of_a_statement_take_the_values_in_turn() -> None:
    template = Template("{subject} was born in {value}.", ("Rome", "Oslo"))
    assert template.examples(NAMES) == [
        "Springfield was born in Rome.",
        "Santa Cruz was born in Oslo.",
        "San José was born in Rome.",
    ]


def test_statements_of_the_set_are_centred_by_their_own_wording_and_values(tmp_path: Path) -> None:
    knowledge = people().prefix(20)
    collector = TextCollector(NAMES)
    knowledge.with_keys(collector).facts(statements=True)
    cache = cache_of(collector.texts, tmp_path)
    statements = (
        knowledge.with_keys(CachedTextKeys(cache, ENCODER, centred=True, names_off_the_set=NAMES))
        .facts(statements=True)
        .statements
    )
    assert statements is not None and statements.texts is not None and knowledge.text is not None
    values = knowledge.values.strings or ()
    wordings_used = set()
    for text, key, row in zip(statements.texts, statements.key_vectors(), knowledge.rows_N, strict=True):
        relation = int(knowledge.all_relation_ids[row])
        of_relation = values[knowledge.values.starts[relation] : knowledge.values.starts[relation + 1]]
        subject, value = knowledge.text.subjects[row], values[knowledge.all_value_ids[row]]
        (wording,) = [
            own
            for own in (BORN, TRADE)[relation].statements
            if own.replace("{subject}", subject).replace("{value}", value) == text
        ]
        wordings_used.add(wording)
        mean = np.mean([vector(example) for example in Template(wording, of_relation).examples(NAMES)], axis=0)
        expected = vector(text) - mean
        np.testing.assert_allclose(key, expected / np.linalg.norm(expected), atol=1e-5)
    assert wordings_used == {*BORN.statements, *TRADE.statements}


# ---- what has to be encoded ----------------------------------------------------------------------------------------


def go_through(knowledge: KnowledgeSet, keys: TextKeys, *, statements: bool, halves: bool = False) -> None:
    """All that is written and asked, whole and prefix and twin."""
    for part in (knowledge.prefix(31), knowledge.twin(seed=3).prefix(31)):
        collect_texts(part.with_keys(keys), MeasureConfig(max_reworded=7), statements=statements, halves=halves, seed=3)


@pytest.mark.parametrize(("statements", "halves"), [(False, False), (True, False), (True, True)])
def test_the_collector_notes_exactly_the_texts_that_are_asked_for_later(
    tmp_path: Path, statements: bool, halves: bool
) -> None:
    collector = TextCollector(NAMES)
    go_through(people(), collector, statements=statements, halves=halves)
    assert len(collector.texts) == len(set(collector.texts)) > 80
    cache = cache_of(collector.texts, tmp_path)
    keys = CachedTextKeys(cache, ENCODER, centred=True, names_off_the_set=NAMES)
    go_through(people(), keys, statements=statements, halves=halves)
    assert cache.asked == set(collector.texts)


def test_a_text_that_was_never_encoded_is_not_made_up(tmp_path: Path) -> None:
    collector = TextCollector(NAMES)
    people().with_keys(collector).facts()
    keys = CachedTextKeys(cache_of(collector.texts[1:], tmp_path), ENCODER, centred=True, names_off_the_set=NAMES)
    with pytest.raises(AssertionError, match="never encoded"):
        people().with_keys(keys).facts()


def test_identical_questions_have_the_very_keys_written(tmp_path: Path) -> None:
    collector = TextCollector(NAMES)
    go_through(people(), collector, statements=False)
    cache = cache_of(collector.texts, tmp_path)
    for centred in (True, False):
        keys = CachedTextKeys(cache, ENCODER, centred=centred, names_off_the_set=NAMES)
        knowledge = people().prefix(31).with_keys(keys)
        written = knowledge.facts()
        asked = knowledge.ask("identical", num=9)
        np.testing.assert_array_equal(asked.queries.key_vectors(), written.cues[0].key_vectors()[:9])
        assert asked.queries.encoder_hash == written.cues[0].encoder_hash == keys.encoder_hash


# ---- prompts -------------------------------------------------------------------------------------------------------


def test_questions_and_statements_are_encoded_with_their_prompts(tmp_path: Path) -> None:
    prompts = Prompts(query="ask: ", document="tell: ")
    collector = TextCollector(NAMES, prompts)
    go_through(people(), collector, statements=True)
    assert {text.partition(" ")[0] for text in collector.texts} == {"ask:", "tell:"}
    cache = cache_of(collector.texts, tmp_path)
    keys = CachedTextKeys(cache, ENCODER, centred=True, names_off_the_set=NAMES, prompts=prompts)
    go_through(people(), keys, statements=True)
    assert cache.asked == set(collector.texts)
    question = Template("Where was {subject} born?")
    mean = np.mean([vector("ask: " + text) for text in question.examples(NAMES)], axis=0)
    expected = vector("ask: Where was Someone 3 born?") - mean
    made = keys.keys(["Where was Someone 3 born?"], [question])[0]
    np.testing.assert_allclose(made, expected / np.linalg.norm(expected), atol=1e-5)
