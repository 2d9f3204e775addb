"""Decoders: training through Lightning beside a bare loop of torch and beside GPT-2's architecture; writing with the
keys and values of earlier tokens kept beside reading all of them again.

Shape legend: N texts, T tokens of a text, B texts of a step, V tokens of the vocabulary.
"""

import copy
import math
from collections.abc import Iterator
from functools import partial

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn import functional

from models.continuation import continued
from models.decoder import Decoder
from models.decoder_budget import DecoderBudget
from models.decoder_config import DecoderConfig
from models.decoder_training import DecoderModule, fit_decoder
from models.ffn_kinds import DenseConfig
from models.token_batches import ShuffledPasses, ShuffledTexts
from retromem.benchmarks.in_turns import Timed, in_turns

_TOKENS, _STEPS, _BATCH = 2000, 20, 64
_SIZES = ((32, 2, 16), (128, 4, 64))  # dimensions, layers, tokens of a text


def measure() -> Iterator[Timed]:
    """At two sizes, on the processor; ratios below 1 are ours ahead."""
    for dim, depth, length in _SIZES:
        config = DecoderConfig(dim=dim, depth=depth, heads=dim // 32 or 1, ffn=DenseConfig(kind="gelu"), context=256)
        decoder = config.build(_TOKENS, generator=torch.Generator().manual_seed(0))
        texts_NT = torch.randint(_TOKENS, (_BATCH * _STEPS, length), generator=torch.Generator().manual_seed(1))
        shape = f"{config.num_params(_TOKENS):,} parameters, {_STEPS} steps of {_BATCH} x {length} tokens"
        ours = "through Lightning", partial(_through_lightning, decoder, texts_NT)
        yield in_turns(f"training, {shape}", ours, ("a bare loop", partial(_bare_loop, decoder, texts_NT)), turns=5)
        yield in_turns(
            f"training, {shape}",
            ours,
            ("GPT-2 of transformers, a bare loop", partial(_bare_loop, _gpt2(config, length), texts_NT)),
            turns=5,
        )
    decoder.eval()
    prompts_BT = texts_NT[:16]
    yield in_turns(
        f"writing 64 tokens after {prompts_BT.shape[1]}, 16 texts",
        ("keys and values kept", partial(continued, decoder, prompts_BT, most=64, end=-1)),
        ("all read again", partial(_all_read_again, decoder, prompts_BT, 64)),
        turns=3,
    )


def _through_lightning(decoder: Decoder, texts_NT: Int64[Tensor, "N T"]) -> None:
    num_texts, length = texts_NT.shape
    passes = ShuffledPasses(num_texts, exposures=1, batch_size=_BATCH, seed=0)
    learnt_NT = (torch.arange(length) > 0).expand(num_texts, -1)
    lengths_N, asked_N = torch.full((num_texts,), length), torch.ones(num_texts, dtype=torch.bool)
    batches = ShuffledTexts(texts_NT, learnt_NT, lengths_N, asked_N, passes)
    budget = DecoderBudget(exposures=1, batch_size=_BATCH, goal_nats=0.0, max_seconds=math.inf)
    fit_decoder(DecoderModule(copy.deepcopy(decoder), batches, budget), accelerator="cpu")


def _bare_loop(model: nn.Module, texts_NT: Int64[Tensor, "N T"]) -> None:
    """As a tutorial writes it: logits of every token, AdamW, gradients cut."""
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for texts_BT in texts_NT[torch.randperm(len(texts_NT), generator=torch.Generator().manual_seed(0))].split(_BATCH):
        answer = model(texts_BT[:, :-1])
        logits_BTV = answer if isinstance(answer, Tensor) else answer.logits
        loss = functional.cross_entropy(logits_BTV.flatten(0, 1), texts_BT[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def _gpt2(config: DecoderConfig, length: int) -> nn.Module:
    """As deep and as wide, its embeddings tied too; positions are learnt, and there are biases."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=_TOKENS,
            n_embd=config.dim,
            n_layer=config.depth,
            n_head=config.heads,
            n_positions=length,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


@torch.inference_mode()
def _all_read_again(decoder: Decoder, tokens_BT: Int64[Tensor, "B T"], most: int) -> None:
    for _ in range(most):
        next_B1 = decoder.logits(decoder.hidden(tokens_BT)[:, -1:]).argmax(-1)
        tokens_BT = torch.cat([tokens_BT, next_B1], dim=1)
