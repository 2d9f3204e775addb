"""A decoder that must write the answer: what it is trained on, what it says, what it weighs, what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.decoder_budget import DecoderBudget
from models.decoder_config import DecoderConfig
from models.ffn_kinds import DenseConfig
from retrieval.errors import Refused, UserError
from retromem.knowledge.biographies import BiographiesConfig
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.language.prompts import training_texts
from retromem.language.text_tokens import people_tokens
from retromem.language.tokenizer_config import TokenizerConfig
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import MeasureConfig
from retromem.memories.closed_book_memory import ClosedBookConfig, ClosedBookMemory

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
PEOPLE = BiographiesConfig(num_people=20, attributes=("birth_date", "major"), num_written=2).build()
SMALL = ClosedBookConfig(
    decoder=DecoderConfig(dim=32, depth=1, ffn=DenseConfig(width=64)),
    tokenizer=TokenizerConfig(tokens="people"),
    training=DecoderBudget(exposures=300, batch_size=64, learning_rate=1e-2, goal_nats=0.02),
)


@pytest.fixture(scope="module")
def written() -> ClosedBookMemory:
    memory = SMALL.build(seed=0)
    memory.write(PEOPLE.facts(statements=True))
    return memory


def test_what_is_written_is_recalled_and_written_letter_for_letter() -> None:
    setting = Setting(study="s", role="arm", seed=0)
    rows = judge(SMALL, PEOPLE, setting=setting, measures=MeasureConfig(robustness=False), encoder=EncoderCost()).rows
    by_phrasing = {row.phrasing: row for row in rows}
    identical = by_phrasing["identical"]
    assert identical.accuracy == identical.exact_match == 1.0
    assert identical.bits_ce > 0.97 * identical.demand_bits
    assert identical.num_embedding_params == 32 * people_tokens().num_tokens
    assert identical.num_params == identical.num_embedding_params + 4 * 32**2 + 2 * 32 * 64 + 3 * 32
    assert (
        identical.side == "parametric"
        and identical.accuracy_noise_10 is None
        and identical.shared_bytes == people_tokens().num_bytes
    )
    assert by_phrasing["heldout"].accuracy < 1


def test_scores_are_the_likelihoods_of_the_values_as_texts(written: ClosedBookMemory) -> None:
    asked = PEOPLE.ask("identical", num=2)  # a date and a major
    recall = written.recall(asked.queries, top_k=100)
    tokens, decoder = people_tokens(), written._written
    for row in range(2):
        relation = int(asked.queries.relation_ids_Q[row])
        candidates = PEOPLE.values.candidates(relation)[:40]
        prompt = [tokens.begin, *tokens.ids([asked.queries.texts[row]])[0]]
        found = []
        for value in PEOPLE.values.candidates(relation):
            answer = tokens.ids([PEOPLE.values.strings[value]])[0]
            with torch.no_grad():
                log_probs = decoder(torch.tensor([[*prompt, *answer]])).log_softmax(-1)[0]
            found.append(sum(float(log_probs[len(prompt) - 1 + at, token]) for at, token in enumerate(answer)))
        expected = np.array(found) - np.logaddexp.reduce(found)
        scored = written.recall(asked.queries.rows(np.array([row])), score=candidates[None]).scored_QC[0]
        assert np.allclose(scored, expected[:40], atol=1e-4)
        assert recall.value_ids_QK[row, 0] == PEOPLE.values.candidates(relation)[int(np.argmax(expected))]


def test_the_tokens_that_have_a_loss() -> None:
    tokens, facts = people_tokens(), PEOPLE.prefix(3).facts(statements=True)
    texts = training_texts(facts, tokens, statements=True, whole_texts=False)
    assert len(texts.tokens_NT) == 3 * 2 + 3 and texts.is_question_N.tolist() == [True] * 6 + [False] * 3
    for row in range(9):
        value = PEOPLE.values.strings[facts.value_ids_N[row % 3]]
        length = int(texts.lengths_N[row])
        learnt = texts.tokens_NT[row][texts.learnt_NT[row]].tolist()
        assert texts.tokens_NT[row, length - 1] == tokens.end and texts.tokens_NT[row, 0] == tokens.begin
        said = tokens.text([token for token in learnt if token != tokens.end])
        assert said == value if row < 6 else said.startswith(value)
        assert learnt[-1] == tokens.end or row >= 6
    whole = training_texts(facts, tokens, statements=False, whole_texts=True)
    assert whole.learnt_NT.sum(1).tolist() == (whole.lengths_N - 1).tolist() and len(whole.tokens_NT) == 6


def test_whole_texts_and_questions_alone_are_settings_of_their_own() -> None:
    config = replace(SMALL, trains_on="questions", learns="texts", training=DecoderBudget(exposures=2))
    assert config.stores == "questions" and config.name == "closed-book-1x32-gelu-64-words-q-texts"
    memory = config.build(seed=0)
    cost = memory.write(PEOPLE.facts())
    assert 4 <= cost.exposures <= 4 * 1.5 and cost.flops > 0 and cost.succeeded


def test_one_more_exposure_is_one_more_pass() -> None:
    memory = replace(SMALL, training=DecoderBudget(exposures=3, batch_size=60)).build(seed=0)
    cost = memory.write(PEOPLE.facts(statements=True))
    assert cost.exposures == 9 and cost.optimizer_steps == 6  # two questions and a statement, three times


def test_what_a_change_needs_is_facts_statements_and_optimiser(written: ClosedBookMemory) -> None:
    parts = {holding.name: holding for holding in written.footprint().holdings}
    kept = {name for name, holding in parts.items() if holding.part == "maintain"}
    files = {"training_cues.json.zlib", "training_values.npy", "training_statements.json.zlib", "optimizer.npy"}
    assert kept == {*files, "manifest.json"}
    assert parts["optimizer.npy"].num_bytes >= 3 * 4 * written.footprint().num_params
    assert parts["tokenizer"].part == "shared" and parts["tokenizer"].num_bytes > 1000


def test_noise_and_flipped_bits_make_it_forget(written: ClosedBookMemory) -> None:
    asked = PEOPLE.ask("identical")

    def right(memory) -> float:
        return float((memory.recall(asked.queries, top_k=1).value_ids_QK[:, 0] == asked.value_ids_Q).mean())

    assert right(written.perturbed(seed=0)) == right(written) == 1.0
    assert right(written.perturbed(relative_noise=3.0, seed=0)) < 0.5
    assert right(written.perturbed(flip_rate=0.2, seed=0)) < 0.5


def test_what_it_refuses() -> None:
    short = replace(SMALL, decoder=replace(SMALL.decoder, context=8))
    with pytest.raises(UserError, match=r"decoder\.context: a fact takes \d+ tokens of words, and the decoder reads 8"):
        short.build(seed=0).write(PEOPLE.facts(statements=True))
    with pytest.raises(Refused, match="needs texts"):
        SMALL.build(seed=0).write(keys_set(KeysConfig()).facts())


def test_a_question_longer_than_the_context_is_refused(written: ClosedBookMemory) -> None:
    asked = PEOPLE.ask("identical", num=1)
    long = replace(asked.queries, texts=[" ".join(asked.queries.texts * 40)])
    with pytest.raises(UserError, match=r"decoder\.context: a question and its longest answer takes"):
        written.recall(long)
