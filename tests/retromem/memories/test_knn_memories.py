"""kNN-LM and what is distilled of it, as memories."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.decoder_budget import DecoderBudget
from models.decoder_config import DecoderConfig
from models.ffn_kinds import DenseConfig
from retromem.knowledge.biographies import BiographiesConfig
from retromem.language.tokenizer_config import TokenizerConfig
from retromem.memories.closed_book_memory import ClosedBookConfig
from retromem.memories.distilled_memory import DistilledConfig
from retromem.memories.knn_lm_memory import KnnLmConfig, neighbours_elsewhere
from retromem.memories.state_store import LearntStates, StateStore

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
PEOPLE = BiographiesConfig(num_people=20, attributes=("major",), num_written=2).build()
SETTINGS = {
    "decoder": DecoderConfig(dim=16, depth=1, ffn=DenseConfig(width=32)),
    "tokenizer": TokenizerConfig(tokens="people"),
    "training": DecoderBudget(exposures=20, batch_size=30, learning_rate=5e-3),
}
KNN, DISTILLED = KnnLmConfig(**SETTINGS, chunks=4), DistilledConfig(**SETTINGS, chunks=4, distillation_steps=100)


def written(config):
    memory = config.build(seed=0)
    memory.write(PEOPLE.facts(statements=True))
    return memory


def test_neighbours_of_the_same_text_are_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    states_ND, tokens_N = torch.randn(40, 16, generator=generator), torch.arange(40) % 7
    learnt = LearntStates(states_ND, tokens_N, torch.arange(40) // 3)
    store = StateStore.of(states_ND.numpy(), tokens_N.numpy(), 7, KNN.spec)
    cosines_NK, followed_NK = neighbours_elsewhere(store, learnt, 5)
    unit_ND = torch.nn.functional.normalize(states_ND, dim=1)
    cosines_NN = unit_ND @ unit_ND.T
    cosines_NN[learnt.texts_N[:, None] == learnt.texts_N] = -torch.inf
    expected = cosines_NN.topk(5)
    torch.testing.assert_close(cosines_NK, expected.values)
    assert torch.equal(followed_NK, tokens_N[expected.indices])


def test_no_neighbours_is_the_closed_book_bit_for_bit() -> None:
    closed, alone = written(ClosedBookConfig(**SETTINGS)), written(replace(KNN, chunks=0))
    asked = PEOPLE.ask("heldout").queries
    one, other = closed.recall(asked, top_k=5), alone.recall(asked, top_k=5)
    assert np.array_equal(one.log_probs_QK, other.log_probs_QK) and closed._packed == alone._packed


@pytest.mark.parametrize("config", [KNN, replace(KNN, buckets=3, factory="SQ8"), DISTILLED], ids=lambda c: c.name)
def test_saved_and_loaded_it_answers_the_same(config, tmp_path) -> None:
    memory, asked = written(config), PEOPLE.ask("identical")
    memory.calibration = b"\0\1\2\3"
    memory.save(tmp_path / "saved")
    back = type(memory).load(tmp_path / "saved")
    one, other = (side.recall(asked.queries, top_k=3) for side in (memory, back))
    assert np.array_equal(one.value_ids_QK, other.value_ids_QK)
    assert np.allclose(one.log_probs_QK, other.log_probs_QK, atol=1e-5)
    assert memory.write_answers(asked.queries) == back.write_answers(asked.queries)
    on_disk = sum(file.stat().st_size for file in (tmp_path / "saved").iterdir())
    assert memory.footprint().num_bytes("storage", "maintain", "value") == on_disk
    assert memory.footprint().num_params == sum(weight.numel() for weight in memory._written.state_dict().values())


def test_people_that_were_only_stored_are_answered_as_they_were_written() -> None:
    """The decoder never saw them; a question as written finds its own states."""
    taught_on = BiographiesConfig(num_people=60, attributes=("major",), num_written=2, seed=7)
    memory = written(replace(KNN, taught_on=taught_on))
    asked = PEOPLE.ask("identical")
    closed = written(ClosedBookConfig(**SETTINGS, taught_on=taught_on))

    def right(one) -> float:
        return float((one.recall(asked.queries, top_k=1).value_ids_QK[:, 0] == asked.value_ids_Q).mean())

    forced = replace(memory._interpolation, weights=(0.9,))
    memory._interpolation = forced
    assert right(memory) > 0.9 > 0.3 > right(closed)


def test_the_distillation_is_charged() -> None:
    memory = DISTILLED.build(seed=0)
    cost = memory.write(PEOPLE.facts(statements=True))
    without = replace(DISTILLED, distillation_steps=0).build(seed=0).write(PEOPLE.facts(statements=True))
    a_state = DISTILLED.ffn.training_flops(16, 16) + 4 * 16 * memory._tokens.num_tokens
    assert cost.flops - without.flops == pytest.approx(100 * 30 * a_state)


def test_dials_are_refused() -> None:
    with pytest.raises(ValueError, match="buckets must be 1 or more"):
        replace(KNN, buckets=0)
    with pytest.raises(ValueError, match="chunks must be 0 or more"):
        replace(KNN, chunks=-1)
    with pytest.raises(ValueError, match="distillation_rate must be more than 0"):
        replace(DISTILLED, distillation_rate=0.0)
