"""A decoder by itself in a folder: `model.safetensors` and `config.json`, as the hub's PyTorchModelHubMixin has them.

Nothing is unpickled. A memory's own folder packs the same weights into fewer bytes.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from models.decoder_config import DecoderConfig
from retrieval.atomic import new_folder
from retrieval.errors import UserError
from retromem.configuration import build

if TYPE_CHECKING:
    from models.decoder import Decoder

ARCHITECTURE = "retromem.Decoder"
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"


def save_decoder(decoder: "Decoder", folder: Path) -> None:
    """Whole or not at all; what the folder held before is replaced."""
    from safetensors.torch import save_file

    about = {"architecture": ARCHITECTURE, "num_tokens": decoder.num_tokens, "decoder": asdict(decoder.config)}
    with new_folder(folder) as new:
        save_file({name: weight.contiguous() for name, weight in decoder.state_dict().items()}, new / _WEIGHTS)
        (new / _CONFIG).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def load_decoder(folder: Path) -> "Decoder":
    """The decoder that was saved there, to be asked. UserError where there is none, or one of another kind."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    place = folder / _CONFIG
    try:
        about = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{place}: cannot be read ({error}); name a folder that save_decoder wrote") from None
    found = about.get("architecture", about.get("architectures")) if isinstance(about, dict) else None
    if found != ARCHITECTURE:
        raise UserError(f"{place}: is of {found or 'no architecture that it names'}, and {ARCHITECTURE} is wanted")
    config = build(DecoderConfig, about["decoder"], source=str(place))
    decoder = config.build(int(about["num_tokens"]), generator=torch.Generator())
    try:
        decoder.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{folder / _WEIGHTS}: does not hold the weights that {_CONFIG} tells of ({reason})") from None
    return decoder.eval()
