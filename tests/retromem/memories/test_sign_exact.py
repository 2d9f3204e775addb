"""One-bit weights on two relations and two wordings: codes, attempts, answers and ledger written out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_ndtr

from models import binary_perceptron
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.memories.sign_memory import SignMemory, SignMemoryConfig, bit_codes
from retromem.seam import Facts, Part, ValueTable

CONFIG = SignMemoryConfig(features=301, sweeps=60, bandwidth=2.5)
# Three colours on outputs 0 and 1 (one bit for the first, two for the others), five sizes from output 2 on.
CODES_VO = [
    [-1, 0, 0],
    [1, -1, 0],
    [1, 1, 0],
    [-1, 0, -1],  # 00, 01, 10, then 110 and 111, the first bit on the third output
    [1, 0, -1],
    [-1, 0, 1],
    [1, -1, 1],
    [1, 1, 1],
]


def test_codes_bit_by_bit() -> None:
    values = ValueTable(strings=None, relations=("colour", "size"), starts=(0, 3, 8))
    assert bit_codes(values).tolist() == CODES_VO
    alone = ValueTable(strings=None, relations=("a", "b"), starts=(0, 1, 5))
    assert bit_codes(alone).tolist() == [[0, 0], [-1, -1], [-1, 1], [1, -1], [1, 1]]


def test_answers_and_ledger_are_those_of_the_stored_bits(
    toys: Facts, ledger_of: Callable[..., object], tmp_path: Path
) -> None:
    memory = CONFIG.build(seed=6)
    cost = memory.write(toys)
    memory.calibration = b"TETE"
    memory.save(tmp_path / "signs")
    content = {file.name: file.read_bytes() for file in (tmp_path / "signs").iterdir()}
    bits = np.unpackbits(np.frombuffer(content["weights.bin"], np.uint8))
    assert len(bits) == 904 and not bits[903:].any()  # three outputs of 301 weights
    weights_OF = bits[:903].reshape(3, 301) * 2.0 - 1
    for cue in toys.cues:
        features_QF = memory._features(cue.key_vectors()).numpy()
        margins_QO = features_QF @ weights_OF.T / (0.1 * np.sqrt(301))
        codes_VO = np.array(CODES_VO)
        log_p_QV = np.where(codes_VO != 0, log_ndtr(margins_QO[:, None] * codes_VO), 0).sum(axis=2)
        recall = memory.recall(cue, top_k=2, score=np.tile(np.arange(8), (11, 1)))
        for row, relation in enumerate(cue.relation_ids_Q.tolist()):
            own = toys.values.candidates(relation)
            np.testing.assert_allclose(recall.scored_QC[row, own], log_p_QV[row, own], rtol=1e-5, atol=1e-4)
            assert np.isneginf(np.delete(recall.scored_QC[row], own)).all()
            best_two = np.sort(log_p_QV[row, own])[::-1][:2]
            np.testing.assert_allclose(recall.log_probs_QK[row], best_two, rtol=1e-5, atol=1e-4)
        assert recall.value_ids_QK[:, 0].tolist() == toys.value_ids_N.tolist()
    assert cost.seconds > 0 and cost.succeeded and cost.texts_encoded == 22
    assert 0 < cost.optimizer_steps <= 60 and cost.exposures == 2 * cost.optimizer_steps
    assert cost.flops == pytest.approx(2 * 301 * (2.2 * cost.optimizer_steps * 3 * 22 + 22 * 6))
    parts = {
        "values.json.zlib": Part.VALUE,
        "calibration.bin": Part.STORAGE,
        "weights.bin": Part.STORAGE,
        "training_cues.json.zlib": Part.MAINTAIN,
        "training_values.npy": Part.MAINTAIN,
        "manifest.json": Part.MAINTAIN,
    }
    seeded = 8 * (6 * 301 + 301) + 4 * 8 * 3  # waves and phases in float64; the codes
    footprint = memory.footprint()
    assert footprint.holdings == ledger_of(tmp_path / "signs", parts, 903, seeded)
    assert footprint.resident_bytes == seeded + 4 * 903
    loaded = SignMemory.load(tmp_path / "signs")
    assert (loaded.config, loaded.seed, loaded.calibration, loaded.side) == (CONFIG, 6, b"TETE", "parametric")
    assert loaded.footprint() == footprint
    assert np.array_equal(loaded.recall(toys.cues[0]).log_probs_QK, memory.recall(toys.cues[0]).log_probs_QK)
    flipped = memory.perturbed(flip_rate=0.2, seed=4)
    share = np.unpackbits(
        np.frombuffer(flipped._packed or b"", np.uint8) ^ np.frombuffer(content["weights.bin"], np.uint8)
    )
    assert share.mean() == pytest.approx(0.2, abs=5 * 0.4 / 904**0.5)
    assert memory.perturbed(flip_rate=0.2, seed=4)._packed == flipped._packed
    assert np.array_equal(
        memory.perturbed(seed=1).recall(toys.cues[0]).log_probs_QK, memory.recall(toys.cues[0]).log_probs_QK
    )


@pytest.mark.parametrize(
    ("num_facts", "may_miss", "num_attempts"),
    # What fits at once is tried once; what cannot fit is given up by a share, and at the last by what was missed.
    [(20, 0.01, 1), (90, 0.01, 4), (90, 0.3, 3)],
)
def test_what_each_attempt_gives_up(
    num_facts: int, may_miss: float, num_attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, tried = binary_perceptron.fit_binary_perceptrons, list[tuple[dict[str, Any], Any]]()

    def noted(*patterns_and_labels: Any, **settings: Any) -> Any:
        found = fit(*patterns_and_labels, **settings)
        tried.append((settings, found))
        return found

    monkeypatch.setattr(binary_perceptron, "fit_binary_perceptrons", noted)
    memory = SignMemoryConfig(features=65, sweeps=40, may_miss=may_miss).build(seed=3)
    cost = memory.write(keys_set(KeysConfig(dim=12, num_values=16, num_facts=num_facts)).facts())
    missed = [found.missed_share for _, found in tried]
    assert len(tried) == num_attempts
    most = max(may_miss, 0.75 * min(missed[:3])) if num_attempts == 4 else may_miss
    wanted = [
        {"sweeps": 40, "seed": 3, "may_miss": share, "damping": damping}
        for share, damping in ((0.0, 0.0), (0.0, 0.5), (may_miss, 0.0), (most, 0.5))
    ]
    assert [settings for settings, _ in tried] == wanted[:num_attempts]
    # An attempt ends the trying where it misses nothing, or no more than twice what it was allowed.
    assert all(share > 0 for share in missed[:2][: num_attempts - 1])
    if num_attempts == 3:
        assert missed[2] <= 2 * may_miss
    if num_attempts == 4:
        assert missed[2] > 2 * may_miss
    best = min((found for _, found in tried), key=lambda found: found.missed_share)
    assert memory._packed == np.packbits(best.weights_OF.numpy() > 0).tobytes()
    assert cost.optimizer_steps == cost.exposures == sum(found.sweeps for _, found in tried)


def test_edges_of_the_settings() -> None:
    for allowed in ({"features": 1}, {"sweeps": 1}, {"may_miss": 0.0}, {"may_miss": 0.99}, {"bandwidth": 1e-9}):
        made = SignMemoryConfig(**allowed)
        assert (made.name, made.family, made.stores) == (f"signs-{made.features}", "signs", "questions")
    for wrong in ({"features": 0}, {"features": 2}):
        with pytest.raises(ValueError, match="features should be odd and 1 or more"):
            SignMemoryConfig(**wrong)
    with pytest.raises(ValueError, match="may_miss at least 0"):
        SignMemoryConfig(may_miss=-0.01)
