import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retrieval import embedding_cache
from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig

TEXTS = ["In which country is Paris?", "Paris is in France.", "oslo", "In which country is Paris?", "Ærø"]
LONG_TEXT = "A text about a city that lies in another country. " * 4


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """The default encoder: its vectors depend on what else is in a batch, so these tests are not too easy."""
    return Encoder(EncoderConfig(precision="bfloat16", device="cpu", batch_size=4))


def some_vectors(num_texts: int) -> np.ndarray:
    return np.random.default_rng(num_texts).standard_normal((num_texts, 3), dtype=np.float32)


def test_round_trip_is_direct_encoding_and_survives_reopening(encoder: Encoder, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    assert cache.missing(encoder.content_hash, TEXTS) == [
        "In which country is Paris?",
        "Paris is in France.",
        "oslo",
        "Ærø",
    ]
    assert cache.encode_missing(encoder, TEXTS) == 4
    np.testing.assert_allclose(cache.vectors(encoder.content_hash, TEXTS), encoder.encode(TEXTS), atol=1e-2)

    reopened = EmbeddingCache(tmp_path)
    assert reopened.encode_missing(encoder, TEXTS) == 0
    np.testing.assert_array_equal(
        reopened.vectors(encoder.content_hash, TEXTS), cache.vectors(encoder.content_hash, TEXTS)
    )
    assert 1e-5 < reopened.seconds_per_text(encoder.content_hash) < 1
    assert reopened.vectors(encoder.content_hash, []).shape == (0, 384)


@settings(max_examples=10)
@given(texts=st.lists(st.sampled_from([*TEXTS, "a", "é", "", LONG_TEXT]), min_size=1))
@example(texts=[LONG_TEXT, "a", "oslo", "Paris is in France."])  # padded as far as the long text, "a" is 2e-3 elsewhere
def test_order_and_duplicates_of_texts_do_not_matter(encoder: Encoder, texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_cache, "TEXTS_PER_BATCH", 2)
        given_order, sorted_once = EmbeddingCache(Path(folder) / "1"), EmbeddingCache(Path(folder) / "2")
        assert given_order.encode_missing(encoder, texts) == sorted_once.encode_missing(encoder, sorted(set(texts)))
        np.testing.assert_array_equal(
            given_order.vectors(encoder.content_hash, texts), sorted_once.vectors(encoder.content_hash, texts)
        )


def test_a_kill_loses_no_finished_batch(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "TEXTS_PER_BATCH", 3)
    texts = [f"text {number}" for number in range(8)]

    def stop_after_six(done: int, to_do: int) -> None:
        assert to_do == 8
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EmbeddingCache(tmp_path).encode_missing(encoder, texts, stop_after_six)
    seen: list[tuple[int, int]] = []
    assert EmbeddingCache(tmp_path).encode_missing(encoder, texts, lambda *progress: seen.append(progress)) == 2
    assert seen == [(2, 2)]


def test_encoders_do_not_share_vectors(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.add("first", ["a", "b"], some_vectors(2), seconds=1.0)
    assert cache.missing("second", ["a"]) == ["a"]
    with pytest.raises(AssertionError, match=r"never encoded: \['a'\]"):
        cache.vectors("second", ["a"])
    with pytest.raises(AssertionError, match="nothing was ever encoded"):
        cache.seconds_per_text("second")


def test_seconds_per_text_is_the_mean_over_texts(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.add("encoder", ["a", "b", "c"], some_vectors(3), seconds=1.5)
    cache.add("encoder", ["d"], some_vectors(1), seconds=0.5)
    assert cache.seconds_per_text("encoder") == EmbeddingCache(tmp_path).seconds_per_text("encoder") == 0.5


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"X" + content[1:]])
def test_damaged_batch_is_removed_and_the_others_stay(tmp_path: Path, damage: "type[bytes]") -> None:
    cache = EmbeddingCache(tmp_path)
    cache.add("encoder", ["a", "b"], some_vectors(2), seconds=1.0)
    (path,) = (tmp_path / "encoder").glob("*.npz")
    cache.add("encoder", ["c"], some_vectors(1), seconds=1.0)
    path.write_bytes(damage(path.read_bytes()))

    reopened = EmbeddingCache(tmp_path)
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        assert reopened.missing("encoder", ["a", "b", "c"]) == ["a", "b"]
    assert not path.exists()
    np.testing.assert_array_equal(reopened.vectors("encoder", ["c"]), some_vectors(1))


def test_half_written_batch_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / ".tmp-1-0123.npz").write_bytes(b"half a ba")
    assert EmbeddingCache(tmp_path).missing("encoder", ["a"]) == ["a"]


def test_files_hold_no_text_and_no_pickle(tmp_path: Path) -> None:
    EmbeddingCache(tmp_path).add("encoder", ["my secret fact"], some_vectors(1), seconds=1.0)
    (path,) = (tmp_path / "encoder").glob("*.npz")
    assert b"secret" not in path.read_bytes()
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as batch:
        assert {name: batch[name].dtype.str for name in batch} == {"digests": "|u1", "vectors": "<f4", "seconds": "<f8"}


def test_a_full_cache_needs_no_torch(encoder: Encoder, tmp_path: Path) -> None:
    EmbeddingCache(tmp_path).encode_missing(encoder, ["oslo"])
    code = f"""
import sys; from pathlib import Path
from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
encoder = Encoder(EncoderConfig(precision="bfloat16", device="cpu"))
assert EmbeddingCache(Path({str(tmp_path)!r})).encode_missing(encoder, ["oslo"]) == 0
assert not {{"torch", "transformers", "sentence_transformers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
