"""What a pair reads: its neighbours found by brute force, its answers computed from its weights by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retrieval.errors import Refused
from retromem.memories.paired_memory import PairedMemory, PairedMemoryConfig
from retromem.seam import Facts, Queries

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

SHORT = TrainingBudget(steps=4)
RELU = DenseConfig(kind="relu", width=5)


def taught(toys: Facts, **config: object) -> PairedMemory:
    memory = PairedMemoryConfig(**{"ffn": RELU, "code_dim": 3, "training": SHORT, **config}).build(seed=2)
    memory.teach(toys)
    memory.write(toys)
    return memory


def nearest_statements(toys: Facts, asked: Queries, k: int) -> list[list[int]]:
    """Facts of the question's relation by falling similarity of their statements; as many as there are."""
    assert toys.statements is not None
    similarity_QN = asked.key_vectors() @ toys.statements.key_vectors().T
    return [
        sorted(
            np.flatnonzero(toys.statements.relation_ids_Q == relation).tolist(),
            key=lambda fact: -similarity_QN[row, fact],
        )[:k]
        for row, relation in enumerate(asked.relation_ids_Q.tolist())
    ]


def read_by(memory: PairedMemory, asked: Queries) -> tuple[np.ndarray, np.ndarray]:
    assert memory._store is not None
    vectors, similarities = memory._neighbours(memory._store, asked)
    return vectors.numpy(), similarities.numpy()


@pytest.mark.parametrize("k", [1, 3, 6])
def test_neighbours_are_the_nearest_statements_of_the_relation(toys: Facts, k: int) -> None:
    memory, asked = taught(toys, chunks=k), toys.cues[1]
    vectors_QKD, similarities_QK = read_by(memory, asked)
    assert vectors_QKD.shape == (11, k, 6) and similarities_QK.shape == (11, k)
    assert toys.statements is not None
    for row, facts in enumerate(nearest_statements(toys, asked, k)):
        wanted_KD = toys.statements.key_vectors()[facts]
        np.testing.assert_allclose(vectors_QKD[row, : len(facts)], wanted_KD, atol=1e-6)
        np.testing.assert_allclose(similarities_QK[row, : len(facts)], wanted_KD @ asked.key_vectors()[row], atol=1e-5)
        # Of sizes there are but four: empty places are zeros, and say so.
        assert (vectors_QKD[row, len(facts) :] == 0).all()
        assert np.isneginf(similarities_QK[row, len(facts) :]).all()


def test_answers_are_those_of_the_weights_on_key_neighbours_and_similarities(toys: Facts) -> None:
    memory, asked = taught(toys, chunks=5), toys.cues[1]
    every_value_QC = np.tile(np.arange(8), (11, 1))
    recall = memory.recall(asked, top_k=2, score=every_value_QC)
    weights = [weight.double().numpy() for weight in memory._ffn.ffn.state_dict().values()]
    first_IW, second_WE = (weight if weight.shape[1] in (5, 3) else weight.T for weight in weights)
    codes_VE = memory._ffn.codes_VE
    vectors_QKD, similarities_QK = read_by(memory, asked)
    for row, relation in enumerate(asked.relation_ids_Q.tolist()):
        similarities_K = np.where(np.isneginf(similarities_QK[row]), 0, similarities_QK[row])
        inputs_I = np.concatenate([asked.key_vectors()[row], vectors_QKD[row].reshape(-1), similarities_K])
        answer_E = np.maximum(inputs_I @ first_IW.reshape(36 + 5, 5), 0) @ second_WE.reshape(5, 3)
        own = toys.values.candidates(relation)
        logits_M = codes_VE[own] @ answer_E
        log_probs_M = logits_M - np.log(np.exp(logits_M).sum())
        np.testing.assert_allclose(recall.scored_QC[row, own], log_probs_M, atol=1e-4)
        assert np.isneginf(np.delete(recall.scored_QC[row], own)).all()
        assert recall.value_ids_QK[row].tolist() == own[np.argsort(-log_probs_M)[:2]].tolist()
    assert recall.fact_ids_QK is None


def test_the_oracle_reads_the_statement_of_the_fact_asked_for_alone(toys: Facts) -> None:
    memory, asked = taught(toys, chunks=2, neighbours="oracle"), toys.cues[1]
    assert memory.is_told and not taught(toys).is_told
    memory.reveal(dict(zip(asked.texts or (), toys.ids_N.tolist(), strict=True)))
    order = np.array([6, 0, 9])
    vectors_QKD, similarities_QK = read_by(memory, asked.rows(order))
    assert toys.statements is not None
    own_QD = toys.statements.key_vectors()[order]
    np.testing.assert_allclose(vectors_QKD[:, 0], own_QD, atol=1e-6)
    np.testing.assert_allclose(similarities_QK[:, 0], (own_QD * asked.key_vectors()[order]).sum(axis=1), atol=1e-5)
    assert (vectors_QKD[:, 1] == 0).all() and np.isneginf(similarities_QK[:, 1]).all()
    # Which facts it was taught, it was told as well.
    assert (read_by(memory, toys.cues[0])[1][:, 0] > 0.5).all()


