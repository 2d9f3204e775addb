"""Tiny causal language models of transformers, with random weights and a byte-level tokenizer, as folders."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def _tokenizer(texts: Sequence[str], *, chat: bool) -> Any:
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    trained = Tokenizer(BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<bos>", "<eos>", "<|user|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator([f" {text}" for text in texts], trainer)
    found = PreTrainedTokenizerFast(tokenizer_object=trained, bos_token="<bos>", eos_token="<eos>")
    found.chat_template = CHAT if chat else None
    return found


def _tiny_model(folder: Path, texts: Sequence[str], *, chat: bool = False, seed: int = 0) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    own = _tokenizer(texts, chat=chat)
    sizes: dict[str, Any] = {"vocab_size": len(own), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256}
    marks: dict[str, Any] = {"bos_token_id": own.bos_token_id, "eos_token_id": own.eos_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**sizes, **heads, **marks))
        for name, weight in model.named_parameters():  # as it is drawn, a model of this size is nearly silent
            if weight.dim() > 1:
                weight.data.normal_(0, 0.5 if "embed" in name else 0.2)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    own.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Path]:
    """A Llama of two layers and 32 dimensions whose tokenizer knows these texts, saved as transformers saves it."""
    return _tiny_model
