"""Willshaw's matrix behind the seam: units of values, answers and ledger written out, and what it holds and stands."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp

from models.winner_codes import WinnerCodes
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.answers import accuracy
from retromem.measure.robustness import with_key_noise
from retromem.memories.dial import Load
from retromem.memories.value_units import unit_of_facts, units_of_values
from retromem.memories.willshaw_memory import WillshawMemory, WillshawMemoryConfig
from retromem.seam import Facts, Part

KEYS = keys_set(KeysConfig(dim=16, num_values=16, num_facts=660))


def test_a_unit_more_for_the_value_whose_facts_share_one_most() -> None:
    counts = np.array([10, 0, 3, 1, 6])
    for units_per_value, expected in ((1, [1, 0, 1, 1, 1]), (2, [4, 0, 1, 1, 2]), (3, [6, 0, 2, 1, 3])):
        assert units_of_values(counts, units_per_value).tolist() == expected
    assert units_of_values(counts, 100).tolist() == counts.tolist()  # no more than facts
    assert units_of_values(np.array([4, 4]), 2).tolist() == [2, 2]
    assert units_of_values(np.array([0, 0]), 3).tolist() == [0, 0]


def test_facts_of_a_value_take_turns() -> None:
    units = np.array([2, 0, 1, 3])
    found = unit_of_facts(np.array([3, 0, 0, 2, 3, 3, 3, 0, 2]), units)
    assert found.tolist() == [3, 0, 1, 2, 4, 5, 3, 0, 2]


@pytest.mark.parametrize("bandwidth", [None, 2.5])
def test_answers_and_ledger_are_those_of_the_stored_bits(bandwidth: float | None, toys: Facts, tmp_path: Path) -> None:
    config = WillshawMemoryConfig(cue_units=50, winners=4, units_per_value=2, bandwidth=bandwidth)
    memory = config.build(seed=6)
    cost = memory.write(toys)
    memory.calibration = b"TETE"
    memory.save(tmp_path / "saved")
    content = (tmp_path / "saved" / "weights.bin").read_bytes()
    # Six values occur, so there are twelve units at most: one for each of the eleven facts.
    owners = [value for value, count in enumerate(np.bincount(toys.value_ids_N, minlength=8)) for _ in range(count)]
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    assert len(content) == math.ceil(50 * len(owners) / 8) and not bits[50 * len(owners) :].any()
    w_FU = bits[: 50 * len(owners)].reshape(50, len(owners))
    expected_FU = np.zeros_like(w_FU)
    code = WinnerCodes(6, 50, winners=4, bandwidth=bandwidth, seed=6)
    codes = [code(cue.key_vectors()).tolist() for cue in toys.cues]
    for of_cue in codes:
        free = list(enumerate(owners))
        for winners, value in zip(of_cue, toys.value_ids_N.tolist(), strict=True):
            place = next(pair for pair in free if pair[1] == value)
            free.remove(place)
            expected_FU[winners, place[0]] = 1
    assert (w_FU == expected_FU).all()

    share = w_FU.mean(axis=0)
    for cue, of_cue in zip(toys.cues, codes, strict=True):
        recall = memory.recall(cue, top_k=2, score=np.tile(np.arange(8), (11, 1)))
        for row, relation in enumerate(cue.relation_ids_Q.tolist()):
            lit = w_FU[of_cue[row]].sum(axis=0)
            nats = (
                lit * np.log((1 - 0.05 * (1 - share)) / share) + (4 - lit) * np.log(0.05) + np.log(-np.log(1 - share))
            )
            own = toys.values.candidates(relation)
            of_value = {value: nats[[owner == value for owner in owners]] for value in own if value in owners}
            whole = logsumexp(np.concatenate(list(of_value.values())))
            for value in range(8):
                told = logsumexp(of_value[value]) - whole if value in of_value else -np.inf
                assert recall.scored_QC[row, value] == pytest.approx(told, abs=1e-4)
        assert recall.value_ids_QK[:, 0].tolist() == toys.value_ids_N.tolist()

    assert cost.texts_encoded == 22 and cost.exposures == 2 and cost.optimizer_steps == 0
    assert cost.flops == 2 * 50 * 22 * 6
    seeded = 8 * 50 * (6 if bandwidth is None else 7)
    footprint = memory.footprint()
    (synapses,) = [line for line in footprint.holdings if line.name == "weights.bin"]
    assert (synapses.part, synapses.num_bytes) == (Part.STORAGE, len(content))
    assert (synapses.num_params, synapses.num_active_params) == (50 * 11, 4 * 11)
    assert footprint.storage_bytes == len(content) + 4
    assert footprint.num_bytes(Part.SEEDED) == seeded and footprint.resident_bytes == seeded + 50 * 11
    loaded = WillshawMemory.load(tmp_path / "saved")
    assert (loaded.config, loaded.seed, loaded.calibration, loaded.side) == (config, 6, b"TETE", "parametric")
    assert loaded.footprint() == footprint
    assert np.array_equal(loaded.recall(toys.cues[0]).log_probs_QK, memory.recall(toys.cues[0]).log_probs_QK)


def test_where_each_value_has_one_unit_the_order_of_the_facts_changes_nothing() -> None:
    one, other = (WillshawMemoryConfig(cue_units=300, units_per_value=1).build(seed=0) for _ in range(2))
    facts = KEYS.prefix(100).facts()
    one.write(facts)
    other.write(facts.rows(np.random.default_rng(0).permutation(100)))
    assert one._packed == other._packed


def test_more_than_two_bits_in_a_byte_in_one_pass() -> None:
    """By Bloom's count log2(15 / .02) / ln 2 bits for a fact of four, since half of the ties are won: 2.3 in a byte."""
    config = WillshawMemoryConfig(cue_units=560, winners=10, units_per_value=1, bandwidth=3.5)
    memory, asked = config.build(seed=0), KEYS.ask("identical")
    memory.write(KEYS.facts())
    memory.calibration = b"0000"
    assert accuracy(memory, asked) >= 0.99
    storage_bytes = memory.footprint().storage_bytes
    assert storage_bytes is not None and KEYS.demand_bits() / storage_bytes > 2.3
    assert accuracy(memory.perturbed(flip_rate=0.01, seed=0), asked) > 0.97
    assert accuracy(memory.perturbed(flip_rate=0.5, seed=0), asked) < 0.2
    assert accuracy(memory.perturbed(seed=0), asked) == accuracy(memory, asked)
    with pytest.raises(NotImplementedError, match="flip bits"):
        memory.perturbed(relative_noise=0.1, seed=0)


