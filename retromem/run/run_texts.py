"""What a run does with texts before its cells: encode them, and say what the encoder does not read or tell apart."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from retrieval.atomic import write_text
from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder import Encoder
from retromem.knowledge.fact_remarks import not_read, one_key
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import build_knowledge
from retromem.knowledge.text_keys import CachedTextKeys, TextCollector
from retromem.measure.latency import EncoderCost
from retromem.run.cells import Cell
from retromem.run.experiment import ExperimentConfig
from retromem.run.run_cell import AnyCell, cell_knowledge, texts_of

Say = Callable[[str], None]


def sets_of(config: ExperimentConfig) -> list[KnowledgeSet]:
    return [build_knowledge(study.knowledge) for study in config.studies.values()]


def remarks_before(config: ExperimentConfig, cells: Sequence[AnyCell]) -> list[str]:
    """Which facts are longer than the encoder reads."""
    reading = {cell.knowledge: False for cell in cells if isinstance(cell, Cell) and cell.encoder_hash}
    for cell in cells:
        if isinstance(cell, Cell) and cell.knowledge in reading and cell.memory.stores == "statements":
            reading[cell.knowledge] = True
    encoder = Encoder(config.encoder) if reading else None
    return [
        line
        for knowledge, statements in reading.items()
        if encoder
        for line in not_read(build_knowledge(knowledge), encoder, statements=statements)
    ]


def remarks_on_keys(config: ExperimentConfig, cells: Sequence[AnyCell], folder: Path) -> list[str]:
    """Which facts of the largest size of each study the encoder gives one key; their texts are encoded."""
    largest: dict[tuple[str, bool], Cell] = {}
    for cell in cells:
        if isinstance(cell, Cell) and cell.encoder_hash:
            known = largest.setdefault((cell.study, cell.twin), cell)
            if cell.num_facts > known.num_facts:
                largest[cell.study, cell.twin] = cell
    lines, cache = [], EmbeddingCache(folder)
    for (study, is_twin), cell in largest.items():
        knowledge, prompts = cell_knowledge(cell).prefix(cell.num_facts), config.encoder.resolve().prompts
        collector = TextCollector((), prompts)
        knowledge.with_keys(collector).facts()
        if cache.missing(cell.encoder_hash, collector.texts):
            continue  # of a run whose cells are all done, and whose cache was removed
        keys = CachedTextKeys(cache, cell.encoder_hash, centred=False, names_off_the_set=(), prompts=prompts)
        lines += one_key(study + (" (values permuted)" if is_twin else ""), knowledge.with_keys(keys).facts())
    return lines


def _reads_text(config: ExperimentConfig) -> bool:
    studied = any(knowledge.text for knowledge in sets_of(config))
    return studied or any(panel.seeds and panel.reads_text for panel in config.panels.values())


def text_dim_of(config: ExperimentConfig) -> int:
    """Dimensions of the encoder's vectors; 0 where no text is read."""
    return Encoder(config.encoder).dim if _reads_text(config) else 0


def described_encoder(config: ExperimentConfig, cells: Sequence[AnyCell]) -> str:
    return config.encoder.resolve().description if any(cell.encoder_hash for cell in cells) else "none"


def encode_missing(config: ExperimentConfig, todo: list[AnyCell], folder: Path, say: Say) -> EncoderCost:
    """Encode what no earlier run did; the cold cost is charged to every row all the same."""
    encoder, cache = Encoder(config.encoder), EmbeddingCache(folder)
    texts = texts_of(todo, encoder.prompts)
    missing = cache.missing(encoder.content_hash, texts)
    cost_file = folder / encoder.content_hash / "single_text.json"
    if missing:
        say(f"encoding {len(missing):,} texts with {encoder.description}")
        cache.encode_missing(encoder, texts, on_progress=_EncodingProgress(say))
    if not cost_file.exists():
        write_text(cost_file, json.dumps({"single_text_ms": encoder.single_text_ms(texts[:60])}))
    return EncoderCost(
        seconds_per_text=cache.seconds_per_text(encoder.content_hash),
        single_text_ms=json.loads(cost_file.read_text())["single_text_ms"],
        file_bytes=encoder.file_bytes,
    )


class _EncodingProgress:
    def __init__(self, say: Say) -> None:
        self._say, self._start = say, time.perf_counter()

    def __call__(self, num_done: int, num_all: int) -> None:
        self._say(f"  {num_done:,} of {num_all:,} texts, {time.perf_counter() - self._start:.0f} s")
