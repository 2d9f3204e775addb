"""One-bit weights behind the seam: the laws of every memory, the codes of values, and the bits that a byte holds."""

import math
import zlib
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from models import binary_perceptron
from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.from_table import text_set
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.knowledge.wordings import Wordings
from retromem.measure.answers import accuracy
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.robustness import flip90, with_key_noise
from retromem.measure.settings import MeasureConfig
from retromem.memories.sign_memory import SignMemory, SignMemoryConfig, bit_codes
from retromem.seam import Memory, Part, ValueTable

KEYS = keys_set(KeysConfig(dim=12, num_values=50, num_facts=200))
CONFIG = SignMemoryConfig(features=401, sweeps=300)


class TrigramKeys:
    """A small encoder without weights: hashed character trigrams, unit norm."""

    encoder_hash = "trigrams"

    def keys(self, texts, templates):
        vectors = np.zeros((len(texts), 48), dtype=np.float32)
        for row, text in enumerate(texts):
            for start in range(len(text) - 2):
                vectors[row, zlib.crc32(text[start : start + 3].encode()) % 48] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def texts():
    """Three relations of nine, four and one value."""
    rng = np.random.default_rng(5)
    relations = ["colour"] * 50 + ["size"] * 30 + ["kind"] * 5
    values = [f"c{v}" for v in rng.integers(9, size=50)] + [f"s{v}" for v in rng.integers(4, size=30)] + ["toy"] * 5
    table = FactTable(
        name="toys",
        subjects=tuple("".join(rng.choice(list("abcdefghijklmnop"), size=9)) for _ in relations),
        relations=tuple(relations),
        values=tuple(values),
        popularity=None,
        aliases=((),) * len(relations),
        dropped={},
        attribution=None,
        notes=(),
    )
    wordings = {
        relation: Wordings(
            statements=("{subject} has " + relation + " {value}.",),
            written=(f"What is the {relation} of " + "{subject}?", f"Name the {relation} that " + "{subject} has."),
            calibrate=f"Which {relation} has " + "{subject}?",
            heldout=(f"Say: {relation} of " + "{subject}",),
        )
        for relation in ("colour", "size", "kind")
    }
    return text_set(table, wordings).with_keys(TrigramKeys())


TEXT = texts()


def written(config, knowledge, seed=0):
    memory = config.build(seed=seed)
    memory.write(knowledge.facts())
    return memory


@pytest.fixture(scope="module", params=[KEYS, TEXT], ids=["keys", "text"])
def case(request):
    knowledge = request.param
    asked = knowledge.ask("identical" if knowledge.text is None else "heldout")
    return knowledge, written(CONFIG, knowledge), asked


def same(one, two):
    assert (one.value_ids_QK == two.value_ids_QK).all()
    assert np.allclose(one.log_probs_QK, two.log_probs_QK, atol=1e-5)


# ---- the laws of the seam ----------------------------------------------------------------------------------------


def test_it_is_a_memory_and_remembers(case):
    knowledge, memory, _ = case
    assert isinstance(memory, Memory)
    assert accuracy(memory, knowledge.ask("identical")) == 1


def test_score_changes_no_other_field_and_the_mass_on_the_relation_is_one(case):
    knowledge, memory, asked = case
    score = np.tile(np.arange(knowledge.values.num_values), (len(asked), 1))
    plain, scored = memory.recall(asked.queries, top_k=3), memory.recall(asked.queries, top_k=3, score=score)
    same(plain, scored)
    assert np.exp(scored.scored_QC.astype(np.float64)).sum(axis=1) == pytest.approx(1.0, abs=1e-4)
    for relation in range(len(knowledge.values.relations)):
        outside = ~np.isin(np.arange(knowledge.values.num_values), knowledge.values.candidates(relation))
        assert np.isneginf(scored.scored_QC[asked.queries.relation_ids_Q == relation][:, outside]).all()
    best = np.take_along_axis(scored.scored_QC, scored.value_ids_QK[:, :1], axis=1)
    assert np.allclose(best, scored.log_probs_QK[:, :1])


