"""A store is asked with the encoder that built it: from any folder, on any processor, and with no other."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from retrieval import encoder_config
from retrieval.errors import UserError
from retrieval.sealed_folder import read_manifest
from retromem.stores.document_stores import build_document_store
from retromem.stores.store_search import search_store


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of word vectors, `words` and `others`, and `broken`, which makes NaN."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = ["[UNK]", "lake", "mill", "deep", "old", "is"]
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("models")
    for name, weights in (("words", np.eye(6, k=-1)), ("others", np.eye(6, k=1)), ("broken", np.full((6, 6), np.nan))):
        words = StaticEmbedding(tokenizer, embedding_weights=weights.astype(np.float32))
        SentenceTransformer(modules=[words], device="cpu").save(str(folder / name), create_model_card=False)
    return folder


@pytest.fixture
def place(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder: `project/models`, and a document."""
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(models, tmp_path / "project" / "models")
    monkeypatch.chdir(tmp_path / "project")
    Path("a.txt").write_text("The lake is deep. The mill is old.")
    return tmp_path


def build(model: str, documents: str = "a.txt") -> str:
    settings = {"split": "1 sentence", "factory": "Flat", "rotate_to": None}
    return build_document_store(Path("stores/s"), documents=Path(documents), model=model, **settings)  # type: ignore[arg-type]


def test_a_relative_encoder_is_found_from_anywhere_and_moves_along(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("models/words")
    assert read_manifest(Path("stores/s"))["meta"]["store"]["encoder"]["name"] == "../../models/words"
    monkeypatch.chdir(place / "elsewhere")
    assert "lake" in search_store(Path("../project/stores/s"), "deep", top=1)
    (place / "project").rename(place / "moved")
    assert "mill" in search_store(place / "moved/stores/s", "old", top=1)
    (place / "link").symlink_to(place / "moved/stores/s")
    assert "mill" in search_store(place / "link", "old", top=1)
    (place / "moved/models/words").rename(place / "elsewhere/w")
    with pytest.raises(UserError, match="its encoder, .*/moved/models/words, is not there any more; name its folder"):
        search_store(place / "moved/stores/s", "old", top=1)
    assert "mill" in search_store(place / "moved/stores/s", "old", top=1, model="w")


def test_another_encoder_is_refused(place: Path) -> None:
    build("models/words")
    for other in ("models/others", "hashed-trigrams"):
        with pytest.raises(UserError, match=f"s: its encoder is .*models/words of content .*; {other} is another"):
            search_store(Path("stores/s"), "old", top=1, model=other)


@pytest.mark.parametrize("built_on_bfloat16", [True, False])
def test_a_store_answers_on_a_processor_without_its_precision(
    built_on_bfloat16: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_config, "cpu_multiplies_bfloat16", lambda: built_on_bfloat16)
    build("models/words")
    monkeypatch.setattr(encoder_config, "cpu_multiplies_bfloat16", lambda: not built_on_bfloat16)
    assert "mill" in search_store(Path("stores/s"), "old", top=1)


def test_what_an_encoder_makes_nothing_of_is_one_line(place: Path) -> None:
    with pytest.raises(UserError, match="encoder models/broken: makes NaN or infinity of 'The mill is old.'"):
        build("models/broken")
    Path("b.txt").write_text("The lake is deep. Всё.")
    assert "left out: 1 passages in which the encoder knows no word" in build("models/words", documents="b.txt")
    with pytest.raises(UserError, match=r"question 'Всё\?': the encoder finds no word in it"):
        search_store(Path("stores/s"), "Всё?", top=1)
