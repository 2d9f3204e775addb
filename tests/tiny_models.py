"""Tiny causal language models of transformers, with random weights and a byte-level tokenizer, as folders."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def tokenizer(texts: list[str], *, chat: bool = False, size: int = 330) -> PreTrainedTokenizerFast:
    """Byte pairs of these texts."""
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    marks = ["<bos>", "<eos>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=marks,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator([f" {text}" for text in texts], trainer)
    found = PreTrainedTokenizerFast(tokenizer_object=trained, bos_token="<bos>", eos_token="<eos>")
    found.chat_template = CHAT if chat else None
    return found


def tiny(folder: Path, texts: list[str], *, kind: str = "llama", chat: bool = False, seed: int = 0, **settings: Any) -> Path:
    """A folder as transformers saves it."""
    own = tokenizer(texts, chat=chat)
    marks = {"bos_token_id": own.bos_token_id, "eos_token_id": own.eos_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "gpt2":
            model: Any = GPT2LMHeadModel(
                GPT2Config(vocab_size=len(own), n_embd=32, n_layer=2, n_head=2, n_positions=96, **marks, **settings)
            )
        else:
            sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
            heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
            limits = {"max_position_embeddings": 128}
            model = LlamaForCausalLM(LlamaConfig(vocab_size=len(own), **{**sizes, **heads, **limits, **settings}, **marks))
        for name, weight in model.named_parameters():  # of this size a model is nearly silent as it is drawn
            if weight.dim() > 1:
                weight.data.normal_(0, 0.2 if "embed" not in name else 0.5)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    own.save_pretrained(folder)
    return folder
