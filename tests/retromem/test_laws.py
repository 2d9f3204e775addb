"""The laws of the seam, over every memory: what must hold whoever remembers."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from models.decoder_budget import DecoderBudget
from models.decoder_config import DecoderConfig
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig, LinearConfig, TopKConfig
from models.memory_kinds import LookupConfig, OneNeuronExpertsConfig, ProductKeysConfig
from models.stack_kinds import StackConfig
from models.training_budget import TrainingBudget
from retrieval.chunk_store import ChunkStore
from retrieval.segment import Segment
from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.from_table import text_set
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.knowledge.wordings import Wordings
from retromem.measure.answers import accuracy, answers, bits_recalled, fit_calibration
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.robustness import with_key_noise
from retromem.measure.settings import MeasureConfig
from retromem.memories.closed_book_memory import ClosedBookConfig
from retromem.memories.closed_form_memory import ClosedFormMemoryConfig
from retromem.memories.faiss_memory import FaissMemory, FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemory, FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.hybrid_memory import HybridMemoryConfig
from retromem.memories.lexical_memory import LexicalMemoryConfig
from retromem.memories.paired_memory import PairedMemory, PairedMemoryConfig
from retromem.memories.ranking import BLOCK
from retromem.memories.sign_memory import SignMemoryConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.memories.willshaw_memory import WillshawMemoryConfig
from retromem.seam import Memory, Part

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

SHORT = TrainingBudget(steps=100)
TINY = DecoderConfig(dim=8, depth=1, ffn=DenseConfig(width=8))
ON_KEYS = [
    FFNMemoryConfig(ffn=DenseConfig(kind="relu", width=16), training=SHORT),
    FFNMemoryConfig(ffn=GatedConfig(width=16), precision="int8", training=SHORT),
    FaissMemoryConfig(),
    FaissMemoryConfig(chunks=5),
    FaissMemoryConfig(factory="LSH", rotate_to=32),
    FaissMemoryConfig(factory="SQ8"),
    FrequencyConfig(),
    FrequencyConfig(guess=True),
    StaticFunctionConfig(),
    FFNMemoryConfig(ffn=LinearConfig(), training=SHORT),
    FFNMemoryConfig(ffn=DenseConfig(kind="silu", width=16, bias=True), precision="int8", training=SHORT),
    FFNMemoryConfig(ffn=TopKConfig(width=32, annealed=True), training=SHORT),
    FFNMemoryConfig(ffn=ExpertsConfig(experts=4, width=6, shared=1), training=SHORT),
    FFNMemoryConfig(ffn=ExpertsConfig(experts=4, width=6, balancing="bias"), precision="int8", training=SHORT),
    FFNMemoryConfig(ffn=ProductKeysConfig(sub_keys=4, query_norm="batch"), training=SHORT),
    FFNMemoryConfig(ffn=OneNeuronExpertsConfig(sub_keys=12, heads=2), training=SHORT),
    FFNMemoryConfig(ffn=LookupConfig(rows=16), precision="float16", training=SHORT),
    FFNMemoryConfig(ffn=GatedConfig(width=16), precision="int4", training=replace(SHORT, rounding="aware")),
    FFNMemoryConfig(ffn=StackConfig(depth=2, block=DenseConfig(width=8), parallel=True), training=SHORT),
    ClosedFormMemoryConfig(method="outer_products"),
    ClosedFormMemoryConfig(method="pseudo_inverse", precision="int8"),
    ClosedFormMemoryConfig(method="random_features", width=64),
    ClosedFormMemoryConfig(method="hebbian", width=32),
    ClosedFormMemoryConfig(method="data_dependent", width=32),
    ClosedFormMemoryConfig(method="gated_jl", width=32),
    ClosedFormMemoryConfig(method="value_line", width=24, code_dim=50),
    SignMemoryConfig(features=401),
    WillshawMemoryConfig(cue_units=60),
]
ON_TEXT = [
    FFNMemoryConfig(ffn=DenseConfig(width=16), precision="float16", training=SHORT),
    ClosedFormMemoryConfig(method="whitened", width=16),
    SignMemoryConfig(features=301),
    WillshawMemoryConfig(cue_units=200),
    FaissMemoryConfig(),
    FaissMemoryConfig(key_by="statement", chunks=3),
    FaissMemoryConfig(factory="LSH", rotate_to=64),
    PairedMemoryConfig(ffn=DenseConfig(width=8), chunks=2, training=SHORT),
    PairedMemoryConfig(ffn=DenseConfig(width=8), neighbours="random", training=SHORT),
    ClosedBookConfig(decoder=TINY, training=DecoderBudget(exposures=4), precision="int8"),
    LexicalMemoryConfig(),
    LexicalMemoryConfig(key_by="statement", k1=0.9, b=0.4),
    LexicalMemoryConfig(key_by="statement", common_words="left_out"),
    HybridMemoryConfig(),
    HybridMemoryConfig(key_by="statement", factory="LSH", rotate_to=64, depth=20),
    FrequencyConfig(),
    StaticFunctionConfig(),
]
KEYS = keys_set(KeysConfig(dim=12, num_values=50, num_facts=200))


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
    rng = np.random.default_rng(5)
    names = ["".join(rng.choice(list("abcdefghijklmnop"), size=9)) for _ in range(80)]
    relations = ["colour"] * 50 + ["size"] * 30
    values = [f"c{v}" for v in rng.integers(9, size=50)] + [f"s{v}" for v in rng.integers(4, size=30)]
    table = FactTable(
        name="toys",
        subjects=tuple(names),
        relations=tuple(relations),
        values=tuple(values),
        popularity=None,
        aliases=((),) * 80,
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
        for relation in ("colour", "size")
    }
    return text_set(table, wordings).with_keys(TrigramKeys())


TEXT = texts()


def written(config, knowledge, seed=0) -> Memory:
    memory = config.build(seed=seed)
    if isinstance(memory, PairedMemory):
        taught, knowledge = knowledge.split(0.5, seed=seed)
        memory.teach(taught.facts(statements=True))
    memory.write(knowledge.facts(statements=config.stores == "statements"))
    return memory


CASES = [(config, KEYS) for config in ON_KEYS] + [(config, TEXT) for config in ON_TEXT]
IDS = [f"{knowledge.name}-{config.name}" for config, knowledge in CASES]


@pytest.fixture(scope="module", params=CASES, ids=IDS)
def case(request):
    """A written memory, its set, and questions about it."""
    config, knowledge = request.param
    asked = knowledge.ask("identical" if knowledge.text is None else "heldout")
    return config, knowledge, written(config, knowledge), asked


def same(one, two, tolerance=1e-5):
    assert (one.value_ids_QK == two.value_ids_QK).all()
    assert np.allclose(one.log_probs_QK, two.log_probs_QK, atol=tolerance, equal_nan=True)
    assert np.allclose(one.confidence_Q, two.confidence_Q, atol=tolerance)


def test_every_memory_is_one(case):
    assert isinstance(case[2], Memory)


def test_score_changes_no_other_field_and_scores_the_candidates(case):
    _, knowledge, memory, asked = case
    plain = memory.recall(asked.queries, top_k=3)
    score = np.tile(np.arange(knowledge.values.num_values), (len(asked), 1))
    scored = memory.recall(asked.queries, top_k=3, score=score)
    same(plain, scored, tolerance=0.0)
    assert plain.scored_QC.shape == (len(asked), 0)
    best = np.take_along_axis(scored.scored_QC, np.maximum(scored.value_ids_QK[:, :1], 0), axis=1)[:, 0]
    named = scored.value_ids_QK[:, 0] >= 0
    assert np.allclose(best[named], scored.log_probs_QK[named, 0])


def test_mass_is_at_most_one_and_lies_on_the_relation(case):
    _, knowledge, memory, asked = case
    score = np.tile(np.arange(knowledge.values.num_values), (len(asked), 1))
    scored = memory.recall(asked.queries, score=score).scored_QC
    assert (np.exp(scored.astype(np.float64)).sum(axis=1) <= 1 + 1e-4).all()
    for relation in range(len(knowledge.values.relations)):
        outside = np.ones(knowledge.values.num_values, dtype=bool)
        outside[knowledge.values.candidates(relation)] = False
        assert np.isneginf(scored[asked.queries.relation_ids_Q == relation][:, outside]).all()


def test_ranked_values_are_distinct_best_first_ties_by_smaller_id(case):
    _, _, memory, asked = case
    recall = memory.recall(asked.queries, top_k=5)
    for ids, log_probs in zip(recall.value_ids_QK, recall.log_probs_QK, strict=True):
        named = ids[ids >= 0]
        assert len(set(named)) == len(named)
        assert (log_probs[len(named) :] == -np.inf).all()
        pairs = list(zip(-log_probs[: len(named)], named, strict=True))
        assert pairs == sorted(pairs)


def test_no_query_and_more_answers_than_there_are_values_work(case):
    _, knowledge, memory, asked = case
    none = memory.recall(asked.queries.rows(np.zeros(0, dtype=np.int64)), top_k=4)
    assert none.value_ids_QK.shape == (0, 4)
    many = memory.recall(asked.queries, top_k=knowledge.values.num_values + 7)
    assert (many.value_ids_QK[:, -7:] == -1).all()


def test_answers_do_not_depend_on_how_questions_are_grouped(case):
    _, _, memory, asked = case
    together = memory.recall(asked.queries, top_k=3)
    order = np.random.default_rng(0).permutation(len(asked))
    shuffled = memory.recall(asked.queries.rows(order), top_k=3)
    assert (shuffled.value_ids_QK == together.value_ids_QK[order]).mean() > 0.999
    one = memory.recall(asked.queries.rows(np.array([3])), top_k=3)
    assert np.allclose(one.log_probs_QK[0], together.log_probs_QK[3], atol=1e-5)
    assert len(asked) < BLOCK or len(np.unique(asked.queries.relation_ids_Q)) >= 1


def test_a_saved_memory_answers_like_the_one_that_was_saved_and_weighs_what_its_ledger_says(case, tmp_path):
    _, knowledge, memory, asked = case
    memory.calibration = b"\0\1\2\3"
    memory.save(tmp_path / "saved")
    back = type(memory).load(tmp_path / "saved")
    same(memory.recall(asked.queries, top_k=3), back.recall(asked.queries, top_k=3))
    assert back.calibration == memory.calibration
    on_disk = sum(file.stat().st_size for file in (tmp_path / "saved").iterdir())
    for footprint in (memory.footprint(), back.footprint()):
        assert footprint.num_bytes(Part.STORAGE, Part.MAINTAIN, Part.VALUE) == on_disk
        assert footprint.num_bytes(Part.VALUE) == (0 if knowledge.text is None else len(
            (tmp_path / "saved" / "values.json.zlib").read_bytes()
        ))  # fmt: skip
    assert back.name == memory.name


def test_permuting_test_wordings_changes_no_written_byte(tmp_path):
    changed = replace(
        TEXT,
        text=replace(TEXT.text, wordings=tuple(replace(w, heldout=("{subject}: ?",)) for w in TEXT.text.wordings)),
    )
    for number, config in enumerate(ON_TEXT[:4]):
        for name, knowledge in (("one", TEXT), ("two", changed)):
            written(config, knowledge).save(tmp_path / f"{number}-{name}")
        for file in (tmp_path / f"{number}-one").iterdir():
            assert file.read_bytes() == (tmp_path / f"{number}-two" / file.name).read_bytes()


@pytest.mark.parametrize("config", ON_KEYS, ids=lambda config: config.name)
def test_bits_on_uniform_labels_are_at_most_the_bytes_and_the_demand(config):
    for num_facts in (40, 200):
        row = judge(
            config,
            KEYS.prefix(num_facts),
            setting=Setting(study="s", role="arm", seed=1),
            measures=MeasureConfig(),
            encoder=EncoderCost(),
            quick=True,
        ).rows[0]
        assert row.bits_ce <= 8 * row.storage_bytes + 40
        assert 0 <= row.bits_ce <= row.demand_bits + 1e-6
        assert 0 <= row.bits_argmax <= row.demand_bits + 1e-6


@pytest.mark.parametrize("config", [*ON_KEYS[:3], ON_KEYS[5]], ids=lambda config: config.name)
def test_shuffled_answers_are_worth_nothing(config):
    setting = Setting(study="s", role="control", seed=2, shuffled=True)
    row = judge(config, KEYS, setting=setting, measures=MeasureConfig(), encoder=EncoderCost(), quick=True).rows[0]
    assert row.bits_ce <= 40
    assert row.bits_argmax <= 40
    assert row.memory.endswith("-shuffled")


@pytest.mark.parametrize(
    "config",
    [FFNMemoryConfig(ffn=DenseConfig(width=16), training=TrainingBudget(steps=0)), FrequencyConfig(guess=True)],
)
def test_untrained_weights_and_guesses_are_worth_nothing(config):
    for knowledge in (KEYS, TEXT, TEXT.twin(seed=1)):
        setting = Setting(study="s", role="control", seed=2)
        rows = judge(config, knowledge, setting=setting, measures=MeasureConfig(), encoder=EncoderCost()).rows
        assert all(row.bits_ce <= 40 and row.bits_argmax <= 40 for row in rows)


def test_flat_is_brute_force():
    memory = FaissMemoryConfig().build(seed=0)
    memory.write(KEYS.facts())
    noisy = with_key_noise(KEYS.ask("identical"), 0.8, seed=0)
    nearest = (noisy.queries.key_vectors() @ KEYS.facts().cues[0].key_vectors().T).argmax(axis=1)
    recall = memory.recall(noisy.queries, top_k=1)
    assert (recall.value_ids_QK[:, 0] == KEYS.value_ids_N[nearest]).all()
    assert (recall.fact_ids_QK[:, 0] == KEYS.facts().ids_N[nearest]).all()


def test_several_chunks_share_the_mass_by_similarity():
    config = FaissMemoryConfig(chunks=4, temperature=0.2)
    memory = config.build(seed=0)
    memory.write(KEYS.facts())
    asked = with_key_noise(KEYS.ask("identical", num=20), 0.5, seed=1)
    similarity = asked.queries.key_vectors() @ KEYS.facts().cues[0].key_vectors().T
    recall = memory.recall(asked.queries, top_k=4)
    for row in range(20):
        nearest = np.argsort(-similarity[row])[:4]
        weight = np.exp(similarity[row][nearest] / 0.2)
        mass = np.bincount(KEYS.value_ids_N[nearest], weights=weight / weight.sum(), minlength=50)
        best = recall.value_ids_QK[row][recall.value_ids_QK[row] >= 0]
        assert np.allclose(np.exp(recall.log_probs_QK[row][: len(best)]), np.sort(mass[mass > 0])[::-1], atol=1e-4)
        assert recall.value_ids_QK[row, 0] == mass.argmax()
        for value, fact in zip(best, recall.fact_ids_QK[row], strict=False):  # the nearest chunk of a value speaks
            assert fact == KEYS.facts().ids_N[next(chunk for chunk in nearest if KEYS.value_ids_N[chunk] == value)]


def test_no_neighbours_is_no_retrieval_bit_for_bit():
    taught, judged = TEXT.split(0.5, seed=3)
    pair = PairedMemoryConfig(ffn=DenseConfig(width=8), chunks=0, training=SHORT).build(seed=3)
    pair.teach(taught.facts(statements=True))
    pair.write(judged.facts(statements=True))
    plain = FFNMemoryConfig(ffn=DenseConfig(width=8), training=SHORT).build(seed=3)
    plain.write(taught.facts())
    asked = judged.ask("heldout").queries
    one, two = pair.recall(asked), plain.recall(asked)
    assert (one.value_ids_QK == two.value_ids_QK).all()
    assert (one.log_probs_QK == two.log_probs_QK).all()


def test_the_oracle_reads_the_statement_of_the_fact_asked_for():
    taught, judged = TEXT.split(0.5, seed=3)
    pair = PairedMemoryConfig(ffn=DenseConfig(width=8), neighbours="oracle", training=SHORT).build(seed=3)
    pair.teach(taught.facts(statements=True))
    pair.write(judged.facts(statements=True))
    asked = judged.ask("heldout")
    pair.reveal(dict(zip(asked.queries.texts, asked.fact_ids_Q.tolist(), strict=True)))
    relation = int(asked.queries.relation_ids_Q[0])
    rows = np.flatnonzero(asked.queries.relation_ids_Q == relation)
    positions = pair._positions(pair._store, asked.queries.rows(rows))
    assert (pair._store.ids_N[positions[:, 0]] == asked.fact_ids_Q[rows]).all()


def test_static_function_is_exact_and_near_the_entropy():
    knowledge = keys_set(KeysConfig(dim=8, num_values=16, num_facts=3000))
    memory = StaticFunctionConfig().build(seed=0)
    memory.write(knowledge.facts())
    assert accuracy(memory, knowledge.ask("identical")) == 1.0
    assert knowledge.demand_bits() / 8 < memory.footprint().storage_bytes < 1.04 * knowledge.demand_bits() / 8


def test_a_static_function_keeps_the_first_value_of_two_facts_with_one_key():
    keys_ND, value_ids_N = KEYS.all_keys.copy(), KEYS.all_value_ids.copy()
    keys_ND[100:] = keys_ND[:100]
    knowledge = replace(KEYS, all_keys=keys_ND, all_value_ids=value_ids_N)
    memory = written(StaticFunctionConfig(), knowledge)
    told = memory.recall(knowledge.ask("identical").queries, top_k=1).value_ids_QK[:, 0]
    assert (told == np.tile(value_ids_N[:100], 2)).all() and (value_ids_N[:100] != value_ids_N[100:]).any()


def test_a_static_function_answers_where_there_is_but_one_value():
    knowledge = replace(KEYS, all_value_ids=np.full(200, 7))
    assert accuracy(written(StaticFunctionConfig(), knowledge), knowledge.ask("identical")) == 1


def test_guesses_are_drawn_by_how_frequent_values_are():
    skewed = replace(KEYS, all_value_ids=np.where(np.arange(200) < 170, 7, KEYS.all_value_ids % 5))
    told = written(FrequencyConfig(guess=True), skewed).recall(skewed.ask("identical").queries, top_k=1)
    assert 150 <= (told.value_ids_QK[:, 0] == 7).sum() <= 188  # 170 of 200, within 3.5 standard deviations
    assert set(told.value_ids_QK[:, 0].tolist()) == {0, 1, 2, 3, 4, 7}


def test_same_seed_same_answers():
    for config in (ON_KEYS[0], ON_KEYS[4], ON_KEYS[7]):
        one, two = written(config, KEYS, seed=4), written(config, KEYS, seed=4)
        same(one.recall(KEYS.ask("identical").queries), two.recall(KEYS.ask("identical").queries), tolerance=0.0)


def test_another_seed_makes_other_guesses_and_weights():
    asked = KEYS.ask("identical").queries
    for config in (ON_KEYS[0], FrequencyConfig(guess=True)):
        one, two = (written(config, KEYS, seed=seed).recall(asked, top_k=1) for seed in (4, 5))
        assert (one.value_ids_QK != two.value_ids_QK).any() or (one.log_probs_QK != two.log_probs_QK).any()


def test_streamed_scores_equal_scores_of_one_large_table():
    memory = written(ON_KEYS[0], KEYS)
    asked = KEYS.ask("identical")
    calibration = fit_calibration(memory, asked, KEYS.values, num_facts=200)
    streamed = answers(memory, asked, KEYS.values, calibration)
    table = memory.recall(asked.queries, score=np.tile(np.arange(50), (200, 1))).scored_QC.astype(np.float64)
    tempered = table / calibration.temperature
    tempered -= tempered.max(axis=1, keepdims=True)
    p = np.exp(tempered) / np.exp(tempered).sum(axis=1, keepdims=True)
    true = p[np.arange(200), asked.value_ids_Q]
    expected = np.log2((1 - calibration.epsilon) * true + calibration.epsilon / 50)
    assert streamed.log2_p_Q == pytest.approx(expected, abs=1e-6)
    bits = bits_recalled(streamed, demand_bits=KEYS.demand_bits(), num_facts=200, uniform=True, tau=0.99)
    assert bits.bits_at_tau == (KEYS.demand_bits() if streamed.accuracy >= 0.99 else None)


def test_a_memory_refuses_keys_of_another_encoder():
    memory = written(ON_KEYS[2], KEYS)
    with pytest.raises(AssertionError, match="another encoder"):
        memory.recall(replace(KEYS.ask("identical").queries, encoder_hash="other"))


def test_a_memory_is_written_once():
    for config in (ON_KEYS[0], ON_KEYS[2], ON_KEYS[6], ON_KEYS[8]):
        memory = written(config, KEYS)
        with pytest.raises(AssertionError, match="written once"):
            memory.write(KEYS.facts())


def test_disturbed_copies_are_worse_and_leave_the_memory_alone():
    asked = KEYS.ask("identical")
    ffn = written(ON_KEYS[0], KEYS.prefix(100))
    assert isinstance(ffn, FFNMemory)
    hundred = KEYS.prefix(100).ask("identical")
    before = accuracy(ffn, hundred)
    assert accuracy(ffn.perturbed(relative_noise=2.0, seed=0), hundred) < before
    assert accuracy(ffn.perturbed(flip_rate=0.5, seed=0), hundred) < before
    assert accuracy(ffn.perturbed(seed=0), hundred) == before == accuracy(ffn, hundred)
    store = written(ON_KEYS[4], KEYS)
    assert isinstance(store, FaissMemory)
    assert accuracy(store.perturbed(flip_rate=0.5, seed=0), asked) < accuracy(store, asked)
    assert accuracy(store.perturbed(seed=0), asked) == accuracy(store, asked)


def not_counted(memory):
    """The same index, as if nobody were told how often values occur: labels have fixed bits."""
    (segment,) = memory._store.segments
    memory._store = ChunkStore([Segment(replace(segment.chunks, label_counts_G=None), segment.index)], None)
    return memory


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.5])
def test_bits_of_the_payload_flip_too(rate):
    store = not_counted(written(FaissMemoryConfig(), KEYS))
    kept = np.mean([
        (store.perturbed(flip_rate=rate, seed=seed)._store.labels_N == store._store.labels_N).mean()
        for seed in range(20)
    ])  # fmt: skip
    # Six bits a label; what lies beyond the fifty values names one of the first again.
    assert kept == pytest.approx((1 - rate) ** 6, abs=0.02)


def test_a_label_all_of_whose_bits_flip_is_counted_round_the_values():
    store = not_counted(written(FaissMemoryConfig(), KEYS))
    flipped_N = store.perturbed(flip_rate=1.0, seed=0)._store.labels_N
    assert flipped_N.tolist() == [(63 - label) % 50 for label in store._store.labels_N.tolist()]


@pytest.mark.parametrize(("neighbours", "chunks"), [("retrieved", 3), ("random", 3), ("oracle", 1)])
def test_what_a_pair_reads_is_of_the_relation_it_is_asked_for(neighbours, chunks):
    config = PairedMemoryConfig(
        ffn=DenseConfig(width=8), neighbours=neighbours, chunks=chunks, training=TrainingBudget(steps=1)
    )
    pair = written(config, TEXT)
    asked = TEXT.split(0.5, seed=0)[1].ask("heldout")
    if pair.is_told:
        pair.reveal(dict(zip(asked.queries.texts, asked.fact_ids_Q.tolist(), strict=True)))
    for relation in (0, 1):
        queries = asked.queries.rows(np.flatnonzero(asked.queries.relation_ids_Q == relation))
        read_QK = pair._positions(pair._store, queries)
        assert len(read_QK) and (pair._store.groups_N[read_QK] == relation).all()
        assert neighbours != "random" or len(np.unique(read_QK)) > 10, "not the same few for all"


def test_a_pair_is_told_how_near_its_neighbours_are():
    pair = written(PairedMemoryConfig(ffn=DenseConfig(width=8), chunks=3, training=TrainingBudget(steps=1)), TEXT)
    asked = TEXT.ask("heldout").queries
    vectors_QKD, similarities_QK = (found.numpy() for found in pair._neighbours(pair._store, asked))
    stored_ND = pair._store.reconstruct(np.arange(len(pair._store.ids_N)))
    for row, relation in enumerate(asked.relation_ids_Q):
        own = stored_ND[pair._store.groups_N == relation] @ asked.key_vectors()[row]
        assert similarities_QK[row] == pytest.approx(np.sort(own)[::-1][:3], abs=1e-5)
        assert vectors_QKD[row] @ asked.key_vectors()[row] == pytest.approx(similarities_QK[row], abs=1e-5)


def test_key_noise_has_the_length_asked_for():
    asked = KEYS.ask("identical")
    moved = with_key_noise(asked, 0.1, seed=0).queries.key_vectors()
    keys = asked.queries.key_vectors()
    assert np.linalg.norm(moved, axis=1) == pytest.approx(np.linalg.norm(keys, axis=1), rel=1e-5)
    cosine = (moved * keys).sum(axis=1)
    # Noise r in a random direction: the angle is atan(r sin) at most, so the cosine lies within r^2 / 2 of 1.
    assert (cosine > 1 - 0.1**2 * 0.6).all()
    assert cosine.mean() < 1 - 0.1**2 * 0.3