def test_random_neighbours_are_of_the_relation_and_the_same_for_the_same_question(toys: Facts) -> None:
    memory = taught(toys, chunks=3, neighbours="random")
    rng = np.random.default_rng(0)
    keys_QD = rng.standard_normal((400, 6)).astype(np.float32)
    asked = Queries(texts=None, keys_QD=keys_QD, relation_ids_Q=np.arange(400) % 2, encoder_hash="toys")
    vectors_QKD, similarities_QK = read_by(memory, asked)
    np.testing.assert_allclose(similarities_QK, np.einsum("qd,qkd->qk", keys_QD, vectors_QKD), atol=1e-5)
    assert toys.statements is not None
    statements_ND = toys.statements.key_vectors()
    drawn_QK = np.abs(vectors_QKD[:, :, None] - statements_ND).sum(axis=3).argmin(axis=2)
    for relation, num in ((0, 7), (1, 4)):
        counts = np.bincount(drawn_QK[asked.relation_ids_Q == relation].reshape(-1), minlength=11)
        own = toys.statements.relation_ids_Q == relation
        assert counts[~own].sum() == 0
        assert (np.abs(counts[own] / 600 - 1 / num) < 5 * (1 / num / 600) ** 0.5).all()
    again = read_by(memory, asked.rows(np.arange(400)[::-1]))[0]
    assert (again[::-1] == vectors_QKD).all()
    other = PairedMemoryConfig(ffn=RELU, chunks=3, neighbours="random", training=SHORT).build(seed=3)
    other.teach(toys)
    other.write(toys)
    assert (read_by(other, asked)[0] != vectors_QKD).any(axis=(1, 2)).mean() > 0.9


def test_without_chunks_nothing_is_read(toys: Facts) -> None:
    memory = taught(toys, chunks=0)
    vectors_QKD, similarities_QK = read_by(memory, toys.cues[0])
    assert vectors_QKD.shape == (11, 0, 6) and similarities_QK.shape == (11, 0)
    assert memory._ffn.dim_in == 6
    # An index that cannot give vectors back will do then, and no other way.
    unread = taught(toys, chunks=0, factory="IVF2,Flat")
    assert unread.recall(toys.cues[0], top_k=1).value_ids_QK.shape == (11, 1)
    with pytest.raises(Refused, match=r"paired-relu-5-k1 reads vectors, and its index gives none back .*; write Flat"):
        taught(toys, chunks=1, factory="IVF2,Flat")


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({}, "paired-relu-5-k1"),
        ({"chunks": 4, "precision": "int8"}, "paired-relu-5-int8-k4"),
        ({"neighbours": "oracle", "chunks": 2}, "paired-relu-5-oracle"),
        ({"neighbours": "random", "precision": "float16"}, "paired-relu-5-float16-random"),
    ],
)
def test_names_of_pairs(config: dict[str, object], name: str) -> None:
    made = PairedMemoryConfig(**{"ffn": RELU, **config})
    assert (made.name, made.family, made.stores) == (name, "paired", "statements")
    memory = made.build(seed=4)
    assert (memory.name, memory.side, memory.seed, memory.trained_on) == (name, "paired", 4, "cpu")


@pytest.mark.parametrize("budget", [{"rounding": "aware"}, {"key_noise": 0.1}])
def test_what_is_for_weights_alone_is_refused_for_a_pair(budget: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="for memories that answer from weights alone"):
        PairedMemoryConfig(training=replace(SHORT, **budget))


def test_codes_of_a_pair_have_a_dimension() -> None:
    with pytest.raises(ValueError, match="code_dim must be 1 or more, not 0"):
        PairedMemoryConfig(code_dim=0)


def test_a_saved_pair_comes_back_whole(toys: Facts, tmp_path: Path) -> None:
    memory = taught(toys, chunks=2, precision="int8")
    memory.calibration = b"TETE"
    memory.save(tmp_path / "pair")
    loaded = PairedMemory.load(tmp_path / "pair")
    assert (loaded.config, loaded.seed, loaded.calibration) == (memory.config, 2, b"TETE")
    assert loaded.footprint() == memory.footprint()
    one, two = memory.recall(toys.cues[0]), loaded.recall(toys.cues[0])
    assert torch.equal(torch.from_numpy(one.log_probs_QK), torch.from_numpy(two.log_probs_QK))
    assert one.value_ids_QK.tolist() == two.value_ids_QK.tolist()


def test_a_pair_is_taught_on_what_was_looked_up_once(toys: Facts) -> None:
    looked_up = []

    class Noted(PairedMemory):
        def _neighbours(self, store: Any, queries: Any) -> Any:
            looked_up.append(len(queries))
            return super()._neighbours(store, queries)

    training = TrainingBudget(steps=150, full_batch_up_to=4, batch_size=4)
    Noted(PairedMemoryConfig(ffn=DenseConfig(width=8), chunks=2, training=training), seed=0).teach(toys)
    assert looked_up == [len(toys)]
