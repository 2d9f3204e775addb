"""What is said of facts before a run and once keys exist; the ceiling of equal keys is counted by hand and by force."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retromem.knowledge.fact_remarks import left_out, one_key, several_values, shared_keys
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.knowledge.text_keys import CachedTextKeys, TextCollector
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.run.experiment import ArmsConfig, ExperimentConfig, MeasureConfig, StudyConfig
from retromem.run.report_run import read_plan
from retromem.run.run_experiment import run_experiment
from retromem.seam import Asked, Facts, Queries, ValueTable

# Letters that differ in case have one vector each: of three Balovias one value can be right, of two Ostras both.
ROWS = [
    ("Balovia", "Norway"),
    ("BALOVIA", "Chad"),
    ("balovia", "Peru"),
    ("Ostra", "Chad"),
    ("OSTRA", "Chad"),
    ("Ilmen", "Peru"),
    ("Twice", "Peru"),
    ("Twice", "Chad"),
]


def saved(folder: Path) -> TextConfig:
    """In one wording: facts in several have other keys."""
    path, phrasings = folder / "case.csv", folder / "phrasings.yaml"
    phrasings.write_text("country:\n  statement: '{subject} lies in {value}'\n  seen: ['Where is {subject}?']\n")
    lines = [f"{subject},country,{value}\n" for subject, value in ROWS]
    path.write_text("subject,relation,value\n" + "".join(lines) + "Empty,country,\n")
    return TextConfig(source="file", file=str(path), phrasings=str(phrasings))


def facts_of(keys_ND: np.ndarray, relations_N: np.ndarray, values_N: np.ndarray) -> Facts:
    cue = Queries(texts=None, keys_QD=keys_ND.astype(np.float32), relation_ids_Q=relations_N, encoder_hash="")
    num = len(values_N)
    asked = Asked(
        queries=cue, phrasing="calibrate", fact_ids_Q=np.arange(num), value_ids_Q=values_N, prior_Q=np.ones(num)
    )
    values = ValueTable(strings=None, relations=("a", "b"), starts=(0, 4, 8))
    return Facts(
        ids_N=np.arange(num) * 16, value_ids_N=values_N, cues=[cue], statements=None, calibration=asked, values=values
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=30))
def test_the_ceiling_is_that_of_brute_force(rows: list[tuple[int, int, int]]) -> None:
    names = np.random.default_rng(3).standard_normal((5, 24))
    names /= np.linalg.norm(names, axis=1, keepdims=True)
    noise = np.random.default_rng(4).uniform(-1e-7, 1e-7, (len(rows), 24))  # as of a text in another batch
    name_N, relation_N, value_N = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    value_N = value_N + 4 * relation_N
    by_key: dict[tuple[int, int], list[int]] = {}
    for name, relation, value in zip(name_N.tolist(), relation_N.tolist(), value_N.tolist(), strict=True):
        by_key.setdefault((name, relation), []).append(value)
    num_right = sum(max(Counter(values).values()) for values in by_key.values())
    num_shared = sum(len(values) for values in by_key.values() if len(set(values)) > 1)
    found = shared_keys(facts_of(names[name_N] + noise, relation_N, value_N))
    assert found == (num_shared, pytest.approx(num_right / len(rows)))


def test_what_is_left_out_and_what_shares_its_key_is_counted(tmp_path: Path) -> None:
    knowledge = build_knowledge(saved(tmp_path))
    assert left_out(knowledge) == [
        "left out of case: 3 of 9 rows: 1 empty (a cell holds nothing), 2 several values (a comparison needs one for "
        "each subject; an index keeps all)"
    ]
    assert several_values(knowledge) == []
    encoder, cache = Encoder(EncoderConfig(model="hashed-trigrams")), EmbeddingCache(tmp_path / "cache")
    collector = TextCollector(())
    knowledge.with_keys(collector).facts()
    cache.encode_missing(encoder, collector.texts)
    keys = CachedTextKeys(cache, encoder.content_hash, centred=False, names_off_the_set=())
    (line,) = one_key("case", knowledge.with_keys(keys).facts())
    # of six facts three share a key with other values, and two of these are wrong
    assert line.startswith("case: 3 of 6 facts share their very key with a fact of another value")
    assert line.endswith("so at most 66.7 % can be right as written")


@pytest.mark.slow
def test_a_run_says_it_first_and_its_report_keeps_it(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    arms = ArmsConfig(memories=(FaissMemoryConfig(),), num_facts=(6,), seeds=(0,))
    config = ExperimentConfig(
        title="t",
        question="q",
        studies={"own": StudyConfig(knowledge=saved(tmp_path), arms=(arms,))},
        encoder=EncoderConfig(model="hashed-trigrams"),
        measures=MeasureConfig(robustness=False),
    )

    def go() -> list[str]:
        said: list[str] = []
        places = {"runs": tmp_path / "runs", "reports": tmp_path / "reports", "cache": tmp_path / "cache"}
        run_experiment(config, name="r", command="c", say=said.append, num_workers=1, **places)
        return said

    said = go()
    assert said[1].startswith("  left out of case: 3 of 9 rows") and said[2].startswith("encoding ")
    (line,) = [line.strip() for line in said if "at most 66.7 % can be right as written" in line]
    for _ in range(2):  # a run whose cells are all done says it too
        assert line in read_plan(tmp_path / "runs" / "r")["notes"]
        assert line in (tmp_path / "reports" / "r" / "report.md").read_text()
        assert f"  {line}" in go()


def test_values_of_one_subject_are_no_conflict_and_those_of_two_are() -> None:
    """Keys: Oslo and OSLO are one, Bern is another. Of Oslo {0, 1} and OSLO {1, 2}, 1 is right for all, until Oslo has
    2 alone.
    """
    key, other = np.eye(2)
    subjects = ["Bern", "Bern", "Oslo", "Oslo", "OSLO", "OSLO"]
    keys, relations = np.array([other, other, key, key, key, key]), np.zeros(6, dtype=np.int64)
    facts = facts_of(keys, relations, np.array([0, 1, 0, 1, 1, 2]))
    assert shared_keys(facts, subjects) == (0, 1.0) and one_key("case", facts, subjects) == []
    facts = facts_of(keys, relations, np.array([0, 1, 0, 3, 1, 2]))
    assert shared_keys(facts, subjects) == (4, pytest.approx(4 / 6))


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=25
    )
)
def test_the_ceiling_with_several_values_is_that_of_brute_force(rows: list[tuple[int, int, int, int]]) -> None:
    """A question is of a subject, and any of its values is right: of all questions of one key the answer that is right
    for most facts counts."""
    names = np.linalg.qr(np.random.default_rng(3).standard_normal((24, 3)))[0].T
    name_N, relation_N, value_N, subject_N = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    subjects = [f"{name}{subject}" for name, subject in zip(name_N.tolist(), subject_N.tolist(), strict=True)]
    by_key: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for (name, relation, value, _), subject in zip(rows, subjects, strict=True):
        by_key.setdefault((name, relation), []).append((subject, value))
    num_right = num_shared = 0
    for facts in by_key.values():
        answered = [
            sum((subject, answer) in facts for subject, _ in facts)  # facts of subjects that have this value
            for answer in {value for _, value in facts}
        ]
        num_right += max(answered)
        num_shared += len(facts) if max(answered) < len(facts) else 0
    facts_N = facts_of(names[name_N], relation_N, value_N + 4 * relation_N)
    assert shared_keys(facts_N, subjects) == (num_shared, pytest.approx(num_right / len(rows)))
    line = one_key("set", facts_N, subjects)
    told = (
        f"set: {num_shared} of {len(rows)} facts share their very key with a fact of another value (the encoder reads"
    )
    assert line == [] if not num_shared else line[0].startswith(told)
    if num_shared:
        assert line[0].endswith(f"so at most {100 * num_right / len(rows):.1f} % can be right as written")


def test_reasons_are_counted_each_with_its_why(tmp_path: Path) -> None:
    knowledge = replace(build_knowledge(saved(tmp_path)), dropped={"empty": 0, "subject_in_value": 2000, "odd_one": 1})
    assert left_out(knowledge) == [
        "left out of case: 2,001 of 2,007 rows: 2,000 subject in value (the answer would give the question), 1 odd one"
    ]
    assert left_out(replace(knowledge, dropped={"empty": 0})) == []
