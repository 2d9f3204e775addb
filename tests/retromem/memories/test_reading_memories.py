"""Memories that read: what is retrieved, what the model is given, what they know without it, and what they weigh."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.decoder_budget import DecoderBudget
from models.decoder_config import DecoderConfig
from models.ffn_kinds import DenseConfig
from models.retro import NO_TOKEN
from models.token_batches import ShuffledPasses
from retrieval.errors import Refused, UserError
from retromem.knowledge.biographies import BiographiesConfig
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.language.prompts import prompts_of
from retromem.language.reading_texts import ReadingQuestions, ReadingTexts
from retromem.language.swapped_facts import with_other_values
from retromem.language.text_tokens import people_tokens
from retromem.language.tokenizer_config import TokenizerConfig
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import MeasureConfig
from retromem.memories.kept_readers import readers_kept_in
from retromem.memories.rag_memory import RagMemoryConfig
from retromem.memories.retro_memory import RetroMemoryConfig
from retromem.memories.statement_store import StatementStore

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
ATTRIBUTES = ("university", "major")
PEOPLE = BiographiesConfig(num_people=30, attributes=ATTRIBUTES, num_written=2).build()
OTHERS = BiographiesConfig(num_people=40, attributes=ATTRIBUTES, num_written=2, seed=9)
SETTINGS = {
    "decoder": DecoderConfig(dim=16, depth=2, ffn=DenseConfig(width=16)),
    "tokenizer": TokenizerConfig(tokens="people"),
    "training": DecoderBudget(exposures=2),
    "taught_on": OTHERS,
}
RETRO, RAG = RetroMemoryConfig(**SETTINGS), RagMemoryConfig(**SETTINGS)
KINDS = pytest.mark.parametrize("config", [RETRO, RAG, replace(RAG, prefix="causal")], ids=lambda config: config.name)


def written(config, knowledge=PEOPLE, seed=0):
    memory = config.build(seed=seed)
    memory.write(knowledge.facts(statements=True))
    return memory


def test_the_statement_of_the_fact_asked_for_is_found_whatever_the_wording() -> None:
    store = StatementStore.of(PEOPLE.facts(statements=True))
    for phrasing in PEOPLE.phrasings():
        asked = PEOPLE.ask(phrasing)
        best_Q = store.search(asked.queries, 3)[:, 0]
        assert (store.ids_N[best_Q] == asked.fact_ids_Q).mean() > 0.94
        for row, relation in zip(best_Q.tolist(), asked.queries.relation_ids_Q.tolist(), strict=True):
            assert row in store.window(relation)


def test_a_store_is_found_again_in_its_folder(tmp_path) -> None:
    store = StatementStore.of(PEOPLE.facts(statements=True))
    for name, content in {**store.storage_files(), **store.maintain_files()}.items():
        (tmp_path / name).write_bytes(content)
    back, asked = StatementStore.of_folder(tmp_path), PEOPLE.ask("heldout").queries
    assert back.texts == store.texts and np.array_equal(back.ids_N, store.ids_N)
    assert np.array_equal(back.search(asked, 4), store.search(asked, 4))


def test_what_a_step_is_given() -> None:
    tokens = people_tokens()
    texts = [[*ids, tokens.end] for ids in tokens.ids(["Badrin Baebbick was born in Arkendale .", "Arkendale"])]
    questions = ReadingQuestions(
        prompts=[[0, 11, 12, 13], [0, 14]],
        answers=[[20, 1], [21, 22, 1]],
        statements_NK=np.array([[1, 0], [0, -1]]),
        texts=texts,
    )
    passes = ShuffledPasses(2, exposures=3, batch_size=2, seed=0)
    settings = {"order": "ranked", "seed": 0}
    for step in range(3):
        order = passes.rows(step).tolist()
        inside = ReadingTexts(questions, passes, chunk_tokens=None, both_ways=True, **settings).batch(step)
        outside = ReadingTexts(questions, passes, chunk_tokens=3, both_ways=False, **settings).batch(step)
        for place, row in enumerate(order):
            prompt = [0, *[token for at in questions.statements_NK[row] if at >= 0 for token in texts[at]]]
            prompt += questions.prompts[row][1:]
            length = len(prompt) + len(questions.answers[row])
            assert inside.tokens_BL[place, :length].tolist() == [*prompt, *questions.answers[row]]
            assert inside.context[0][place] == len(prompt)
            assert inside.tokens_BL[place][inside.learnt_BL[place]].tolist() == questions.answers[row]
            whole = [*questions.prompts[row], *questions.answers[row]]
            assert outside.tokens_BL[place, : len(whole)].tolist() == whole
            neighbours_BUKR, lacking_B = outside.context
            # Questions of 4 and 2 tokens fill chunks of 3 up to the second, and up to the first: seen from there on.
            chunk = {0: 1, 1: 0}[row]
            assert int(lacking_B[place]) == {0: 2, 1: 1}[row]
            assert (neighbours_BUKR[place, :chunk] == NO_TOKEN).all()
            for number, at in enumerate(questions.statements_NK[row]):
                seen = neighbours_BUKR[place, chunk:, number]
                for chunk_seen in seen:
                    assert chunk_seen[chunk_seen != NO_TOKEN].tolist() == (texts[at] if at >= 0 else [])


def test_a_shuffled_order_is_another_one_and_the_same_again() -> None:
    questions = ReadingQuestions(
        prompts=[[0, 9]] * 40, answers=[[5, 1]] * 40, statements_NK=np.tile([0, 1, 2], (40, 1)), texts=[[3], [4], [5]]
    )
    passes = ShuffledPasses(40, exposures=1, batch_size=40, seed=0)
    batches = ReadingTexts(questions, passes, order="shuffled", chunk_tokens=2, both_ways=False, seed=3)
    read_BK = batches.batch(0).context[0][:, 0, :, 0]
    assert len({tuple(row) for row in read_BK.tolist()}) == 6
    assert torch.equal(batches.batch(0).context[0][:, 0, :, 0], read_BK)


@KINDS
def test_without_statements_the_answer_is_the_decoder_s_own(config) -> None:
    memory = written(replace(config, chunks=0))
    asked = PEOPLE.ask("identical", num=20)
    decoder = getattr(memory._written, "decoder", memory._written)
    recall = memory.recall(asked.queries, top_k=1, score=np.tile(PEOPLE.values.candidates(0)[:3], (20, 1)))
    prompts = prompts_of(people_tokens(), asked.queries.texts)
    assert len(recall.value_ids_QK) == 20
    for row in np.flatnonzero(asked.queries.relation_ids_Q == 0)[:3]:
        tokens_BT = torch.tensor([prompts[row]])
        both_ways = getattr(config, "prefix", "") == "both_ways"
        with torch.inference_mode():
            hidden = decoder.hidden(tokens_BT, *((torch.tensor([tokens_BT.shape[1]]),) if both_ways else ()))
            tree = memory._tree(0)
            from models.prefix_reading import PrefixReading

            reader = PrefixReading(decoder) if both_ways else decoder
            _, past = reader.read(tokens_BT)
            found = tree.log_likelihoods(reader, hidden[:, -1], past)[0].log_softmax(0)
        assert torch.equal(found[:3], torch.from_numpy(recall.scored_QC[row])) or torch.allclose(
            found[:3], torch.from_numpy(recall.scored_QC[row]), atol=1e-5
        )


@KINDS
def test_each_control_reads_what_its_name_says(config) -> None:
    asked = PEOPLE.ask("identical")
    found = {}
    for neighbours in ("retrieved", "shuffled", "random", "oracle", "answer_removed"):
        memory = written(replace(config, chunks=3, neighbours=neighbours, training=DecoderBudget(exposures=0)))
        assert memory.is_told == (neighbours in ("oracle", "answer_removed"))
        if memory.is_told:
            memory.reveal(dict(zip(asked.queries.texts, asked.fact_ids_Q.tolist(), strict=True)))
        found[neighbours] = memory._statements(asked.queries)
        assert found[neighbours].shape == (60, 3)
        assert np.array_equal(memory._statements(asked.queries.rows(np.array([7])))[0], found[neighbours][7])
        store = memory._store
    own_Q = np.array([memory._row_of[fact] for fact in asked.fact_ids_Q.tolist()])
    assert np.array_equal(np.sort(found["shuffled"], axis=1), np.sort(found["retrieved"], axis=1))
    assert not np.array_equal(found["shuffled"], found["retrieved"])
    assert (found["oracle"][:, 0] == own_Q).all() and (found["oracle"][:, 1:] != own_Q[:, None]).all()
    assert (found["answer_removed"] != own_Q[:, None]).all()
    assert (found["random"] == own_Q[:, None]).any(1).mean() < 0.3
    for row, relation in zip(found["random"], asked.queries.relation_ids_Q.tolist(), strict=True):
        assert all(place in store.window(relation) for place in row.tolist())


@KINDS
def test_saved_and_loaded_it_reads_the_same(config, tmp_path) -> None:
    untrained = replace(config, precision="int8", training=DecoderBudget(exposures=0))
    memory, asked = written(untrained), PEOPLE.ask("heldout", num=12)
    memory.calibration = b"\0\1\2\3"
    memory.save(tmp_path / "saved")
    back = type(memory).load(tmp_path / "saved")
    one, other = (side.recall(asked.queries, top_k=3) for side in (memory, back))
    assert np.array_equal(one.value_ids_QK, other.value_ids_QK)
    assert memory.write_answers(asked.queries) == back.write_answers(asked.queries)
    on_disk = sum(file.stat().st_size for file in (tmp_path / "saved").iterdir())
    assert memory.footprint().num_bytes("storage", "maintain", "value") == on_disk
    assert memory.footprint().num_params == sum(weight.numel() for weight in memory._written.state_dict().values())


def test_values_that_were_swapped_are_others_everywhere() -> None:
    facts = PEOPLE.facts(statements=True)
    swapped, strings = with_other_values(facts, seed=0), PEOPLE.values.strings
    assert (swapped.value_ids_N != facts.value_ids_N).all()
    relations = np.searchsorted(PEOPLE.values.starts, swapped.value_ids_N, side="right") - 1
    assert np.array_equal(relations, PEOPLE.relation_ids_N)
    for text, before, value in zip(swapped.statements.texts, facts.statements.texts, swapped.value_ids_N, strict=True):
        assert strings[value] in text and text != before


def test_a_decoder_that_is_fitted_stays_what_it_was_closed_book() -> None:
    fitted = written(replace(RETRO, decoder_exposures=3, training=DecoderBudget(exposures=1)))
    alone = written(replace(RETRO, decoder_exposures=3, training=DecoderBudget(exposures=0)))
    for name, weight in fitted._written.decoder.state_dict().items():
        assert torch.equal(weight, alone._written.decoder.state_dict()[name])
    assert not torch.equal(fitted._written.crosses["1"].w_out_DD, alone._written.crosses["1"].w_out_DD)


def test_what_they_refuse() -> None:
    with pytest.raises(Refused, match="give its block `halves: true`"):
        written(replace(RETRO, taught="halves"))
    with pytest.raises(Refused, match="needs texts"):
        RAG.build(seed=0).write(keys_set(KeysConfig()).facts())
    for config, wanted in ((RAG, 40), (RETRO, 12)):
        short = replace(config, decoder=replace(config.decoder, context=wanted // 3))
        with pytest.raises(UserError, match=r"decoder\.context: a question with its answer takes \d+ tokens of words"):
            written(short)
    with pytest.raises(ValueError, match="chunks must be 0 or more"):
        replace(RAG, chunks=-1)
    with pytest.raises(ValueError, match="reading_layers must name layers from 0 to 1"):
        replace(RETRO, reading_layers=(5,))


@pytest.mark.parametrize("config", [RETRO, pytest.param(RAG, marks=pytest.mark.slow)], ids=["retro", "rag"])
def test_it_is_judged_on_the_half_that_it_was_not_taught_on(config) -> None:
    setting, measures = Setting(study="s", role="arm", seed=0, halves=True), MeasureConfig(robustness=False)
    config, people = replace(config, taught="halves"), BiographiesConfig(num_people=12, attributes=ATTRIBUTES).build()
    rows = judge(config, people, setting=setting, measures=measures, encoder=EncoderCost()).rows
    assert {row.side for row in rows} == {"paired"} and rows[0].num_facts == 12 and rows[0].exact_match is not None


@pytest.mark.slow
def test_retro_reads_of_people_that_it_was_never_taught_on_and_knows_nothing_without(tmp_path) -> None:
    people = BiographiesConfig(num_people=40, attributes=ATTRIBUTES, num_written=2).build()
    config = replace(
        RETRO,
        chunks=1,
        decoder=DecoderConfig(dim=64, depth=2),
        training=DecoderBudget(exposures=4, learning_rate=2e-3, goal_nats=0.001),
        taught_on=BiographiesConfig(num_people=1000, attributes=ATTRIBUTES, num_written=9, seed=5),
    )
    asked = people.ask("identical")
    right = {}
    with readers_kept_in(tmp_path):
        for neighbours in ("retrieved", "none", "random"):
            memory = written(replace(config, neighbours=neighbours), people)
            answers = memory.write_answers(asked.queries)
            true = [people.values.strings[value] for value in asked.value_ids_Q.tolist()]
            right[neighbours] = sum(map(str.__eq__, answers, true)) / len(true)
    assert right["retrieved"] > 0.6, right
    assert max(right["none"], right["random"]) < 0.15, right


def test_one_reader_is_taught_for_all_that_differ_in_what_they_are_asked_with(tmp_path) -> None:
    with readers_kept_in(tmp_path):
        first = written(RETRO)
        assert len(list(tmp_path.iterdir())) == 1
        second = written(replace(RETRO, neighbours="random"))
        assert len(list(tmp_path.iterdir())) == 1 and second._packed == first._packed
        assert written(replace(RETRO, chunks=1))._packed != first._packed
        assert written(RETRO, seed=1)._packed != first._packed
        stored = written(replace(RETRO, taught="stored"))
        assert written(replace(RETRO, taught="stored"), PEOPLE.twin(seed=3))._packed != stored._packed
        assert len(list(tmp_path.iterdir())) == 5
    assert written(RETRO)._packed == first._packed  # taught anew, and the same
