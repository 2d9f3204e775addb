"""RETRO against a plain loop over chunks, and by gradients that must be zero."""

import pytest
import torch

from models.candidate_tree import CandidateTree
from models.decoder_config import DecoderConfig
from models.ffn_kinds import DenseConfig
from models.retro import NO_TOKEN, Retro
from models.retro_config import RetroConfig

V, M = 23, 4  # tokens of the vocabulary, and of a chunk
RELU = DenseConfig(kind="relu", width=9)
CONFIG = RetroConfig(
    decoder=DecoderConfig(dim=8, depth=3, ffn=RELU), encoder_depth=2, reading_layers=(0, 2), chunk_tokens=M
)


def built(config=CONFIG, *, seed=0) -> Retro:
    generator = torch.Generator().manual_seed(seed)
    model = config.build(V, generator=generator).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) / 2)
    return model


def some(*shape, seed=1):
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(seed))


def neighbours_of(batch=2, chunks=3, k=2, length=5):
    neighbours_BUKR = some(batch, chunks, k, length, seed=2)
    neighbours_BUKR[:, :, 0, 3:] = NO_TOKEN  # shorter than the other one
    return neighbours_BUKR


NONE_LACKING = torch.zeros(2, dtype=torch.long)


def test_cross_attention_is_a_plain_loop_over_chunks() -> None:
    model, x_BTD = built(), torch.randn(2, 11, 8, dtype=torch.float64)
    cross, encoded = model.crosses["0"], model.encoded(neighbours_of())
    lacking_B = torch.tensor([0, 3])
    positions_T = torch.arange(11)
    chunks_BT = (positions_T + lacking_B[:, None] + 1) // M - 1
    found_BTD = cross(x_BTD, chunks_BT.clamp(max=2), encoded)
    for row in range(2):
        for at in range(11):
            # The last token of chunk u, and all but the last of the next: tokens m - 1 ... 2 m - 2 after its first.
            seen = [u for u in range(3) if M - 1 <= at + int(lacking_B[row]) - u * M < 2 * M - 1]
            if at + int(lacking_B[row]) >= 4 * M - 1:
                seen = [2]  # nothing was retrieved later
            if not seen:
                assert (found_BTD[row, at] == 0).all()
                continue
            states_ND = encoded.states_BUND[row, seen[0]][encoded.is_there_BUN[row, seen[0]]]
            normed_D = x_BTD[row, at] / x_BTD[row, at].square().mean().sqrt() * cross.norm.weight
            query_HE = (normed_D @ cross.w_query_DD).view(2, 4)
            keys_ND, values_ND = (states_ND @ cross.w_key_value_DJ).chunk(2, dim=1)
            read = []
            for head in range(2):
                part = slice(4 * head, 4 * head + 4)
                weights_N = (keys_ND[:, part] @ query_HE[head] / 2).softmax(0)
                read.append(weights_N @ values_ND[:, part])
            torch.testing.assert_close(found_BTD[row, at], torch.cat(read) @ cross.w_out_DD)


def test_no_neighbour_is_seen_before_its_chunk_has_ended_and_no_later_token_ever() -> None:
    model, tokens_BT, neighbours = built(), some(2, 14), neighbours_of()
    encoded = model.encoded(neighbours)
    states = encoded.states_BUND.detach().requires_grad_()
    reading = model.reading(type(encoded)(states, encoded.is_there_BUN), NONE_LACKING)
    embedded_BTD = model.decoder.embedded(tokens_BT).detach().requires_grad_()
    model.decoder.embedded = lambda _: embedded_BTD
    hidden_BTD, _ = reading.read(tokens_BT)
    for at in range(14):
        of_states, of_tokens = torch.autograd.grad(
            hidden_BTD[0, at].sum(), [states, embedded_BTD], retain_graph=True, allow_unused=True
        )
        ended = (at + 1) // M  # chunks that have ended with this token or before
        assert (of_tokens[1] == 0).all() and (of_tokens[0, at + 1 :] == 0).all()
        if of_states is None:
            assert ended == 0
            continue
        assert (of_states[1] == 0).all()  # another text's
        assert (of_states[0, ended:] == 0).all()
        if ended:
            assert (of_states[0, min(ended, 3) - 1][encoded.is_there_BUN[0, min(ended, 3) - 1]] != 0).any()
        assert (of_states[0][~encoded.is_there_BUN[0]] == 0).all()  # what fills shorter neighbours


