import json
import shutil
import socket
import unicodedata
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.encoder import MOST_TOKENS, Encoder, batches_of_a_length
from retrieval.encoder_config import EncoderConfig, Prompts, cpu_multiplies_bfloat16
from retrieval.encoder_files import find_default
from retrieval.errors import UserError
from retrieval.hashed_trigrams import hashed_trigrams

TEXTS = [
    "In which country is Paris?",
    "Córdoba lies in Argentina.",
    "Which country does the city of Ouagadougou belong to, if you had to say it in a single word?",
    "oslo",
    "",
]


@pytest.fixture(scope="module")
def float32() -> Encoder:
    return Encoder(EncoderConfig(precision="float32", device="cpu"))


@pytest.fixture(scope="module")
def bfloat16() -> Encoder:
    return Encoder(EncoderConfig(precision="bfloat16", device="cpu"))


@pytest.fixture(scope="module")
def word_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole sentence-transformers model of three words: the vector of a text is the mean of its words' vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "where": 1, "is": 2, "oslo": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    words = StaticEmbedding(tokenizer, embedding_weights=np.eye(4, 5, dtype=np.float32))
    folder = tmp_path_factory.mktemp("models") / "words"
    SentenceTransformer(modules=[words], device="cpu").save(str(folder), create_model_card=False)
    return folder


def test_float32_agrees_with_sentence_transformers(float32: Encoder) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(find_default()[0]), device="cpu", local_files_only=True)
    expected_ND = reference.encode(TEXTS, normalize_embeddings=True)
    vectors_ND = float32.encode(TEXTS)
    assert vectors_ND.dtype == np.float32
    np.testing.assert_allclose(vectors_ND, expected_ND, atol=1e-6)


def test_bfloat16_is_unit_norm_and_near_float32(float32: Encoder, bfloat16: Encoder) -> None:
    rough_ND, exact_ND = bfloat16.encode(TEXTS), float32.encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(rough_ND, axis=1), 1, atol=1e-6)
    assert np.abs(rough_ND - exact_ND).max() > 1e-4  # or it ran in float32 after all
    assert (rough_ND * exact_ND).sum(axis=1).min() > 0.999
    assert float32.content_hash != bfloat16.content_hash


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_a_text_alone_is_the_text_in_a_batch(precision: str, tolerance: float, request: pytest.FixtureRequest) -> None:
    encoder: Encoder = request.getfixturevalue(precision)
    alone_ND = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS), alone_ND, atol=tolerance)


def test_no_texts(float32: Encoder) -> None:
    assert float32.encode([]).shape == (0, 384)
    assert float32.dim == float32.encode(["some"]).shape[1] == 384


def test_texts_that_are_longer_than_the_model_reads_are_counted(float32: Encoder, word_model: Path) -> None:
    texts = ["deep " * 254, "deep " * 255, "", "deep " * 400]  # 256 with its two marks
    assert float32.num_cut(texts) == 2
    with_end, without = float32.encode(["deep " * 255 + "cellar", "deep " * 255 + "treasure"])
    np.testing.assert_array_equal(with_end, without)
    assert Encoder(EncoderConfig(model=str(word_model))).num_cut(texts) == 0
    assert Encoder(EncoderConfig(model="hashed-trigrams")).num_cut(texts) == 0


