"""Which encoder, and how it is run: found, checked and hashed without torch, before any text has to be encoded."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from retrieval.encoder_files import (
    DEFAULT_DIM,
    DEFAULT_MODEL,
    encoder_files,
    find_default,
    hub_folder,
    own_prompts,
    sha256_of,
)
from retrieval.errors import UserError
from retrieval.hashed_trigrams import HASHED_DIM, HASHED_TRIGRAMS


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """What an encoder wants to be put before a text, as its makers trained it: `query: `, `passage: `."""

    query: str = ""
    """before a question"""
    document: str = ""
    """before a statement, or any other text that is stored to be read"""

    def before(self, text: str, *, is_document: bool) -> str:
        """The text as the encoder is given it."""
        return (self.document if is_document else self.query) + text


VERSION = 1
"""of what makes vectors of texts: part of every content hash, so that no cached vector and no store outlives a raise"""


@dataclass(frozen=True, kw_only=True)
class ResolvedEncoder:
    """Which files an encoder is, known without loading it."""

    path: Path | None
    """folder in the layout of sentence-transformers; None for hashed trigrams, which have no files"""
    precision: Literal["float32", "bfloat16"]
    content_hash: str
    """16 hex digits: sha256 over the name and sha256 of every file that takes part, and all that changes a vector"""
    file_bytes: int
    """bytes of those files (weights, tokenizer, configs)"""
    description: str
    """one line for people: model, precision, device, content hash"""
    prompts: Prompts
    """the config's, or the model's own"""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A sentence encoder and how to run it. Only what changes the vectors is in the content hash."""

    model: str = DEFAULT_MODEL
    """the default's name, a local folder, or the id of a sentence-transformers model on the Hugging Face hub;
    hashed-trigrams: counts of letters, no model at all, for tests and dry runs"""
    query_prompt: str | None = None
    """put before questions; the model's own where empty (its `query` prompt), '' for none"""
    document_prompt: str | None = None
    """put before statements; the model's own where empty (its `document` or `passage` prompt), '' for none"""
    truncate_dim: int | None = None
    """dimensions that are kept, the first, normalised again: for models trained to be cut (Matryoshka)"""
    batch_size: int = 512
    """texts, at most; fewer where they are long"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the CPU multiplies it natively (3 times as fast) or the device is cuda, else float32"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU when torch finds one. `precision: auto` looks at the CPU then, as the hash must not need torch"""
    processes: int = 1
    """that encode side by side, the cores shared among them; each loads the model, some 10 seconds"""

    def __post_init__(self) -> None:
        for name in ("batch_size", "processes", "truncate_dim"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise ValueError(f"{name} must be 1 or more, not {number}")

    def resolve(self) -> ResolvedEncoder:
        """Find, check and hash the encoder's files (0.1 seconds for 90 MB); downloads only what is not on this machine.

        Raises UserError when there is no such model, when it is not a sentence-transformers model with safetensors
        weights, or when the only files found under the default's name are others.
        """
        path = self._path()
        files = [] if path is None else encoder_files(path)
        precision, prompts = self._precision(), self._prompts(path)
        digests = {file.relative_to(str(path)).as_posix(): sha256_of(file) for file in files}
        identity: dict[str, object] = {"version": VERSION, "files": digests or self.model, "precision": precision}
        if prompts != Prompts():
            identity["prompts"] = asdict(prompts)
        if self.truncate_dim is not None:
            identity["truncate_dim"] = self.truncate_dim
        content_hash = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        known_dim = {DEFAULT_MODEL: DEFAULT_DIM, HASHED_TRIGRAMS: HASHED_DIM}.get(self.model)
        if known_dim is not None:
            self.check_truncation(known_dim)
        cut = "" if self.truncate_dim is None else f", cut to {self.truncate_dim} dimensions"
        return ResolvedEncoder(
            path=path,
            precision=precision,
            content_hash=content_hash,
            file_bytes=sum(file.stat().st_size for file in files),
            description=f"{self.model}{cut}, {precision}, device {self.device}, content {content_hash}",
            prompts=prompts,
        )

    def check_truncation(self, dim: int) -> None:
        """UserError where more dimensions are to be kept than there are."""
        if self.truncate_dim is not None and self.truncate_dim > dim:
            raise UserError(f"encoder {self.model}: truncate_dim is {self.truncate_dim}, and its vectors have {dim}")

    def prompts(self) -> Prompts:
        """The config's, or the model's own."""
        return self._prompts(self._path())

    def _path(self) -> Path | None:
        return None if self.model == HASHED_TRIGRAMS else self._folder()

    def _prompts(self, path: Path | None) -> Prompts:
        own = {} if path is None else own_prompts(path)
        document = own.get("document") or own.get("passage") or ""
        return Prompts(
            query=own.get("query") or "" if self.query_prompt is None else self.query_prompt,
            document=document if self.document_prompt is None else self.document_prompt,
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
        if self.model == HASHED_TRIGRAMS:
            return "float32"
        return "bfloat16" if self.device == "cuda" or cpu_multiplies_bfloat16() else "float32"


def cpu_multiplies_bfloat16() -> bool:
    """From Linux's list of CPU features, since torch, which knows it too, takes a second to import."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpuinfo.read_text().split())