def test_the_encoder_sees_both_ways_and_nothing_of_other_neighbours() -> None:
    model, neighbours = built(), neighbours_of()
    changed = neighbours.clone()
    changed[0, 0, 1, 4] = (changed[0, 0, 1, 4] + 1) % V
    one, other = model.encoded(neighbours).states_BUND, model.encoded(changed).states_BUND
    moved_BUN = (one != other).any(-1)
    expected_BUN = torch.zeros_like(moved_BUN)
    expected_BUN[0, 0, 5:] = True  # all tokens of that neighbour, and no other
    assert torch.equal(moved_BUN, expected_BUN)


def test_what_fills_a_neighbour_changes_nothing() -> None:
    model, tokens_BT, neighbours = built(), some(2, 11), neighbours_of()
    longer = torch.full((2, 3, 3, 7), NO_TOKEN)
    longer[:, :, :2, :5] = neighbours
    torch.testing.assert_close(
        model.hidden(tokens_BT, longer, NONE_LACKING), model.hidden(tokens_BT, neighbours, NONE_LACKING)
    )


def test_without_neighbours_it_is_its_decoder_bit_for_bit() -> None:
    model, tokens_BT = built(), some(2, 11)
    alone_BTD = model.decoder.hidden(tokens_BT)
    for neighbours in (torch.full((2, 3, 2, 5), NO_TOKEN), some(2, 3, 0, 5), some(2, 0, 2, 5)):
        assert torch.equal(model.hidden(tokens_BT, neighbours, NONE_LACKING), alone_BTD)


def test_fitted_onto_a_decoder_it_leaves_it_alone() -> None:
    model, tokens_BT = built().train(), some(2, 11)
    before = {name: weight.clone() for name, weight in model.decoder.state_dict().items()}
    model.keep_decoder()
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model.logits(model.hidden(tokens_BT, neighbours_of(), NONE_LACKING)).logsumexp(-1).sum().backward()
        optimizer.step()
    assert all(torch.equal(weight, before[name]) for name, weight in model.decoder.state_dict().items())
    assert any((weight.grad != 0).any() for weight in model.encoder.parameters())


@pytest.mark.parametrize("length", [1, 3, 4, 5, 11, 12, 17])
def test_an_incomplete_last_chunk_and_tokens_read_one_after_another(length: int) -> None:
    model, tokens_BT = built(), some(2, length)
    lacking_B = torch.tensor([1, 1])
    whole_BTD = model.hidden(tokens_BT, neighbours_of(), lacking_B)
    reading, past, parts = model.reading(model.encoded(neighbours_of()), lacking_B), None, []
    for at in range(length):
        hidden_BTD, past = reading.read(tokens_BT[:, at : at + 1], past=past)
        parts.append(hidden_BTD)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole_BTD)


def test_a_tree_of_answers_after_a_question_that_ends_a_chunk() -> None:
    model, prompts_BT, neighbours = built(), some(2, 6), some(2, 2, 2, 5)
    lacking_B = torch.tensor([2, 2])
    reading = model.reading(model.encoded(neighbours), lacking_B)
    hidden_BTD, past = reading.read(prompts_BT)
    answers = [[5], [6, 7, 8, 9, 10, 11], [6, 7]]
    found_BM = CandidateTree(answers, end=1).log_likelihoods(reading, hidden_BTD[:, -1], past)
    for column, answer in enumerate(answers):
        ended = [*answer, 1] if answer == [6, 7] else answer
        whole_BT = torch.cat([prompts_BT, torch.tensor(ended).expand(2, -1)], dim=1)
        log_probs = model.logits(model.hidden(whole_BT, neighbours, lacking_B))[:, 5:-1].log_softmax(-1)
        expected_B = log_probs.gather(2, whole_BT[:, 6:, None]).sum((1, 2))
        torch.testing.assert_close(found_BM[:, column], expected_B.float(), atol=1e-5, rtol=1e-5)


def test_parameters_are_counted_and_settings_refused() -> None:
    assert sum(weight.numel() for weight in built().state_dict().values()) == CONFIG.num_params(V)
    with pytest.raises(ValueError, match=r"reading_layers must name layers from 0 to 1, not \[2\]"):
        RetroConfig(reading_layers=(2,))
    with pytest.raises(ValueError, match="chunk_tokens must be 1 or more"):
        RetroConfig(chunk_tokens=0)