def test_any_number_of_questions_and_answers_in_any_grouping(case):
    knowledge, memory, asked = case
    together = memory.recall(asked.queries, top_k=3)
    order = np.random.default_rng(0).permutation(len(asked))
    shuffled = memory.recall(asked.queries.rows(order), top_k=3)
    assert (shuffled.value_ids_QK == together.value_ids_QK[order]).all()
    one = memory.recall(asked.queries.rows(np.array([3])), top_k=3)
    assert np.allclose(one.log_probs_QK[0], together.log_probs_QK[3], atol=1e-5)
    none = memory.recall(asked.queries.rows(np.zeros(0, dtype=np.int64)), top_k=4)
    assert none.value_ids_QK.shape == (0, 4)
    many = memory.recall(asked.queries, top_k=knowledge.values.num_values + 7)
    assert (many.value_ids_QK[:, -7:] == -1).all()


def test_a_saved_memory_answers_like_the_one_that_was_saved_and_weighs_what_its_ledger_says(case, tmp_path):
    _, memory, asked = case
    memory.calibration = b"\0\1\2\3"
    memory.save(tmp_path / "saved")
    back = SignMemory.load(tmp_path / "saved")
    same(memory.recall(asked.queries, top_k=3), back.recall(asked.queries, top_k=3))
    assert (back.calibration, back.name, back.config) == (memory.calibration, memory.name, memory.config)
    on_disk = sum(file.stat().st_size for file in (tmp_path / "saved").iterdir())
    for footprint in (memory.footprint(), back.footprint()):
        assert footprint.num_bytes(Part.STORAGE, Part.MAINTAIN, Part.VALUE) == on_disk
        assert footprint.storage_bytes == math.ceil(footprint.num_params / 8) + 4
        assert footprint.num_bytes(Part.SEEDED) > 0


def test_a_memory_is_written_once_and_refuses_keys_of_another_encoder(case):
    knowledge, memory, asked = case
    with pytest.raises(AssertionError, match="written once"):
        memory.write(knowledge.facts())
    with pytest.raises(AssertionError, match="another encoder"):
        memory.recall(replace(asked.queries, encoder_hash="other"))