def test_plain_projections_stand_keys_that_move_and_waves_do_not() -> None:
    asked = with_key_noise(KEYS.ask("identical"), 0.1, seed=0)
    found = []
    for bandwidth in (None, 3.5):
        memory = WillshawMemoryConfig(cue_units=1500, units_per_value=1, bandwidth=bandwidth).build(seed=0)
        memory.write(KEYS.facts())
        found.append(accuracy(memory, asked))
    assert found[0] > 0.9 > 0.3 > found[1]


def test_a_matrix_all_on_knows_nothing_and_says_so() -> None:
    memory = WillshawMemoryConfig(cue_units=12, winners=12, units_per_value=1).build(seed=0)
    memory.write(KEYS.facts())
    scored = memory.recall(KEYS.ask("identical").queries, score=np.tile(np.arange(16), (660, 1))).scored_QC
    assert np.exp(scored) == pytest.approx(1 / 16, abs=1e-6)


def test_settings() -> None:
    config = WillshawMemoryConfig(cue_units=40)
    assert (config.name, config.family, config.stores) == ("willshaw-40", "willshaw", "questions")
    assert WillshawMemoryConfig(bandwidth=3.5).searched_name == "willshaw-*-waves"
    assert config.dial.between(None, 20) == range(12, 21)
    assert config.turned(50) == WillshawMemoryConfig(cue_units=50)
    assert config.in_words == "binary synapses of 40 random cue units, 12 active"
    load = Load(demand_bits=4000.0, num_facts=1000, num_candidates=16, dim=16)
    assert config.first_setting(load) == pytest.approx(1000 * 12 / 0.69 / 64)
    assert config.most_bits(50, load) == 50 * 64
    for wrong, message in (
        ({"winners": 0}, "winners"),
        ({"cue_units": 11}, "winners"),
        ({"units_per_value": 0}, "units_per_value"),
        ({"bandwidth": 0.0}, "bandwidth"),
    ):
        with pytest.raises(ValueError, match=message):
            WillshawMemoryConfig(**wrong)
    assert WillshawMemoryConfig(winners=1, cue_units=1).winners == 1
