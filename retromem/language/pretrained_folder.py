"""Where a causal language model of transformers lies, and whether it is one that can be had: before anything is loaded.

Whatever cannot be used is refused in one line. No weights are read but to hash them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retrieval.encoder_files import hub_folder, sha256_of
from retrieval.errors import UserError

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
_OF_TOKENIZERS = {
    *_TOKENIZERS,
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", "chat_template.jinja"),
}


@dataclass(frozen=True, kw_only=True)
class PretrainedFolder:
    """A model that was found."""

    model: str
    """as the config names it"""
    path: Path

    @property
    def files(self) -> list[Path]:
        """That transformers reads; weights in safetensors alone."""
        suffixes = (".json", ".safetensors", ".txt", ".model", ".jinja")
        return sorted(path for path in self.path.iterdir() if path.suffix in suffixes and path.is_file())

    def content(self, *, tokenizer_alone: bool = False) -> "Content":
        """Bytes and hash of the files, or of those of the tokenizer."""
        files = [file for file in self.files if not tokenizer_alone or file.name in _OF_TOKENIZERS]
        told = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
        return _content(told)


@dataclass(frozen=True)
class Content:
    """Of some files."""

    num_bytes: int
    sha256: str
    """16 hex digits, over the name and sha256 of each"""


@lru_cache(maxsize=64)
def _content(told: Sequence[tuple[str, int, int]]) -> Content:
    digests = {Path(file).name: sha256_of(Path(file)) for file, _, _ in told}
    canonical = json.dumps(digests, sort_keys=True).encode()
    return Content(sum(size for _, size, _ in told), hashlib.sha256(canonical).hexdigest()[:16])


def find_pretrained(model: str, *, trust_remote_code: bool) -> PretrainedFolder:
    """A folder, or that of a hub id, downloaded where this machine has it not. UserError for what is no causal language
    model with a tokenizer, whose weights are not in safetensors, or which wants to run code of its own unasked."""
    path = Path(model)
    if not path.is_dir():
        path = _downloaded(model, with_code=trust_remote_code)
    config = _config(model, path)
    architectures = config.get("architectures") or []
    wanted = "a causal language model such as LlamaForCausalLM"
    names_code = "AutoModelForCausalLM" in (config.get("auto_map") or {})
    is_known = _is_causal_lm(str(config.get("model_type")))
    if not is_known and names_code and not trust_remote_code:
        raise UserError(
            f"model: {model} is a {config.get('model_type')} that runs code from its own folder; say "
            "trust_remote_code: true if you trust it, or name a model that transformers knows"
        )
    if not (names_code and trust_remote_code):
        if architectures and not set(architectures) & _all_architectures():
            raise UserError(f"model: {model} holds {architectures[0]}, and what is wanted is {wanted}")
        if not is_known:
            raise UserError(f"model: {model} is a {config.get('model_type')!r}, and what is wanted is {wanted}")
    if not _has(path, _WEIGHTS):
        others = sorted(
            file.name for file in path.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".h5", ".msgpack")
        )
        has = f"only {others[0]}, which is never unpickled" if others else "none"
        raise UserError(f"model: {model} has no weights in safetensors ({has}); save it with save_pretrained")
    if not _has(path, _TOKENIZERS):
        raise UserError(f"model: {model} is a folder without a tokenizer; save one there with save_pretrained")
    return PretrainedFolder(model=model, path=path)


def _downloaded(model: str, *, with_code: bool) -> Path:
    extra = (".py",) if with_code else ()
    try:
        path = hub_folder(model, local_files_only=True, extra=extra)
        if _has(path, _WEIGHTS) and _has(path, _TOKENIZERS):  # another program may have cached a part of it
            return path
    except UserError:
        pass
    try:
        return hub_folder(model, local_files_only=False, extra=extra)
    except UserError as error:
        raise UserError(f"model: {error}") from None


def _has(path: Path, names: Sequence[str]) -> bool:
    return any((path / name).is_file() for name in names)


def _config(model: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / "config.json").read_bytes())
    except FileNotFoundError:
        if (path / "adapter_config.json").is_file():
            base = _named_base(path)
            raise UserError(f"model: {model} is an adapter of {base}, not a model; name {base}") from None
        raise UserError(f"model: {model} has no config.json, so it is no model of transformers") from None
    except (OSError, ValueError) as error:
        raise UserError(f"model: {path / 'config.json'} cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"model: {path / 'config.json'} is no settings file of transformers")
    return found


def _named_base(path: Path) -> str:
    try:
        return str(json.loads((path / "adapter_config.json").read_bytes())["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return "another model"


def _is_causal_lm(model_type: str) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


@lru_cache(maxsize=1)
def _all_architectures() -> frozenset[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    listed = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return frozenset(name for names in listed for name in ([names] if isinstance(names, str) else names))


def load_tokenizer(found: PretrainedFolder, *, trust_remote_code: bool) -> Any:
    """The tokenizer of transformers in the folder of a model."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(found.path, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:  # several libraries read several formats
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"model: {found.model} has no tokenizer that can be read ({reason})") from None


def refuse_missing(package: str, setting: str, extra: str) -> None:
    """UserError where a package that a setting needs is not installed."""
    if find_spec(package) is None:
        raise UserError(f"{setting} needs {package}, which is not installed: pip install {extra}")
