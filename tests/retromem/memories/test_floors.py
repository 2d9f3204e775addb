"""Memories of frequencies alone: every field of what they answer, cost and save, from counts written out."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from retromem.memories.floors import FrequencyConfig, FrequencyMemory
from retromem.seam import Asked, Facts, Holding, Part, Queries, ValueTable

VALUES = ValueTable(strings=None, relations=("colour", "none", "size"), starts=(0, 4, 6, 9))
VALUE_IDS_N = np.array([8, 0, 2, 0, 6, 0, 2, 6, 0, 8, 6, 6])  # colours: 4, 0, 2, 0; sizes: 4, 0, 2
RELATION_IDS_N = np.where(VALUE_IDS_N < 4, 0, 2)


def asked_of(relation_ids_Q: np.ndarray, seed: int = 0) -> Queries:
    keys_QD = np.random.default_rng(seed).standard_normal((len(relation_ids_Q), 9)).astype(np.float32)
    return Queries(texts=None, keys_QD=keys_QD, relation_ids_Q=relation_ids_Q, encoder_hash="")


CUE = asked_of(RELATION_IDS_N)
FACTS = Facts(
    ids_N=np.arange(12) * 16,
    value_ids_N=VALUE_IDS_N,
    cues=[CUE],
    statements=None,
    calibration=Asked(
        queries=CUE,
        phrasing="calibrate",
        fact_ids_Q=np.arange(12) * 16,
        value_ids_Q=VALUE_IDS_N,
        prior_Q=np.full(12, 0.5),
    ),
    values=VALUES,
)


def remembered(*, guess: bool, seed: int = 5) -> FrequencyMemory:
    memory = FrequencyConfig(guess=guess).build(seed=seed)
    memory.write(FACTS)
    return memory


def test_frequencies_are_answered_to_every_question_alike() -> None:
    asked = asked_of(np.array([2, 0, 1, 0]))
    recall = remembered(guess=False).recall(asked, top_k=3, score=np.tile(np.arange(9), (4, 1)))
    third = math.log(1 / 3)
    assert recall.value_ids_QK.tolist() == [[6, 8, -1], [0, 2, -1], [-1, -1, -1], [0, 2, -1]]
    two_thirds = math.log(2 / 3)
    of_colour, of_size, nothing = [two_thirds, third, -math.inf], [two_thirds, third, -math.inf], [-math.inf] * 3
    np.testing.assert_allclose(recall.log_probs_QK, [of_size, of_colour, nothing, of_colour], rtol=1e-6)
    np.testing.assert_allclose(
        np.exp(recall.scored_QC),
        [
            [0, 0, 0, 0, 0, 0, 2 / 3, 0, 1 / 3],
            [2 / 3, 0, 1 / 3, 0, 0, 0, 0, 0, 0],
            [0] * 9,
            [2 / 3, 0, 1 / 3, 0, 0, 0, 0, 0, 0],
        ],
        rtol=1e-6,
    )
    assert recall.fact_ids_QK is None


def test_guesses_are_sure_drawn_from_the_frequencies_and_the_same_for_the_same_question() -> None:
    asked = asked_of(np.array([0, 2] * 1500), seed=1)
    memory = remembered(guess=True)
    recall = memory.recall(asked, top_k=2)
    assert (recall.log_probs_QK[:, 0] == 0).all() and np.isneginf(recall.log_probs_QK[:, 1]).all()
    assert (recall.value_ids_QK[:, 1] == -1).all()
    counted = Counter(recall.value_ids_QK[:, 0].tolist())
    assert set(counted) == {0, 2, 6, 8}  # what never occurred is never guessed
    for value, share in ((0, 2 / 3), (2, 1 / 3), (6, 2 / 3), (8, 1 / 3)):
        # Five standard deviations of a share of 1,500 draws.
        assert counted[value] / 1500 == pytest.approx(share, abs=5 * math.sqrt(2 / 9 / 1500))
    backwards = np.arange(3000)[::-1]
    again = memory.recall(asked.rows(backwards), top_k=1)
    assert again.value_ids_QK[:, 0].tolist() == recall.value_ids_QK[backwards, 0].tolist()
    other = remembered(guess=True, seed=6).recall(asked, top_k=1)
    alike = float((other.value_ids_QK[:, 0] == recall.value_ids_QK[:, 0]).mean())
    assert alike == pytest.approx(4 / 9 + 1 / 9, abs=5 * math.sqrt(0.25 / 3000))  # as two independent draws
    # Of a relation of which nothing was seen there is nothing to guess.
    assert memory.recall(asked_of(np.array([1])), top_k=1).value_ids_QK.tolist() == [[-1]]


@pytest.mark.parametrize("guess", [False, True])
def test_what_frequencies_cost_weigh_and_save(guess: bool, tmp_path: Path) -> None:
    config = FrequencyConfig(guess=guess)
    assert (config.name, config.family, config.stores) == ("guesser" if guess else "floor-mode", "floor", "questions")
    memory = config.build(seed=7)
    assert (memory.name, memory.side, memory.seed, memory.calibration) == (config.name, "floor", 7, b"")
    cost = memory.write(FACTS)
    assert cost.seconds > 0
    assert (cost.texts_encoded, cost.flops, cost.exposures) == (0, 0.0, 1.0)
    assert (cost.optimizer_steps, cost.succeeded) == (0, True)
    memory.calibration = b"TETE"
    memory.save(tmp_path / "saved")
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "saved").iterdir()}
    parts = {
        "values.json.zlib": Part.VALUE,
        "calibration.bin": Part.STORAGE,
        "counts.bin": Part.STORAGE,
        "manifest.json": Part.MAINTAIN,
    }
    # Four of nine numbers: five bits say how many, 5 and 6 the widths; for each the place (a bit that ends the gap,
    # one of its rest and one for a gap of 2 or 3: places 0, 2, 6, 8) and two bits of the number less one.
    gaps = [0, 1, 3, 1]
    assert sizes["counts.bin"] == math.ceil((5 + 5 + 6 + sum((gap >> 1) + 1 + 1 + 2 for gap in gaps)) / 8)
    footprint = memory.footprint()
    assert footprint.holdings == (
        *(Holding(name=name, part=part, num_bytes=sizes[name]) for name, part in parts.items()),
        Holding(name="from a seed", part=Part.SEEDED, num_bytes=0),
    )
    assert footprint.resident_bytes is None
    loaded = FrequencyMemory.load(tmp_path / "saved")
    assert (loaded.config, loaded.seed, loaded.calibration) == (config, 7, b"TETE")
    assert loaded.footprint() == footprint
    asked = asked_of(np.array([0, 2, 1] * 50), seed=3)
    one, two = memory.recall(asked, top_k=3), loaded.recall(asked, top_k=3)
    assert one.value_ids_QK.tolist() == two.value_ids_QK.tolist()
    assert one.log_probs_QK.tolist() == two.log_probs_QK.tolist()
