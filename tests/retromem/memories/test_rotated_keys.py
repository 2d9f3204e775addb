"""Keys rotated by a seed before an FFN: the same as a memory that is given rotated keys."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.ffn_kinds import DenseConfig, GatedConfig
from models.training_budget import TrainingBudget
from retrieval.random_rotation import random_rotation
from retromem.memories.closed_form_memory import ClosedFormMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.paired_memory import PairedMemoryConfig
from retromem.seam import Facts, Part, Queries

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

SHORT = TrainingBudget(steps=3, goal_nats=0.0)
TRAINED = FFNMemoryConfig(ffn=GatedConfig(width=9), training=SHORT)
SOLVED = ClosedFormMemoryConfig(method="random_features", width=9)


def moved(queries: Queries, to: int, seed: int) -> Queries:
    """The same questions with keys that were rotated beforehand."""
    keys_QE = queries.key_vectors().astype(np.float64) @ random_rotation(6, to, seed)
    keys_QE /= np.linalg.norm(keys_QE, axis=1, keepdims=True)
    return replace(queries, keys_QD=keys_QE.astype(np.float32))


def answers(memory: Any, asked: Queries) -> np.ndarray:
    scored: np.ndarray = memory.recall(asked, score=np.tile(np.arange(8), (11, 1))).scored_QC
    return scored


@pytest.mark.parametrize("config", [TRAINED, SOLVED])
@pytest.mark.parametrize(("to", "seed"), [(4, 0), (9, 3)])
def test_a_rotation_inside_is_one_outside(toys: Facts, config: Any, to: int, seed: int, tmp_path: Path) -> None:
    inside, outside = replace(config, rotate_to=to, rotation_seed=seed).build(seed=2), config.build(seed=2)
    inside.write(toys)
    # The memory's own seed is added, so that each seed of a cell has a rotation of its own.
    outside.write(replace(toys, cues=[moved(cue, to, seed + 2) for cue in toys.cues]))
    assert inside._ffn.packed == outside._ffn.packed
    asked = toys.cues[1]
    assert np.array_equal(answers(inside, asked), answers(outside, moved(asked, to, seed + 2)))
    # The rotation is on no disk, and is printed; the codes have the dimensions of the rotated keys.
    sizes = [memory.footprint().num_bytes(Part.SEEDED) for memory in (inside, outside)]
    assert sizes == [8 * to * 4 + 6 * to * 8, 8 * to * 4]
    inside.save(tmp_path / "inside")
    loaded = type(inside).load(tmp_path / "inside")
    assert np.array_equal(answers(loaded, asked), answers(inside, asked))
    assert inside.name == config.name.replace("-", f"-rot{to}-", 1)


def test_a_pair_reads_rotated_vectors_of_the_neighbours_that_plain_ones_find(toys: Facts, tmp_path: Path) -> None:
    config = PairedMemoryConfig(ffn=DenseConfig(kind="relu", width=5), code_dim=3, training=SHORT, chunks=3)
    rotated, plain = (replace(config, rotate_to=to).build(seed=2) for to in (4, None))
    for memory in (rotated, plain):
        memory.teach(toys)
        memory.write(toys)
    asked = toys.cues[1]
    (found_QKE, near_QK), (whole_QKD, same_QK) = (
        [part.numpy() for part in memory._neighbours(memory._store, asked)] for memory in (rotated, plain)
    )
    assert np.array_equal(near_QK, same_QK)
    wanted_QKE = whole_QKD.astype(np.float64) @ random_rotation(6, 4, 2)
    wanted_QKE /= np.maximum(np.linalg.norm(wanted_QKE, axis=2, keepdims=True), 1e-30)
    np.testing.assert_allclose(found_QKE, wanted_QKE, atol=1e-6)
    # Key and three neighbours of four numbers each, and three similarities.
    assert rotated._ffn.num_params == (4 + 3 * 4 + 3) * 5 + 5 * 3
    keys_QE = moved(asked, 4, 2).key_vectors()
    inputs_QI = np.concatenate([keys_QE, found_QKE.reshape(11, -1), np.where(np.isneginf(near_QK), 0, near_QK)], axis=1)
    first_IW, second_WE = (weight.double().numpy() for weight in rotated._ffn.ffn.state_dict().values())
    logits_QV = np.maximum(inputs_QI @ first_IW, 0) @ second_WE @ rotated._ffn.codes_VE.T
    scored_QV = answers(rotated, asked)
    for row, relation in enumerate(asked.relation_ids_Q.tolist()):
        own = toys.values.candidates(relation)
        log_probs = logits_QV[row, own] - np.log(np.exp(logits_QV[row, own]).sum())
        np.testing.assert_allclose(scored_QV[row, own], log_probs, atol=1e-4)
    rotated.save(tmp_path / "pair")
    assert np.array_equal(answers(type(rotated).load(tmp_path / "pair"), asked), scored_QV)
    assert rotated.name == "paired-rot4-relu-5-k3"


@pytest.mark.parametrize("config", [FFNMemoryConfig, ClosedFormMemoryConfig, PairedMemoryConfig])
def test_rotations_that_cannot_be(config: Any) -> None:
    with pytest.raises(ValueError, match="rotate_to must be 1 or more, not 0"):
        config(rotate_to=0)
    with pytest.raises(ValueError, match="rotation_seed has no effect without rotate_to; leave it out"):
        config(rotation_seed=1)
