"""Sentence encoders: texts -> unit vectors. One frozen encoder serves both sides of a comparison.

Importing this file imports neither torch nor sentence-transformers (4 to 13 seconds): an encoder is found, checked and
hashed without them, and its model is loaded when the first text has to be encoded.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retrieval.encoder_files import DEFAULT_MODEL, encoder_files, find_default, hub_folder, sha256_of
from retrieval.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ResolvedEncoder:
    """Which files an encoder is, known without loading it."""

    path: Path
    """folder in the layout of sentence-transformers"""
    precision: Literal["float32", "bfloat16"]
    content_hash: str
    """16 hex digits: sha256 over the name and sha256 of every file that takes part, and the precision"""
    file_bytes: int
    """bytes of those files (weights, tokenizer, configs)"""
    description: str
    """one line for people: model, precision, device, content hash"""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A sentence encoder and how to run it. Only what changes the vectors is in the content hash."""

    model: str = DEFAULT_MODEL
    """the default's name, a local folder, or the id of a sentence-transformers model on the Hugging Face hub"""
    batch_size: int = 128
    """texts; 32 to 256 are equally fast on two cores"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the CPU multiplies it natively (3 times as fast) or the device is cuda, else float32"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU when torch finds one. `precision: auto` looks at the CPU then, as the hash must not need torch"""

    def resolve(self) -> ResolvedEncoder:
        """Find, check and hash the encoder's files (0.1 seconds for 90 MB); downloads only what is not on this machine.

        Raises UserError when there is no such model, when it is not a sentence-transformers model with safetensors
        weights, or when the only files found under the default's name are others.
        """
        path = self._folder()
        files = encoder_files(path)
        precision = self._precision()
        digests = {file.relative_to(path).as_posix(): sha256_of(file) for file in files}
        identity = json.dumps({"files": digests, "precision": precision}, sort_keys=True)
        content_hash = hashlib.sha256(identity.encode()).hexdigest()[:16]
        return ResolvedEncoder(
            path=path,
            precision=precision,
            content_hash=content_hash,
            file_bytes=sum(file.stat().st_size for file in files),
            description=f"{self.model}, {precision}, device {self.device}, content {content_hash}",
        )

    def _folder(self) -> Path:
        if self.model == DEFAULT_MODEL:
            return find_default(download=True)[0]
        if (folder := Path(self.model)).is_dir():
            return folder
        try:
            folder = hub_folder(self.model, local_files_only=True)
            encoder_files(folder)  # another program may have cached a part of the model
        except UserError:
            folder = hub_folder(self.model, local_files_only=False)
        return folder

    def _precision(self) -> Literal["float32", "bfloat16"]:
        if self.precision != "auto":
            return self.precision
        return "bfloat16" if self.device == "cuda" or _cpu_multiplies_bfloat16() else "float32"


class Encoder:
    """Texts -> unit vectors. Cheap to make; the model is loaded by the first call that needs it."""

    def __init__(self, config: EncoderConfig) -> None:
        self.config = config
        self.resolved = config.resolve()
        self.content_hash = self.resolved.content_hash
        self.file_bytes = self.resolved.file_bytes
        self.description = self.resolved.description

    @property
    def dim(self) -> int:
        """D, the size of a vector."""
        return int(self._model.get_embedding_dimension())

    def load(self) -> None:
        """Load the model and warm it up, so that what is timed afterwards is encoding alone."""
        self._encode(["warm up"])

    def encode(self, texts: Sequence[str]) -> Float32[ndarray, "N D"]:
        """Unit vectors of N texts, in their order; N may be 0. Where a model sees no token, the vector may be zero.

        Every text is encoded as it stands, questions and statements alike, since both must lie in one space: the
        prompts that some models keep for queries and documents are not put before it. Normalised in float32, because
        vectors that were normalised in bfloat16 are off unit norm by up to 4e-3. The vector of a text depends on the
        texts it was batched with: measured up to 3e-7 a component in float32 and 3e-3 in bfloat16.
        """
        assert not isinstance(texts, str), "a list of texts, not one text"
        if len(texts) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        vectors_ND = self._encode(list(texts))
        norms_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        units_ND: Float32[ndarray, "N D"] = vectors_ND / np.maximum(norms_N1, np.float32(1e-12))
        return units_ND

    def single_text_ms(self, texts: Sequence[str]) -> float:
        """Median milliseconds to encode one text alone (batch 1); loading and warm-up are not in it."""
        self.load()
        milliseconds = []
        for text in texts:
            started = time.perf_counter()
            self.encode([text])
            milliseconds.append(1e3 * (time.perf_counter() - started))
        return float(np.median(milliseconds))

    def _encode(self, texts: list[str]) -> Float32[ndarray, "N D"]:
        vectors_ND: Float32[ndarray, "N D"] = self._model.encode(
            texts, batch_size=self.config.batch_size, show_progress_bar=False
        )
        return vectors_ND

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
        # Word-vector models ignore model_kwargs; transformers must not be cast whole (rotary frequencies stay float32).
        return model if model.dtype == dtype else model.to(dtype)


def _cpu_multiplies_bfloat16() -> bool:
    """From Linux's list of CPU features, since torch, which knows it too, takes a second to import."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpuinfo.read_text().split())
