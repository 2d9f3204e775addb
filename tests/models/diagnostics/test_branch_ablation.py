"""Ablated branches: against weights set to zero, means by brute force, and a decoder whose facts were put by hand."""

import pytest
import torch
from torch import Tensor

from models.decoder import Decoder
from models.decoder_config import DecoderConfig
from models.diagnostics.branch_ablation import ablated, branches, mean_outputs
from models.ffn_kinds import DenseConfig
from models.ngram_kinds import NgramsConfig
from models.self_attention import rotation_of

V = 11


def built(config: DecoderConfig) -> Decoder:
    return config.build(V, generator=torch.Generator().manual_seed(0)).double().eval()


def some_tokens(*shape: int) -> Tensor:
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("parallel", [False, True])
def test_ablation_to_zeros_is_a_read_out_of_zeros(parallel: bool) -> None:
    config = DecoderConfig(dim=8, depth=3, ffn=DenseConfig(width=9), parallel=parallel, without_ffn=(1,))
    decoder, tokens_BT, zeros_D = built(config), some_tokens(4, 6), torch.zeros(8, dtype=torch.float64)
    whole_BTV = decoder(tokens_BT)
    assert set(branches(decoder)) == {(0, "attention"), (0, "ffn"), (1, "attention"), (2, "attention"), (2, "ffn")}
    for branch in branches(decoder):
        removed = built(config)
        with torch.no_grad():
            (read_out,) = branches(removed)[branch].read_outs()
            read_out.zero_()
        with ablated(decoder, {branch: zeros_D}):
            torch.testing.assert_close(decoder(tokens_BT), removed(tokens_BT))
            assert not torch.allclose(decoder(tokens_BT), whole_BTV)
    torch.testing.assert_close(decoder(tokens_BT), whole_BTV)
    with pytest.raises(KeyError), ablated(decoder, {(1, "ffn"): zeros_D}):
        pass


def test_means_are_over_all_tokens_of_all_blocks() -> None:
    config = DecoderConfig(dim=8, depth=2, ffn=DenseConfig(width=9), memory=NgramsConfig(rows=7), memory_layers=(1,))
    decoder, blocks = built(config), [some_tokens(4, 6), some_tokens(3, 2)]
    found = mean_outputs(decoder, blocks)
    first = decoder.layers[0]
    read, given = [], []
    for tokens_BT in blocks:
        x_BTD = decoder.embedded(tokens_BT)
        rotation = rotation_of(torch.arange(tokens_BT.shape[1]), 4, x_BTD)
        read.append(first.attention(first.norms[0](x_BTD), rotation)[0].flatten(0, 1))
        given.append(first.ffn(first.ffn_input(x_BTD, rotation).flatten(0, 1)))
    torch.testing.assert_close(found[0, "attention"], torch.cat(read).mean(0).detach())
    torch.testing.assert_close(found[0, "ffn"], torch.cat(given).mean(0).detach())
    assert (1, "ffn") in found
    # Given the mean of one token alone, nothing changes.
    alone_BT = some_tokens(1, 1)
    with ablated(decoder, mean_outputs(decoder, [alone_BT])):
        ablated_BTV = decoder(alone_BT)
    torch.testing.assert_close(ablated_BTV, decoder(alone_BT))


def by_hand(holder: int) -> tuple[Decoder, Tensor]:
    """Attention gives zeros, and one FFN of three a table from token to answer; and that table."""
    config = DecoderConfig(dim=12, depth=3, heads=3, ffn=DenseConfig(kind="relu", width=V), tied=False)
    decoder = config.build(V, generator=torch.Generator().manual_seed(0)).eval()
    answers_V = (torch.arange(V) + 1) % V
    with torch.no_grad():
        for layer in decoder.layers:
            layer.attention.w_out_DD.zero_()
            layer.ffn.w_out_FE.zero_()
        decoder.embeddings_VD.copy_(torch.eye(V, 12))
        decoder.read_out_VD.copy_(torch.eye(V, 12))
        decoder.layers[holder].ffn.w_in_DF.copy_(torch.eye(12, V))
        decoder.layers[holder].ffn.w_out_FE.copy_(9 * torch.eye(V, 12)[answers_V])
    return decoder, answers_V


@pytest.mark.parametrize("holder", [0, 1, 2])
@pytest.mark.parametrize("to_mean", [False, True])
def test_only_the_layer_that_holds_the_facts_loses_them(holder: int, to_mean: bool) -> None:
    decoder, answers_V = by_hand(holder)
    tokens_BT = torch.arange(V)[:, None]
    means = mean_outputs(decoder, [tokens_BT])
    for (layer, part), mean_D in means.items():
        given_D = mean_D if to_mean else torch.zeros(12)
        with ablated(decoder, {(layer, part): given_D}):
            right = (decoder(tokens_BT)[:, 0].argmax(1) == answers_V).sum()
        assert int(right) == (0 if (layer, part) == (holder, "ffn") else V)