def test_a_sign_may_be_a_token_and_encoding_is_quiet(float32: Encoder, capfd: pytest.CaptureFixture[str]) -> None:
    float32.load()
    capfd.readouterr()
    assert float32.are_cut(["!" * 254, "!" * 255, "!" * 400, "! " * 127]).tolist() == [False, True, True, False]
    float32.encode(TEXTS)
    float32.tokens(TEXTS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("wanted", [True, False])
def test_loading_leaves_progress_bars_as_they_were(
    word_model: Path, wanted: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    try:
        (logging.enable_progress_bar if wanted else logging.disable_progress_bar)()
        Encoder(EncoderConfig(model=str(word_model), device="cpu")).load()
        assert logging.is_progress_bar_enabled() is wanted
        assert capfd.readouterr() == ("", "")
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()


def test_tokens_stand_where_the_text_has_them_and_their_mean_is_its_vector(float32: Encoder) -> None:
    texts = ["unbelievably small", "Oslo", "", "deep " * 300, "a b c d"]
    found = float32.tokens(texts)
    assert [len(tokens.ids) for tokens in found] == [6, 1, 0, 254, 4]
    assert [texts[0][start:end] for start, end in found[0].spans] == ["un", "bel", "ie", "va", "bly", "small"]
    assert found[1].spans == ((0, 4),) and found[4].spans == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert [tokens.vectors_TD.shape for tokens in found] == [(6, 384), (1, 384), (0, 384), (254, 384), (4, 384)]
    assert len(set(found[3].ids)) == 1 and found[0].vectors_TD.dtype == np.float32
    # The encoder's own vector is the mean over its tokens and two marks: near, in direction, to that of the tokens.
    mean_D = found[4].vectors_TD.mean(axis=0)
    assert float32.encode(["a b c d"])[0] @ mean_D / np.linalg.norm(mean_D) > 0.9
    assert float32.are_cut(texts).tolist() == [False, False, False, True, False]


def test_bytes_and_hash_are_those_of_the_files_that_are_read(
    float32: Encoder, word_model: Path, tmp_path: Path
) -> None:
    folder = float32.resolved.path
    unread = {"README.md", ".gitattributes", "data_config.json"}
    read = [file for file in folder.rglob("*") if file.is_file() and file.name not in unread]
    assert float32.file_bytes == sum(file.stat().st_size for file in read)

    copy = shutil.copytree(word_model, tmp_path / "copy")
    before = EncoderConfig(model=str(word_model)).resolve()
    assert EncoderConfig(model=str(copy)).resolve().content_hash == before.content_hash
    (copy / "README.md").write_text("what is not read does not count")
    (copy / "onnx").mkdir()
    (copy / "onnx" / "config.json").write_text("{}")
    assert EncoderConfig(model=str(copy)).resolve().content_hash == before.content_hash
    (copy / "config_sentence_transformers.json").write_text("{}")
    assert EncoderConfig(model=str(copy)).resolve().content_hash != before.content_hash


def test_local_folder_is_encoded_without_any_network_call(word_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []

    def refuse(host: str, *_: object, **__: object) -> None:
        looked_up.append(host)
        raise OSError("no network in tests")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    encoder = Encoder(EncoderConfig(model=str(word_model), precision="float32", device="cpu"))
    half = 0.5**0.5
    np.testing.assert_allclose(
        encoder.encode(["oslo is", "where"]), [[0, 0, half, half, 0], [0, 1, 0, 0, 0]], atol=1e-6
    )
    assert looked_up == []
    with pytest.raises(UserError, match="nobody/nothing is neither a folder nor on the Hugging Face hub"):
        EncoderConfig(model="nobody/nothing").resolve()
    assert looked_up  # the trap above does catch a call


def test_model_of_words_in_bfloat16(word_model: Path) -> None:
    encoder = Encoder(EncoderConfig(model=str(word_model), precision="bfloat16", device="cpu"))
    error_D = encoder.encode(["where is is oslo oslo oslo"])[0] - np.array([0, 1, 2, 3, 0]) / 14**0.5
    assert 1e-5 < np.abs(error_D).max() < 1e-2
    assert not encoder.encode([""]).any()  # no token, no direction, and no nan


def test_milliseconds_of_one_text(word_model: Path) -> None:
    encoder = Encoder(EncoderConfig(model=str(word_model), device="cpu"))
    assert 0.01 < encoder.single_text_ms(["where is oslo"] * 5) < 1000


def test_damaged_weights_are_a_user_error(word_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(word_model, tmp_path / "damaged")
    (weights,) = folder.rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"damaged cannot be loaded"):
        Encoder(EncoderConfig(model=str(folder), device="cpu")).load()


def test_bfloat16_probe_agrees_with_torch() -> None:
    import torch

    capabilities = torch.cpu.get_capabilities()
    if capabilities["architecture"] != "x86_64" or not Path("/proc/cpuinfo").is_file():
        pytest.skip("needs Linux on x86")
    native = capabilities["avx512_bf16"] or capabilities.get("amx_bf16", False)
    assert cpu_multiplies_bfloat16() == native


def test_cuda_without_a_gpu_is_a_user_error(word_model: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match="torch finds no GPU"):
        Encoder(EncoderConfig(model=str(word_model), device="cuda")).load()


@given(st.lists(st.integers(1, 9_000), max_size=60), st.integers(1, 40))
def test_batches_hold_every_row_once_and_stay_within_their_limits(lengths: list[int], most: int) -> None:
    lengths_N = np.array(lengths, dtype=np.int64)
    batches = list(batches_of_a_length(lengths_N, most))
    assert sorted(row for rows_B in batches for row in rows_B.tolist()) == list(range(len(lengths)))
    for rows_B in batches:
        assert len(rows_B) <= most
        assert len(rows_B) == 1 or len(rows_B) * lengths_N[rows_B].max() <= MOST_TOKENS


def test_texts_of_one_length_are_padded_only_where_there_are_few() -> None:
    batches = batches_of_a_length(np.array([7] * 30 + [8] * 40 + [9] * 3 + [20] * 2), 32)
    assert [len(rows_B) for rows_B in batches] == [
        30,
        32,
        8,
        5,
    ]  # eight are worth one of their own


def test_prompts_are_those_of_the_config_or_of_the_model(word_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(word_model, tmp_path / "prompted")
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    settings |= {"prompts": {"query": "where ", "passage": "is ", "other": "oslo "}, "default_prompt_name": "other"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    own = EncoderConfig(model=str(folder), precision="float32", device="cpu")
    assert own.resolve().prompts == Prompts(query="where ", document="is ")
    assert Prompts(query="q: ", document="d: ").before("oslo", is_document=True) == "d: oslo"
    without = replace(own, query_prompt="", document_prompt="")
    assert without.resolve().prompts == Prompts()
    assert without.resolve().content_hash != own.resolve().content_hash
    np.testing.assert_allclose(Encoder(own).encode(["oslo"])[0], [0, 0, 0, 1, 0], atol=1e-6)  # no prompt unasked


def test_a_cut_vector_is_the_beginning_of_the_whole_one(word_model: Path) -> None:
    whole = EncoderConfig(model=str(word_model), precision="float32", device="cpu")
    cut = Encoder(replace(whole, truncate_dim=3))
    assert cut.dim == 3
    beginning_ND = Encoder(whole).encode(["oslo is", "where is is"])[:, :3]
    expected_ND = beginning_ND / np.linalg.norm(beginning_ND, axis=1, keepdims=True)
    np.testing.assert_allclose(cut.encode(["oslo is", "where is is"]), expected_ND, atol=1e-6)
    assert cut.content_hash != whole.resolve().content_hash


def test_hashed_trigrams_are_of_letters_and_not_of_their_normal_form() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zürich パリ") for form in ("NFC", "NFD"))
    np.testing.assert_array_equal(hashed_trigrams([composed]), hashed_trigrams([decomposed]))
    assert hashed_trigrams(["Zurich"]).any() and not np.array_equal(*hashed_trigrams(["Zurich", "Zürich"]))


def test_hashed_trigrams_need_no_model() -> None:
    encoder = Encoder(EncoderConfig(model="hashed-trigrams"))
    vectors_ND = encoder.encode(["Which country is Lyon in?", "Lyon: which country?", "Name the colour of Ukka."])
    assert vectors_ND.shape == (3, encoder.dim) and encoder.file_bytes == 0
    assert vectors_ND[0] @ vectors_ND[1] > vectors_ND[0] @ vectors_ND[2] + 0.2
    assert not encoder.encode([""]).any()
    np.testing.assert_array_equal(encoder.encode(["oslo"]), Encoder(encoder.config).encode(["OSLO"]))


def test_settings_that_are_none() -> None:
    with pytest.raises(ValueError, match="processes must be 1 or more, not 0"):
        EncoderConfig(processes=0)


@pytest.mark.slow  # each process imports all anew
def test_two_processes_encode_what_one_does(word_model: Path) -> None:
    config = EncoderConfig(model=str(word_model), precision="float32", device="cpu")
    batches = [["oslo is"], ["where", "is is oslo"], ["oslo"]]
    alone = list(Encoder(config).encode_batches(batches))
    both = list(Encoder(replace(config, processes=2)).encode_batches(batches))
    for (one_ND, _), (two_ND, seconds) in zip(alone, both, strict=True):
        np.testing.assert_allclose(two_ND, one_ND, atol=1e-6)
        assert seconds > 0


def test_a_model_whose_weights_make_no_number_is_named_with_the_text(word_model: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(word_model, tmp_path / "nan")
    (weights,) = folder.rglob("model.safetensors")
    tensors = load_file(weights)
    for tensor in tensors.values():
        tensor[3] = np.inf  # of "oslo"
    save_file(tensors, weights)
    encoder = Encoder(EncoderConfig(model=str(folder), precision="float32", device="cpu"))
    np.testing.assert_allclose(encoder.encode(["where"])[0], [0, 1, 0, 0, 0], atol=1e-6)
    with pytest.raises(UserError) as caught:
        encoder.encode(["where", "is", f"oslo {'is ' * 40}", "oslo"])
    assert str(caught.value) == (
        f"encoder {folder}: makes NaN or infinity of {('oslo ' + 'is ' * 40)[:60]!r}; its weights are damaged, or "
        "float32 is too coarse for them"
    )
    with pytest.raises(UserError, match=r"nan: truncate_dim is 6, and its vectors have 5$"):
        Encoder(replace(encoder.config, truncate_dim=6)).load()
    assert Encoder(replace(encoder.config, truncate_dim=5)).dim == 5
    with pytest.raises(UserError, match="has no tokens whose place in the text is known"):
        encoder.tokens(["where"])
