"""A panel of texts measured as a run measures it: what was collected is encoded, and nothing else can be asked."""

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retromem.panels.any_panel import AnyPanelConfig
from retromem.panels.points import Point
from retromem.run.panel_cells import PanelCell
from retromem.run.run_cell import Workplace, measure_panel, texts_of

AsInARun = Callable[[AnyPanelConfig], list[Point]]


@pytest.fixture
def as_in_a_run(tmp_path: Path) -> AsInARun:
    """With the encoder that needs no model."""

    def measured(panel: AnyPanelConfig) -> list[Point]:
        model = EncoderConfig(model="hashed-trigrams")
        encoder = Encoder(model)
        cell = PanelCell(name="it", panel=panel, seed=0, encoder_hash=encoder.content_hash, encoder=model)
        EmbeddingCache(tmp_path).encode_missing(encoder, texts_of([cell]))
        return measure_panel(cell, Workplace(cells_folder="", cache_folder=str(tmp_path)))

    return measured