def test_same_seed_same_bytes_and_test_wordings_change_none(tmp_path):
    changed = replace(
        TEXT,
        text=replace(TEXT.text, wordings=tuple(replace(w, heldout=("{subject}: ?",)) for w in TEXT.text.wordings)),
    )
    for name, knowledge in (("one", TEXT), ("two", changed)):
        written(CONFIG, knowledge).save(tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_bits_are_at_most_the_bytes_and_shuffled_answers_are_worth_nothing():
    measures, encoder = MeasureConfig(), EncoderCost()
    for num_facts in (40, 200):
        setting = Setting(study="s", role="arm", seed=1)
        row = judge(
            CONFIG, KEYS.prefix(num_facts), setting=setting, measures=measures, encoder=encoder, quick=True
        ).rows[0]
        assert 0 <= row.bits_ce <= min(8 * row.storage_bytes + 40, row.demand_bits + 1e-6)
    control = Setting(study="s", role="control", seed=2, shuffled=True)
    row = judge(CONFIG, KEYS, setting=control, measures=measures, encoder=encoder, quick=True).rows[0]
    assert max(row.bits_ce, row.bits_argmax) <= 40


# ---- what is its own ---------------------------------------------------------------------------------------------


def test_more_than_five_bits_in_a_byte():
    knowledge = keys_set(KeysConfig(dim=16, num_values=16, num_facts=660))
    memory = SignMemoryConfig(features=1001).build(seed=0)
    cost = memory.write(knowledge.facts())
    memory.calibration = b"0000"
    asked = knowledge.ask("identical")
    assert accuracy(memory, asked) >= 0.99
    assert knowledge.demand_bits() / memory.footprint().storage_bytes >= 5.2
    assert cost.optimizer_steps == cost.exposures <= 4000
    # What such a load pays for it: a hundredth of the bits flipped costs a tenth of the facts, moved keys far more.
    assert 0.8 < accuracy(memory.perturbed(flip_rate=0.01, seed=0), asked) < 0.97
    assert accuracy(memory, with_key_noise(asked, 0.1, seed=0)) < 0.6


def test_a_light_load_stands_flipped_bits():
    memory, asked = written(SignMemoryConfig(features=1001), KEYS), KEYS.ask("identical")
    found = flip90(memory, asked, seed=0)
    assert found is not None
    assert found > 0.03
    assert accuracy(memory.perturbed(flip_rate=0.5, seed=0), asked) < 0.2
    assert accuracy(memory.perturbed(seed=0), asked) == accuracy(memory, asked) == 1
    with pytest.raises(NotImplementedError, match="flip bits"):
        memory.perturbed(relative_noise=0.1, seed=0)


def test_what_does_not_fit_is_given_up_and_the_rest_is_kept():
    memory = SignMemoryConfig(features=101, sweeps=200).build(seed=0)
    knowledge = keys_set(KeysConfig(dim=16, num_values=16, num_facts=110))
    cost = memory.write(knowledge.facts())
    assert 0.7 < accuracy(memory, knowledge.ask("identical")) < 0.99
    assert 200 < cost.optimizer_steps <= 800  # four attempts at most


def test_an_answer_is_as_sure_as_its_margins():
    """Of two values one bit tells: a probit of the sum over F features, in tenths of sqrt(F)."""
    knowledge = keys_set(KeysConfig(dim=8, num_values=2, num_facts=40))
    memory, asked = written(SignMemoryConfig(features=101), knowledge), knowledge.ask("identical")
    scored = memory.recall(asked.queries, score=np.tile([0, 1], (40, 1))).scored_QC
    sums = (memory._features(asked.queries.key_vectors()) @ memory._weights_OF.T)[:, 0].numpy() / (0.1 * math.sqrt(101))
    expected = [[NormalDist().cdf(-float(margin)), NormalDist().cdf(float(margin))] for margin in sums]
    assert np.exp(scored) == pytest.approx(np.array(expected), abs=1e-5)


def test_of_the_attempts_the_best_is_kept(monkeypatch):
    fit, missed = binary_perceptron.fit_binary_perceptrons, []

    def noted(*patterns_and_labels, **settings):
        found = fit(*patterns_and_labels, **settings)
        missed.append(found.missed_share)
        return found

    monkeypatch.setattr(binary_perceptron, "fit_binary_perceptrons", noted)
    memory = SignMemoryConfig(features=101, sweeps=25).build(seed=0)
    knowledge = keys_set(KeysConfig(dim=16, num_values=16, num_facts=75))
    memory.write(knowledge.facts())
    assert len(missed) == 4 and min(missed) < missed[-1]
    assert accuracy(memory, knowledge.ask("identical")) == pytest.approx(1 - min(missed))


@pytest.mark.parametrize("counts", [(16,), (1,), (2,), (50,), (9, 4, 1), (3, 3, 3)])
def test_no_code_begins_another_and_every_bit_is_used(counts):
    starts = tuple(np.concatenate([[0], np.cumsum(counts)]).tolist())
    values = ValueTable(strings=None, relations=tuple(map(str, counts)), starts=starts)
    codes = bit_codes(values)
    assert codes.shape[1] == math.ceil(math.log2(max(counts)))
    for relation, count in enumerate(counts):
        rows = codes[values.candidates(relation)]
        # Kraft's sum is 1 and any two codes differ in a bit that both have: every answer is read as one value.
        assert (2.0 ** -np.abs(rows).sum(1)).sum() == 1.0
        assert np.abs(rows).sum(1).max() - np.abs(rows).sum(1).min() <= 1
        differ = (rows[:, None] * rows[None, :] == -1).any(2)
        assert (differ | np.eye(count, dtype=bool)).all()


def test_relations_share_the_outputs():
    codes = bit_codes(ValueTable(strings=None, relations=("a", "b", "c"), starts=(0, 16, 20, 24)))
    used = [np.abs(codes[start:end]).any(0).tolist() for start, end in ((0, 16), (16, 20), (20, 24))]
    assert used == [[True] * 4, [True, True, False, False], [False, False, True, True]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"features": 100}, "odd"),
        ({"features": -1}, "odd"),
        ({"sweeps": 0}, "sweeps"),
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"may_miss": 1.0}, "may_miss"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SignMemoryConfig(**wrong)
    assert SignMemoryConfig().name == "signs-2001"
