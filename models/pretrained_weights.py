"""The weights of a causal language model of transformers, and those of an adapter of peft: loaded and packed.

Nothing is unpickled: weights are read from safetensors alone. All of it raises ValueError.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from models.pretrained_lm import PretrainedLM

LoadIn = Literal["float32", "bfloat16", "8bit", "4bit"]
StoredAs = Literal["float32", "float16"]

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""of a folder that peft loads"""
_REFUSED = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError, SafetensorError)
"""what transformers and peft raise where something does not fit"""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars, and without what the two libraries tell each other of names that will change."""
    from transformers.utils import logging

    progress_bar_was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        if progress_bar_was_on:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def own_random_numbers(seed: int | None = None) -> Iterator[None]:
    """What draws from torch's own generators inside leaves them as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def load_pretrained(
    folder: Path, *, load_in: LoadIn, trust_remote_code: bool = False, accelerator: str = "auto"
) -> PretrainedLM:
    """A model from a folder, spread over the accelerators that are there."""
    from transformers import AutoModelForCausalLM

    spread = accelerator != "cpu" and torch.cuda.is_available() and find_spec("accelerate") is not None
    settings: dict[str, Any] = {"dtype": torch.float32 if load_in == "float32" else torch.bfloat16}
    if load_in in ("4bit", "8bit"):
        from transformers import BitsAndBytesConfig

        four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
        quantised = four if load_in == "4bit" else {"load_in_8bit": True}
        settings["quantization_config"] = BitsAndBytesConfig(**quantised)  # type: ignore[no-untyped-call]
    with _quiet():
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                device_map="auto" if spread else None,
                **settings,
            )
        except _REFUSED as error:
            raise ValueError(f"{folder} cannot be loaded: {_first_line(error)}") from error
        model, told = loaded
        if lacking := sorted(told["missing_keys"]):
            raise ValueError(f"{folder} holds no weights for {lacking[0]} of {type(model).__name__}")
        return PretrainedLM(model, stays=spread or load_in in ("4bit", "8bit"))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def adapter_settings(settings: Mapping[str, object]) -> Any:
    """A `PeftConfig` of peft, by its own table of types; ValueError names what it does not know."""
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType
    from peft.mapping import get_peft_config

    known = sorted(kind.value for kind in map(PeftType, PEFT_TYPE_TO_CONFIG_MAPPING))
    name = str(settings.get("peft_type", ""))
    if name not in known:
        raise ValueError(f"peft_type: {name!r} is none of {', '.join(known)}")
    given = {"task_type": "CAUSAL_LM", **settings}
    fields = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(name)].__dataclass_fields__
    if unknown := sorted(set(given) - set(fields)):
        raise ValueError(f"{unknown[0]}: is no setting of {name}; it has {', '.join(sorted(fields))}")
    if given["task_type"] != "CAUSAL_LM":
        raise ValueError(f"task_type: must be CAUSAL_LM, not {given['task_type']!r}")
    try:
        return get_peft_config(given)
    except _REFUSED as error:
        raise ValueError(_first_line(error)) from error


def with_new_adapter(lm: PretrainedLM, settings: Mapping[str, object]) -> PretrainedLM:
    """The same model with an adapter that is still to be trained; its first weights are of torch's own generator."""
    from peft import get_peft_model

    with _quiet():
        try:
            return PretrainedLM(get_peft_model(lm.model, adapter_settings(settings)), stays=lm.stays)
        except _REFUSED as error:
            raise ValueError(_first_line(error)) from error


def adapter_files(lm: PretrainedLM, precision: StoredAs, *, base: str) -> dict[str, bytes]:
    """What peft loads; `base` is what its settings say that it is an adapter of."""
    from peft import get_peft_model_state_dict

    with _quiet(), TemporaryDirectory() as folder:
        model: Any = lm.model
        settings = model.active_peft_config
        settings.base_model_name_or_path = None  # or the vocabulary of that model would be looked up on a hub
        weights = get_peft_model_state_dict(model)
        settings.save_pretrained(folder)
        told = json.loads((Path(folder) / ADAPTER_FILES[0]).read_text())
    told = {**told, "base_model_name_or_path": base, "inference_mode": True}
    packed = {name: _rounded(weight, precision, name) for name, weight in weights.items()}
    return {
        ADAPTER_FILES[0]: (json.dumps(told, indent=1, sort_keys=True) + "\n").encode(),
        ADAPTER_FILES[1]: save(packed, metadata={"format": "pt"}),
    }


def _rounded(weight: Tensor, precision: StoredAs, name: str) -> Tensor:
    rounded = weight.detach().cpu().to(getattr(torch, precision)).contiguous().clone()
    if not bool(torch.isfinite(rounded).all()):
        raise ValueError(f"{name} holds numbers that {precision} cannot; name precision: float32")
    return rounded


def with_adapter(lm: PretrainedLM, files: Mapping[str, bytes]) -> PretrainedLM:
    """The same model with an adapter that was packed."""
    from peft import PeftModel

    # peft draws an adapter before it reads its weights.
    with _quiet(), own_random_numbers(), TemporaryDirectory() as folder:
        for name in ADAPTER_FILES:
            (Path(folder) / name).write_bytes(files[name])
        try:
            model = PeftModel.from_pretrained(lm.model, folder, is_trainable=False)
        except _REFUSED as error:
            raise ValueError(f"the adapter does not fit: {_first_line(error)}") from error
        return PretrainedLM(model, stays=lm.stays)


def model_files(lm: PretrainedLM, precision: StoredAs) -> dict[str, bytes]:
    """A whole model as transformers loads it, its weights rounded."""
    model: nn.Module = lm.model
    with torch.no_grad():
        for name, weight in model.named_parameters():  # in place, so that what is tied stays tied
            weight.data = _rounded(weight, precision, name).to(weight.device)
    with _quiet(), TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size="1000GB")  # type: ignore[operator]
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def load_packed(
    files: Mapping[str, bytes], *, trust_remote_code: bool = False, accelerator: str = "auto"
) -> PretrainedLM:
    """A whole model that was packed, in float32."""
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return load_pretrained(
            Path(folder), load_in="float32", trust_remote_code=trust_remote_code, accelerator=accelerator
        )


def count_numbers(files: Mapping[str, bytes]) -> int:
    """Numbers in those files that are safetensors, by their heads alone."""
    total = 0
    for name, content in files.items():
        if name.endswith(".safetensors"):
            head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            total += sum(prod(entry["shape"]) for key, entry in head.items() if key != "__metadata__")
    return total
