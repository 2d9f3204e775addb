"""A decoder in a folder: found again, read by the hub's mixin, refused where it is of something else."""

import json

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin

from models.decoder import Decoder
from models.decoder_config import DecoderConfig
from models.ffn_kinds import GatedConfig
from models.ngram_kinds import NgramsConfig
from retrieval.errors import UserError
from retromem.language.decoder_files import load_decoder, save_decoder

CONFIG = DecoderConfig(
    dim=8, ffn=GatedConfig(width=12), memory=NgramsConfig(rows=7), memory_layers=(1,), residual="layerscale", tied=False
)
TOKENS_BT = torch.randint(23, (2, 6), generator=torch.Generator().manual_seed(0))


def a_decoder() -> Decoder:
    return CONFIG.build(23, generator=torch.Generator().manual_seed(1)).eval()


def test_a_saved_decoder_is_found_again(tmp_path) -> None:
    decoder = a_decoder()
    save_decoder(decoder, tmp_path / "saved")
    assert sorted(file.name for file in (tmp_path / "saved").iterdir()) == ["config.json", "model.safetensors"]
    back = load_decoder(tmp_path / "saved")
    assert back.config == CONFIG
    with torch.no_grad():
        assert torch.equal(back(TOKENS_BT), decoder(TOKENS_BT))
    save_decoder(back, tmp_path / "saved")  # in the place of the first
    assert load_decoder(tmp_path / "saved").config == CONFIG


def test_the_mixin_of_the_hub_reads_the_folder(tmp_path) -> None:
    class OnTheHub(Decoder, PyTorchModelHubMixin):
        def __init__(self) -> None:
            super().__init__(CONFIG, 23, generator=torch.Generator())

    decoder = a_decoder()
    save_decoder(decoder, tmp_path / "saved")
    theirs = OnTheHub._load_as_safetensor(OnTheHub(), str(tmp_path / "saved" / "model.safetensors"), "cpu", True)
    with torch.no_grad():
        assert torch.equal(theirs(TOKENS_BT), decoder(TOKENS_BT))


def test_what_is_of_something_else_is_refused_in_one_line(tmp_path) -> None:
    with pytest.raises(UserError, match=r"config\.json: cannot be read"):
        load_decoder(tmp_path)
    save_decoder(a_decoder(), tmp_path / "saved")
    place = tmp_path / "saved" / "config.json"
    about = json.loads(place.read_text())
    place.write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(UserError, match=r"is of \['LlamaForCausalLM'\], and retromem\.Decoder is wanted"):
        load_decoder(tmp_path / "saved")
    place.write_text(json.dumps({**about, "num_tokens": 24}))
    with pytest.raises(UserError, match=r"model\.safetensors: does not hold the weights that config\.json tells of"):
        load_decoder(tmp_path / "saved")
    place.write_text(json.dumps({**about, "decoder": {**about["decoder"], "depht": 3}}))
    with pytest.raises(UserError, match="depht"):
        load_decoder(tmp_path / "saved")
