"""The encoder of a store, found again from another folder and on another processor."""

import os
from dataclasses import replace
from pathlib import Path

from retrieval.chunks import EncoderId
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retrieval.encoder_files import DEFAULT_MODEL
from retrieval.errors import UserError
from retrieval.hashed_trigrams import HASHED_TRIGRAMS


def noted_name(model: str, store: Path) -> str:
    """What a store calls its encoder: a folder by its way from the store, so that both are found from anywhere."""
    if model in (DEFAULT_MODEL, HASHED_TRIGRAMS) or os.path.isabs(model) or not Path(model).is_dir():
        return model
    return os.path.relpath(os.path.realpath(model), os.path.realpath(store))


def encoder_of(store: Path, noted: EncoderId | None, encoder_hash: str, given: str | None = None) -> Encoder:
    """The encoder that made a store's vectors, or the `given` one if it is the same; UserError where it is not.

    In the precision that made them, whatever this processor is fast at: slower there, but the same vectors.
    """
    name = ((noted.name if noted else None) or DEFAULT_MODEL) if given is None else given
    if given is None and name.startswith(os.pardir):
        name = os.path.normpath(os.path.join(os.path.realpath(store), name))
    if given is None and os.path.isabs(name) and not os.path.isdir(name):
        raise UserError(f"{store}: its encoder, {name}, is not there any more; name its folder with --encoder")
    hashes = []
    for precision in ("auto", "float32", "bfloat16"):
        encoder = Encoder(replace(EncoderConfig(model=name), precision=precision))
        if f"{encoder.content_hash}-raw" == encoder_hash:
            return encoder
        hashes.append(encoder.content_hash)
    raise UserError(
        f"{store}: its encoder is {noted.name if noted else 'unknown'} of content {encoder_hash.removesuffix('-raw')}; "
        f"{name} is another ({hashes[1]} in float32, {hashes[2]} in bfloat16): name the right one with --encoder"
    )
