"""Who is said to need the encoder."""

import pytest

from retromem.report.compose import _encoder_text


@pytest.mark.parametrize(
    "of_index, of_weights, said",
    [
        ("91.6 MB", "91.6 MB", "; both need the encoder, 91.6 MB"),
        ("91.6 MB", "0 B", "; the index alone needs the encoder, 91.6 MB"),
        ("91.6 MB", "12 kB", "; what everybody has is 91.6 MB for the index (the encoder) and 12 kB for the weights"),
        ("0 B", "0 B", ""),
    ],
)
def test_a_decoder_needs_none(of_index: str, of_weights: str, said: str) -> None:
    assert _encoder_text(of_index, of_weights) == said
