"""Sentence encoders: texts -> unit vectors. One frozen encoder serves both sides of a comparison.

Importing this file imports neither torch nor sentence-transformers (4 to 13 seconds): an encoder is found, checked and
hashed without them, and its model is loaded when the first text has to be encoded.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

from retrieval.encoder_config import EncoderConfig
from retrieval.encoder_files import DEFAULT_DIM, DEFAULT_MODEL, max_tokens
from retrieval.errors import UserError
from retrieval.hashed_trigrams import HASHED_DIM, hashed_trigrams
from retrieval.text_vectors import TextVectors
from retrieval.tokens import Tokens

MOST_TOKENS = 16_384
"""of one batch, padding included"""


class Encoder(TextVectors):
    """The encoder of a config. Cheap to make; the model is loaded by the first call that needs it."""

    file_bytes: int

    def __init__(self, config: EncoderConfig) -> None:
        self.config = config
        self.resolved = config.resolve()
        self.content_hash = self.resolved.content_hash
        self.file_bytes = self.resolved.file_bytes
        self.description = self.resolved.description
        self.prompts = self.resolved.prompts
        self.name = config.model
        self.suspects = f"its weights are damaged, or {self.resolved.precision} is too coarse for them"

    @property
    def dim(self) -> int:
        """D, the size of a vector; but for the default encoder, the model is loaded to know it."""
        if self.config.model == DEFAULT_MODEL:
            whole = DEFAULT_DIM
        else:
            whole = HASHED_DIM if self.resolved.path is None else int(self._model.get_embedding_dimension())
        return min(whole, self.config.truncate_dim or whole)

    def load(self) -> None:
        """Load the model and warm it up, so that what is timed afterwards is encoding alone."""
        self._encode(["warm up"])

    def encode_batches(self, batches: Sequence[Sequence[str]]) -> Iterator[tuple[Float32[ndarray, "N D"], float]]:
        """`encode` of each batch in their order, and the seconds that it took, loading apart; in several processes
        where the config asks for them, which share the cores and therefore the seconds."""
        if self.config.processes == 1 or len(batches) < 2 or self.resolved.path is None:
            yield from super().encode_batches(batches)
            return
        from joblib import Parallel, cpu_count, delayed, parallel_config

        num_processes = min(self.config.processes, len(batches))
        with parallel_config(backend="loky", inner_max_num_threads=max(1, cpu_count() // num_processes)):
            work = Parallel(n_jobs=num_processes, return_as="generator")
            for vectors_ND, seconds in work(delayed(_timed_in_worker)(self.config, batch) for batch in batches):
                yield vectors_ND, seconds / num_processes

    def _encode(self, texts: list[str]) -> Float32[ndarray, "N D"]:
        """In batches of one length each where that can be: padding, and the mask that it needs, cost a quarter."""
        if self.resolved.path is None:
            return hashed_trigrams(texts)[:, : self.dim]
        lengths_N = self._num_tokens(texts)
        vectors_ND = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows_B in batches_of_a_length(lengths_N, self.config.batch_size):
            vectors_ND[rows_B] = self._model.encode(
                [texts[row] for row in rows_B.tolist()],
                prompt="",  # the prompt that a model puts before every text unasked
                batch_size=len(rows_B),
                show_progress_bar=False,
                truncate_dim=self.config.truncate_dim,
            )
        return vectors_ND

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """The vectors of each text's tokens, in float32. UserError for an encoder without tokens of its own.

        As with `encode`, whoever asks puts a prompt before the text, and its tokens are among these.
        """
        if self.resolved.path is None or not getattr(self._model.tokenizer, "is_fast", False):
            raise UserError(f"encoder {self.config.model}: has no tokens whose place in the text is known")
        tokenizer, longest = self._model.tokenizer, self._model.max_seq_length
        found: dict[int, Tokens] = {}
        for rows_B in batches_of_a_length(self._num_tokens(list(texts)), self.config.batch_size):
            batch = [texts[row] for row in rows_B.tolist()]
            all_vectors = self._model.encode(
                batch, prompt="", batch_size=len(batch), show_progress_bar=False, output_value="token_embeddings"
            )
            marked = tokenizer(
                batch,
                truncation=True,
                max_length=longest,
                return_offsets_mapping=True,
                return_special_tokens_mask=True,
            )
            for number, row in enumerate(rows_B.tolist()):
                is_mark = marked["special_tokens_mask"][number]
                kept = [place for place, mark in enumerate(is_mark) if not mark]
                found[row] = Tokens(
                    all_vectors[number].float().cpu().numpy()[kept],
                    tuple(marked["input_ids"][number][place] for place in kept),
                    tuple(tuple(marked["offset_mapping"][number][place]) for place in kept),
                )
        return [found[row] for row in range(len(texts))]

    def num_cut(self, texts: Sequence[str]) -> int:
        """Texts that are longer than the model reads: what stands behind its last token is in no vector."""
        return int(self.are_cut(texts).sum())

    def are_cut(self, texts: Sequence[str]) -> Bool[ndarray, " N"]:
        """Whether each text is longer than the model reads. The model is loaded where one may be."""
        cut_N = np.zeros(len(texts), dtype=bool)
        if self.resolved.path is None:
            return cut_N  # letters are of all of a text
        noted = max_tokens(self.resolved.path)
        # A token is one byte of a text at least; a few more mark its ends.
        rows = [row for row, text in enumerate(texts) if noted is None or len(text.encode()) > noted - 8]
        if not rows or not getattr(self._model.tokenizer, "is_fast", False) or self._model.max_seq_length is None:
            return cut_N  # so are word vectors
        all_ids = self._model.tokenizer([texts[row] for row in rows], truncation=False, verbose=False)["input_ids"]
        cut_N[rows] = [len(ids) > self._model.max_seq_length for ids in all_ids]
        return cut_N

    def _num_tokens(self, texts: list[str]) -> Int64[ndarray, " N"]:
        """Tokens of each text, as the model is given them; 0 where it takes texts of any length in one batch."""
        mask_NT = self._model.preprocess(texts).get("attention_mask")
        return np.zeros(len(texts), dtype=np.int64) if mask_NT is None else mask_NT.sum(dim=1).numpy()

    @cached_property
    def _model(self) -> Any:
        import torch
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        if self.config.device == "cuda" and not torch.cuda.is_available():
            raise UserError("encoder: device is cuda, but torch finds no GPU here; use device: cpu or auto")
        dtype = getattr(torch, self.resolved.precision)
        progress_bar_was_on = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            model = SentenceTransformer(
                str(self.resolved.path),
                device=None if self.config.device == "auto" else self.config.device,
                local_files_only=True,
                model_kwargs={"dtype": dtype},
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(f"encoder {self.resolved.path} cannot be loaded: {error}") from error
        finally:
            if progress_bar_was_on:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        self.config.check_truncation(int(model.get_embedding_dimension() or 0))
        # Word-vector models ignore model_kwargs; transformers must not be cast whole (rotary frequencies stay float32).
        return model if model.dtype == dtype else model.to(dtype)


def batches_of_a_length(lengths_N: Int64[ndarray, " N"], most: int) -> Iterator[Int64[ndarray, " B"]]:
    """Rows of N texts, the shortest first, in batches of at most `most` texts and `MOST_TOKENS` tokens.

    A batch ends where the next text is longer, unless it has less than an eighth of that yet: then it is padded.
    """
    order_N = np.argsort(lengths_N, kind="stable")
    start = 0
    for end in range(1, len(order_N) + 1):
        if end < len(order_N):
            size, longest, following = end - start, lengths_N[order_N[end - 1]], lengths_N[order_N[end]]
            is_full = size >= most or (size + 1) * following > MOST_TOKENS
            is_worth_it = 8 * size >= most or 8 * size * longest >= MOST_TOKENS
            if not is_full and not (following > longest and is_worth_it):
                continue
        yield order_N[start:end]
        start = end


def _timed_in_worker(config: EncoderConfig, batch: Sequence[str]) -> tuple[Float32[ndarray, "N D"], float]:
    return loaded_encoder(config).timed(batch)


@lru_cache(maxsize=1)
def loaded_encoder(config: EncoderConfig) -> Encoder:
    """Once in each worker."""
    encoder = Encoder(config)
    encoder.load()
    return encoder
