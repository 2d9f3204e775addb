"""Decoders against Llama of transformers, against themselves read in parts, and by gradients that must be zero."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from models.candidate_tree import CandidateTree
from models.continuation import continued
from models.decoder_config import DecoderConfig
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig
from models.memory_kinds import LookupConfig, OneNeuronExpertsConfig, ProductKeysConfig
from models.ngram_kinds import NgramsConfig
from models.prefix_reading import PrefixReading
from models.self_attention import rotation_of, turned

V = 23
RELU = DenseConfig(kind="relu", width=9)
CONFIGS = [
    DecoderConfig(dim=8, ffn=RELU),
    DecoderConfig(dim=8, ffn=RELU, normaliser="layer", tied=False),
    DecoderConfig(dim=8, ffn=RELU, parallel=True),
    DecoderConfig(dim=8, ffn=RELU, residual="layerscale"),
    DecoderConfig(dim=8, ffn=RELU, residual="rezero", parallel=True),
    DecoderConfig(dim=8, ffn=RELU, residual="deepnorm"),
    DecoderConfig(dim=8, ffn=DenseConfig(width=9), residual="none"),
    DecoderConfig(dim=8, ffn=RELU, without_ffn=(0, 1)),
    DecoderConfig(dim=8, depth=3, ffn=GatedConfig(width=12), without_ffn=(0, 2)),
    DecoderConfig(dim=8, ffn=ExpertsConfig(experts=3, top_k=2, width=3)),
    DecoderConfig(dim=8, ffn=RELU, memory=ProductKeysConfig(sub_keys=3, heads=2), memory_layers=(1,)),
    DecoderConfig(dim=8, ffn=RELU, memory=OneNeuronExpertsConfig(sub_keys=3, heads=2), memory_layers=(0,)),
    DecoderConfig(dim=8, ffn=RELU, memory=LookupConfig(rows=5, tables=2), memory_layers=(0, 1)),
    DecoderConfig(dim=8, ffn=RELU, memory=NgramsConfig(orders=(1, 2, 3), rows=7), memory_layers=(1,)),
    DecoderConfig(dim=8, ffn=RELU, parallel=True, memory=NgramsConfig(rows=7), memory_layers=(0,)),
]


def built(config, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    decoder = config.build(V, generator=generator).double().eval()
    with torch.no_grad():
        for weight in decoder.parameters():  # gains of 1 and of 0 hide where they are used
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) / 2)
    return decoder


def some_tokens(batch=3, length=7, seed=1):
    return torch.randint(V, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_it_is_llama_where_its_parts_are() -> None:
    config = DecoderConfig(dim=16, depth=2, heads=2, ffn=GatedConfig(width=24), tied=False)
    ours = built(config)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=V,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            rms_norm_eps=torch.finfo(torch.float64).eps,
            tie_word_embeddings=False,
            attn_implementation="eager",
        )
    ).double()
    with torch.no_grad():
        theirs.model.embed_tokens.weight.copy_(ours.embeddings_VD)
        theirs.lm_head.weight.copy_(ours.read_out_VD)
        theirs.model.norm.weight.copy_(ours.last_norm.weight)
        for theirs_layer, layer in zip(theirs.model.layers, ours.layers, strict=True):
            q_DD, k_DD, v_DD = layer.attention.w_qkv_DJ.chunk(3, dim=1)
            for name, weight in {
                "q_proj": q_DD,
                "k_proj": k_DD,
                "v_proj": v_DD,
                "o_proj": layer.attention.w_out_DD,
            }.items():
                getattr(theirs_layer.self_attn, name).weight.copy_(weight.T)
            theirs_layer.mlp.gate_proj.weight.copy_(layer.ffn.w_gate_DF.T)
            theirs_layer.mlp.up_proj.weight.copy_(layer.ffn.w_in_DF.T)
            theirs_layer.mlp.down_proj.weight.copy_(layer.ffn.w_out_FE.T)
            theirs_layer.input_layernorm.weight.copy_(layer.norms[0].weight)
            theirs_layer.post_attention_layernorm.weight.copy_(layer.norms[1].weight)
        tokens_BT = some_tokens()
        # Their angles are computed in float32.
        torch.testing.assert_close(ours(tokens_BT), theirs(tokens_BT).logits, atol=1e-5, rtol=1e-5)


def test_a_parallel_layer_is_its_formula() -> None:
    decoder = built(CONFIGS[2])
    layer, x_BTD = decoder.layers[0], torch.randn(2, 5, 8, dtype=torch.float64)
    rotation = rotation_of(torch.arange(5), 4, x_BTD)
    normed_BTD = x_BTD / x_BTD.square().mean(-1, keepdim=True).sqrt() * layer.norms[0].weight
    hidden_BTF = (normed_BTD @ layer.ffn.w_in_DF).relu()
    q, k, v = (
        part.unflatten(-1, (2, 4)).transpose(1, 2) for part in (normed_BTD @ layer.attention.w_qkv_DJ).chunk(3, -1)
    )
    scores = turned(q, rotation) @ turned(k, rotation).transpose(-1, -2) / 2
    scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(-1)
    read_BTD = (scores @ v).transpose(1, 2).flatten(2) @ layer.attention.w_out_DD
    expected_BTD = x_BTD + read_BTD + hidden_BTF @ layer.ffn.w_out_FE
    torch.testing.assert_close(layer(x_BTD, rotation, None, None, None)[0], expected_BTD)


def test_without_skip_connections_each_branch_takes_the_place_of_the_stream() -> None:
    decoder = built(DecoderConfig(dim=8, ffn=RELU, residual="none", without_ffn=(1,)))
    tokens_BT, rotation = some_tokens(), rotation_of(torch.arange(7), 4, torch.zeros((), dtype=torch.float64))
    first, second = decoder.layers
    read_BTD, _ = first.attention(first.norms[0](decoder.embedded(tokens_BT)), rotation)
    after_BTD = (first.norms[1](read_BTD) @ first.ffn.w_in_DF).relu() @ first.ffn.w_out_FE
    last_BTD, _ = second.attention(second.norms[0](after_BTD), rotation)
    torch.testing.assert_close(decoder.states(tokens_BT)[1:], [after_BTD, last_BTD])
    assert decoder.config.label == "2x8-relu-9-not in 1-no-skip"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.label)
def test_no_token_sees_a_later_one_or_another_text(config: DecoderConfig) -> None:
    decoder, tokens_BT = built(config), some_tokens()
    logits_BTV, at = decoder(tokens_BT), 3
    later_BT = tokens_BT.clone()
    later_BT[:, at + 1 :] = (later_BT[:, at + 1 :] + 1) % V
    later_BT[1:] = (later_BT[1:] + 1) % V
    torch.testing.assert_close(decoder(later_BT)[0, : at + 1], logits_BTV[0, : at + 1])
    embedded_BTD = decoder.embedded(tokens_BT).detach().requires_grad_()
    decoder.embedded = lambda _: embedded_BTD
    (gradient_BTD,) = torch.autograd.grad(decoder.hidden(tokens_BT)[0, at].sum(), embedded_BTD)
    assert (gradient_BTD[1:] == 0).all() and (gradient_BTD[0, at + 1 :] == 0).all()
    assert (gradient_BTD[0, at] != 0).any()
    assert (gradient_BTD[0, :at] != 0).any() or config.memory is not None


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.label)
def test_read_in_parts_it_says_what_it_says_of_the_whole(config: DecoderConfig) -> None:
    decoder, tokens_BT = built(config), some_tokens(length=9)
    whole_BTD = decoder.hidden(tokens_BT)
    first, past = decoder.read(tokens_BT[:, :4])
    second, past = decoder.read(tokens_BT[:, 4:5], past=past)
    third, past = decoder.read(tokens_BT[:, 5:], past=past)
    torch.testing.assert_close(torch.cat([first, second, third], dim=1), whole_BTD)
    assert past.num_tokens == 9


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[2], CONFIGS[13], CONFIGS[14]], ids=lambda config: config.label)
def test_a_tree_of_answers_is_each_answer_read_by_itself(config: DecoderConfig) -> None:
    decoder, prompts_BT, end = built(config), some_tokens(length=4), 1
    answers = [[5], [6, 7], [6, 8, 9], [6, 8, 10], [6, 8], [11, 12, 13, 14], [7]]
    tree = CandidateTree(answers, end=end)
    hidden_BTD, past = decoder.read(prompts_BT)
    found_BM = tree.log_likelihoods(decoder, hidden_BTD[:, -1], past, window=config.window)
    for column, answer in enumerate(answers):
        ended = [*answer, end] if answer == [6, 8] else answer  # another answer goes on from it
        whole_BT = torch.cat([prompts_BT, torch.tensor(ended).expand(3, -1)], dim=1)
        log_probs_BTV = decoder(whole_BT)[:, 3:-1].log_softmax(-1)
        expected_B = log_probs_BTV.gather(2, whole_BT[:, 4:, None]).sum((1, 2))
        torch.testing.assert_close(found_BM[:, column], expected_B.float(), atol=1e-5, rtol=1e-5)
    assert tree.num_nodes == 5  # 6, 11, 6 8, 11 12, 11 12 13
    single = CandidateTree([[3], [4]], end=end)
    assert single.num_nodes == 0 and single.log_likelihoods(decoder, hidden_BTD[:, -1], past).shape == (3, 2)


def test_written_answers_are_the_likeliest_tokens_one_after_another() -> None:
    decoder, prompts_BT = built(CONFIGS[0], seed=4), some_tokens(batch=6, length=4)

    def likeliest(text: list[int], most: int) -> list[int]:
        for _ in range(most):
            text = [*text, int(decoder(torch.tensor([text]))[0, -1].argmax())]
        return text[-most:]

    free = [likeliest(prompt, 5) for prompt in prompts_BT.tolist()]
    assert continued(decoder, prompts_BT, most=5, end=-1) == free
    end = free[0][2]
    ended = [row[: row.index(end)] if end in row else row for row in free]
    assert continued(decoder, prompts_BT, most=5, end=end) == ended
    assert {len(row) for row in ended} > {5}  # some end early, and not all


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.label)
def test_parameters_are_counted(config: DecoderConfig) -> None:
    decoder = config.build(V, generator=torch.Generator())
    assert sum(weight.numel() for weight in decoder.state_dict().values()) == config.num_params(V)
    assert config.num_active_params(V) <= config.num_params(V)


def test_flops_of_a_training_step_are_those_that_torch_counts() -> None:
    config = DecoderConfig(dim=8, depth=3, ffn=RELU)
    decoder, tokens_BT = config.build(V, generator=torch.Generator()), some_tokens(batch=1, length=6)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        decoder.logits(decoder.hidden(tokens_BT)[:, -2:]).sum().backward()
    assert config.training_flops(V, 6, 2) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_only_the_distance_between_tokens_counts() -> None:
    decoder, tokens_BT = built(CONFIGS[0]), some_tokens()
    moved_BTD, _ = decoder.read(tokens_BT, positions_T=torch.arange(7) + 11)
    torch.testing.assert_close(moved_BTD, decoder.hidden(tokens_BT), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"dim": 10, "heads": 2}, "dim must be a multiple of twice heads, which is 4, not 10"),
        ({"without_ffn": (2,)}, "without_ffn must name layers from 0 to 1, not 2"),
        ({"memory_layers": (0,)}, "memory and memory_layers belong together"),
        ({"memory": NgramsConfig(), "memory_layers": (0,), "without_ffn": (0,)}, "layer 0 is named in without_ffn and"),
        ({"depth": 0}, "depth must be 1 or more"),
    ],
)
def test_settings_that_no_decoder_can_have(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DecoderConfig(**settings)


def test_a_prefix_is_seen_both_ways_and_what_follows_is_not() -> None:
    decoder, tokens_BT = built(CONFIGS[0]), some_tokens(batch=2)
    embedded_BTD = decoder.embedded(tokens_BT).detach().requires_grad_()
    decoder.embedded = lambda _: embedded_BTD
    hidden_BTD = decoder.hidden(tokens_BT, torch.tensor([4, 2]))
    for row, prefix in enumerate((4, 2)):
        for at in range(7):
            (gradient_BTD,) = torch.autograd.grad(hidden_BTD[row, at].sum(), embedded_BTD, retain_graph=True)
            seen = max(prefix, at + 1) if at < prefix else at + 1
            assert (gradient_BTD[row, :seen] != 0).any(-1).all() and (gradient_BTD[row, seen:] == 0).all()
            assert (gradient_BTD[1 - row] == 0).all()


def test_a_prefix_read_first_and_its_answer_after_it_is_the_whole() -> None:
    decoder, tokens_BT = built(CONFIGS[0]), some_tokens(batch=2)
    reading = PrefixReading(decoder)
    first_BTD, past = reading.read(tokens_BT[:, :4])
    then_BTD, _ = reading.read(tokens_BT[:, 4:], past=past)
    whole_BTD = decoder.hidden(tokens_BT, torch.tensor([4, 4]))
    torch.testing.assert_close(torch.cat([first_BTD, then_BTD], dim=1), whole_BTD)
