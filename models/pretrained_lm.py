"""A causal language model of transformers, with or without an adapter of peft, as this project trains and asks one.

Prompts that are asked together have one length, so that none is padded on its left, where an architecture may see it.
What stands after a prompt is padded on the right, which nothing before it can see.

Shape legend: B prompts, T tokens of a prompt, M answers, A answers of one block, C texts of the block, R rows given to
the model together (B times C), L tokens of the longest text of a block, D dimension of the stream, V tokens of the
vocabulary.
"""

import copy
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from models.answer_rows import AnswerRows
from models.continuation import until
from models.language_model import LanguageModel

_LOGITS_AT_ONCE = 1 << 25
_ROWS_AT_ONCE = 256
_PROBE = (3, 1, 2)
"""tokens"""
_NEAR = {torch.float32: 1e-3, torch.float64: 1e-3}
_NEAR_ELSE = 0.15
"""in standard deviations of the logits: what two ways of computing them may differ by"""


class PretrainedLM(LanguageModel):
    """`model` is of transformers, or of peft around one of these.

    What an architecture can do is tried out on three tokens: whether its head alone makes the logits of its last hidden
    states (else all logits are computed), and whether it can go on from a cache (else texts are read whole).

    Raises ValueError for a model whose earlier tokens see later ones.
    """

    def __init__(self, model: nn.Module, *, stays: bool = False) -> None:
        """`stays`: where transformers has put it, over several devices or in 4 bits."""
        super().__init__()
        self.model = model
        self.stays = stays
        self._checkpointed = False
        self.eval()
        self._try_out()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PretrainedLM":
        return self if self.stays else super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    @property
    def base(self) -> Any:
        """The model of transformers, with the layers that an adapter has put into it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model  # type: ignore

    @property
    def num_tokens(self) -> int:
        """V: ids that the model has an embedding for."""
        return int(self.base.get_input_embeddings().weight.shape[0])

    @property
    def context(self) -> int | None:
        """Tokens at most; None where the architecture sets no limit."""
        most = getattr(self.base.config.get_text_config(), "max_position_embeddings", None)
        return most - self._num_virtual if isinstance(most, int) and most > 0 else None

    @property
    def _num_virtual(self) -> int:
        """Tokens that a trained prefix takes."""
        adapter = getattr(self.model, "active_peft_config", None)
        return int(getattr(adapter, "num_virtual_tokens", 0) or 0)

    @property
    def device(self) -> torch.device:
        """Where tokens go in."""
        found: torch.device = self.base.get_input_embeddings().weight.device
        return found

    @property
    def num_weights(self) -> int:
        """All of them, the adapter's too."""
        return sum(weight.numel() for weight in self.parameters())

    @property
    def num_embedding_weights(self) -> int:
        """Of single tokens: what goes in and, where that is another matrix, what comes out."""
        found = {id(weight): weight.numel() for weight in self._of_tokens()}
        return sum(found.values())

    def _of_tokens(self) -> list[Tensor]:
        ends = (self.base.get_input_embeddings(), self.base.get_output_embeddings())
        return [end.weight for end in ends if end is not None]

    @property
    def num_bytes(self) -> int:
        """In memory."""
        return sum(weight.numel() * weight.element_size() for weight in [*self.parameters(), *self.buffers()])

    @property
    def end_tokens(self) -> frozenset[int]:
        """With which it was trained to end what it writes."""
        ends = getattr(getattr(self.base, "generation_config", None), "eos_token_id", None)
        return frozenset([ends] if isinstance(ends, int) else ends or ())

    def adapter_is(self, on: bool) -> AbstractContextManager[Any]:
        """Off: the model as it was before, also where it has no adapter."""
        if on or not hasattr(self.model, "disable_adapter"):
            return nullcontext()
        off: AbstractContextManager[Any] = self.model.disable_adapter()  # type: ignore[operator]
        return off

    @torch.inference_mode()
    def _try_out(self) -> None:
        tokens_BT = torch.tensor([_PROBE], device=self.device)
        whole_BTV, _ = self._read(tokens_BT)
        spread = float(whole_BTV.float().std())
        near = _NEAR.get(whole_BTV.dtype, _NEAR_ELSE) * spread

        def same(one: Tensor, other: Tensor) -> bool:
            return one.shape == other.shape and float((one - other).abs().max()) <= near

        part_BTV, _ = self._read(tokens_BT[:, :2])
        if not same(part_BTV, whole_BTV[:, :2]):
            raise ValueError(f"{type(self.base).__name__} is not causal: its earlier tokens see later ones")
        try:
            self._head_alone = True
            self._head_alone = same(self.logits(self.hidden(tokens_BT)), whole_BTV)
        except Exception:  # whatever an architecture that is built otherwise lets through
            self._head_alone = False
        try:
            past = _expanded(self._read(tokens_BT[:, :2])[1], num=1, times=2)
            on_RLV = self._read_on(tokens_BT[:, 2:].expand(2, -1), torch.ones(2, 1, device=self.device), past)
            self._reads_on = same(on_RLV, whole_BTV[:, 2:].expand(2, -1, -1))
        except Exception:
            self._reads_on = False

    def hidden(self, tokens_BT: Int64[Tensor, "B T"], *context: Any) -> Float[Tensor, "B T D"]:
        self._checkpoint()
        if not (self._head_alone and not self._num_virtual):
            return self._read(tokens_BT, use_cache=False)[0]
        stream: Tensor = self.base.base_model(input_ids=tokens_BT, use_cache=False).last_hidden_state
        return stream.to(tokens_BT.device)

    def logits(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        if not (self._head_alone and not self._num_virtual):
            return hidden  # they are the logits
        found: Tensor = self.base.get_output_embeddings()(hidden)
        return found.to(hidden.device)

    def _checkpoint(self) -> None:
        """Gradient checkpointing as the training wants it."""
        if self.recomputes and not self._checkpointed:
            name = "activation_checkpointing_enable"  # as it is called from transformers 5.23 or so on
            enable = getattr(self.base, name, None) or self.base.gradient_checkpointing_enable
            enable({"use_reentrant": False})
            self._checkpointed = True

    def _read(self, tokens_BT: Int64[Tensor, "B T"], *, use_cache: bool = True) -> tuple[Float[Tensor, "B T V"], Any]:
        """Logits after each token, and what reading can go on from."""
        out = self.model(input_ids=tokens_BT, attention_mask=torch.ones_like(tokens_BT), use_cache=use_cache)
        logits: Tensor = out.logits[:, -tokens_BT.shape[1] :]  # those of a trained prompt stand before
        return logits.to(tokens_BT.device), getattr(out, "past_key_values", None)

    def _read_on(self, tokens_RL: Int64[Tensor, "R L"], mask_RL: Tensor, past: Any) -> Float[Tensor, "R L V"]:
        """Logits after tokens that stand behind what was read; `past` then holds these too. What a trained prefix says
        is in `past`, so it is the model inside that goes on."""
        seen_RP = torch.ones(len(tokens_RL), past.get_seq_length(), dtype=mask_RL.dtype, device=mask_RL.device)
        mask = torch.cat([seen_RP, mask_RL], dim=1)
        out = self.base(input_ids=tokens_RL, attention_mask=mask, past_key_values=past, use_cache=True)
        logits: Tensor = out.logits
        return logits.to(tokens_RL.device)

    @torch.inference_mode()
    def log_likelihoods(self, prompts_BT: Int64[Tensor, "B T"], answers: AnswerRows) -> Float[Tensor, "B M"]:
        """In nats, of each of the answers after each prompt, which is read once."""
        prompts_BT, num_prompts = prompts_BT.to(self.device), len(prompts_BT)
        logits_BTV, past = self._read(prompts_BT)
        found_BM = logits_BTV[:, -1].float().log_softmax(-1)[:, answers.firsts_M.to(self.device)]
        blocks = answers.blocks(_LOGITS_AT_ONCE // (num_prompts * self.num_tokens), _ROWS_AT_ONCE // num_prompts)
        for block in blocks:
            texts_CL, is_text_CL, answers_A, rows_A, tokens_AL, is_said_AL = (part.to(self.device) for part in block)
            log_probs_BCLV = self._behind(prompts_BT, texts_CL, is_text_CL, past).float().log_softmax(-1)
            places_L = torch.arange(texts_CL.shape[1], device=self.device)
            said_BAL = log_probs_BCLV[:, rows_A[:, None], places_L, tokens_AL]
            found_BM[:, answers_A] += (said_BAL * is_said_AL).sum(-1)
        return found_BM.cpu()

    def _behind(
        self,
        prompts_BT: Int64[Tensor, "B T"],
        texts_CL: Int64[Tensor, "C L"],
        is_text_CL: Bool[Tensor, "C L"],
        past: Any,
    ) -> Float[Tensor, "B C L V"]:
        """Logits after each token of each text behind each prompt."""
        num_prompts, num_texts = len(prompts_BT), len(texts_CL)
        texts_RL = texts_CL.repeat(num_prompts, 1)
        if self._reads_on:
            mask_RL = is_text_CL.repeat(num_prompts, 1).long()
            logits_RLV = self._read_on(texts_RL, mask_RL, _expanded(past, num=num_prompts, times=num_texts))
        else:
            whole = torch.cat([prompts_BT.repeat_interleave(num_texts, dim=0), texts_RL], dim=1)
            logits_RLV = self._read(whole, use_cache=False)[0][:, prompts_BT.shape[1] :]
        return logits_RLV.view(num_prompts, num_texts, *logits_RLV.shape[1:])

    @torch.inference_mode()
    def log_likelihoods_of_ends(
        self, texts_RT: Int64[Tensor, "R T"], lengths_R: Int64[Tensor, " R"], behind_R: Int64[Tensor, " R"]
    ) -> tuple[Float[Tensor, " R"], Bool[Tensor, " R"]]:
        """In nats, of the last `behind_R` tokens of texts padded on the right; and whether each of these tokens
        was the likeliest one."""
        texts_RT, places_T = texts_RT.to(self.device), torch.arange(1, texts_RT.shape[1], device=self.device)
        lengths_R1, behind_R1 = lengths_R.to(self.device)[:, None], behind_R.to(self.device)[:, None]
        counts_RT = (places_T >= lengths_R1 - behind_R1) & (places_T < lengths_R1)
        log_probs_RTV = self._read(texts_RT[:, :-1], use_cache=False)[0].float().log_softmax(-1)
        said_RT = log_probs_RTV.gather(2, texts_RT[:, 1:, None])[..., 0]
        is_likeliest_RT = log_probs_RTV.argmax(-1) == texts_RT[:, 1:]
        return (said_RT * counts_RT).sum(-1).cpu(), (is_likeliest_RT | ~counts_RT).all(-1).cpu()

    @torch.inference_mode()
    def continued(self, prompts_BT: Int64[Tensor, "B T"], *, most: int, ends: Collection[int]) -> list[list[int]]:
        """What is written after each prompt, the likeliest token each time, up to and without one of `ends`."""
        text_BT = prompts_BT.to(self.device)
        logits_BTV, past = self._read(text_BT)
        ends_E = torch.tensor(sorted(ends), device=self.device)
        ended_B = torch.zeros(len(text_BT), dtype=torch.bool, device=self.device)
        written: list[Tensor] = []
        while len(written) < most:
            next_B = logits_BTV[:, -1].argmax(-1)
            written.append(next_B)
            ended_B |= torch.isin(next_B, ends_E)
            if bool(ended_B.all()) or len(written) == most:
                break
            text_BT = torch.cat([text_BT, next_B[:, None]], dim=1)
            if self._reads_on:
                logits_BTV = self._read_on(next_B[:, None], torch.ones_like(next_B[:, None]), past)
            else:
                logits_BTV, _ = self._read(text_BT, use_cache=False)
        rows = torch.stack(written, dim=1).tolist() if written else [[] for _ in text_BT]
        return [until(row, ends) for row in rows]


def _expanded(past: Any, *, num: int, times: int) -> Any:
    """A copy in which each of `num` prompts stands so many times, one after another."""
    copied = copy.deepcopy(past)
    copied.reorder_cache(torch.arange(num).repeat_interleave(times))
    return copied


def with_ends(answers: Sequence[Sequence[int]], *, end: int) -> list[list[int]]:
    """Answers as they are scored: one that another goes on from has to be ended as well."""
    begun = {tuple(answer[:cut]) for answer in answers for cut in range(len(answer))}
    return [[*answer, end] if tuple(answer) in begun else list(answer) for answer in answers]
