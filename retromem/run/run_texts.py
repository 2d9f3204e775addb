"""What a run does with texts before its cells: encode them, and say what the encoder does not read or tell apart."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from retrieval.atomic import write_text
from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retromem.knowledge.fact_remarks import not_read, one_key
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import KnowledgeConfig, build_knowledge
from retromem.knowledge.text_keys import CachedTextKeys, TextCollector
from retromem.measure.latency import EncoderCost
from retromem.run.cells import Cell
from retromem.run.experiment import ExperimentConfig
from retromem.run.progress import Say
from retromem.run.run_cell import AnyCell, cell_knowledge, texts_of


def sets_of(config: ExperimentConfig) -> list[KnowledgeSet]:
    return [build_knowledge(study.knowledge) for study in config.studies.values()]


def remarks_before(cells: Sequence[AnyCell]) -> list[str]:
    """Which facts are longer than the encoder reads."""
    reading: dict[tuple[KnowledgeConfig, EncoderConfig], bool] = {}
    for cell in cells:
        if isinstance(cell, Cell) and cell.encoder_hash:
            read = cell.knowledge, cell.encoder
            reading[read] = reading.get(read, False) or cell.memory.stores == "statements"
    encoders = {config: Encoder(config) for config in dict.fromkeys(config for _, config in reading)}
    return [
        line
        for (knowledge, config), statements in reading.items()
        for line in not_read(build_knowledge(knowledge), encoders[config], statements=statements)
    ]


def remarks_on_keys(cells: Sequence[AnyCell], folder: Path) -> list[str]:
    """Which facts of the largest size of each study the encoder gives one key; their texts are encoded."""
    reading = [cell for cell in cells if isinstance(cell, Cell) and cell.encoder_hash]
    lines, cache = [], EmbeddingCache(folder)
    for study, is_twin in dict.fromkeys((cell.study, cell.twin) for cell in reading):
        own = [cell for cell in reading if (cell.study, cell.twin) == (study, is_twin)]
        cell = max(own, key=lambda cell: cell.num_facts)
        knowledge, prompts = cell_knowledge(cell).prefix(cell.num_facts), cell.encoder.prompts()
        collector = TextCollector((), prompts)
        knowledge.with_keys(collector).facts()
        if cache.missing(cell.encoder_hash, collector.texts):
            continue  # of a run whose cells are all done, and whose cache was removed
        keys = CachedTextKeys(cache, cell.encoder_hash, centred=False, names_off_the_set=(), prompts=prompts)
        lines += one_key(study + (" (values permuted)" if is_twin else ""), knowledge.with_keys(keys).facts())
    return lines


def _reads_text(config: ExperimentConfig) -> bool:
    studied = any(study.encoder is None and build_knowledge(study.knowledge).text for study in config.studies.values())
    return studied or any(panel.seeds and panel.reads_text for panel in config.panels.values())


def text_dim_of(config: ExperimentConfig) -> int:
    """Dimensions of the experiment's encoder's vectors; 0 where it reads nothing."""
    return Encoder(config.encoder).dim if _reads_text(config) else 0


def encoders_of(cells: Sequence[AnyCell]) -> dict[str, EncoderConfig]:
    """Those that cells read texts with, by the hash of their content."""
    return {cell.encoder_hash: cell.encoder for cell in cells if cell.encoder_hash}


def described_encoders(cells: Sequence[AnyCell]) -> str:
    return "; ".join(encoder.resolve().description for encoder in encoders_of(cells).values()) or "none"


def encode_missing(todo: Sequence[AnyCell], folder: Path, say: Say) -> dict[str, EncoderCost]:
    """Encode what no earlier run did; the cold cost is charged to every row all the same."""
    cache, found = EmbeddingCache(folder), {}
    for encoder_hash, config in encoders_of(todo).items():
        encoder, start = Encoder(config), time.perf_counter()
        texts = texts_of([cell for cell in todo if cell.encoder_hash == encoder_hash], encoder.prompts)

        def tell(num_done: int, num_all: int, start: float = start) -> None:
            say(f"  {num_done:,} of {num_all:,} texts, {time.perf_counter() - start:.0f} s")

        if missing := cache.missing(encoder_hash, texts):
            say(f"encoding {len(missing):,} texts with {encoder.description}")
            cache.encode_missing(encoder, texts, on_progress=tell)
        cost_file = folder / encoder_hash / "single_text.json"
        if not cost_file.exists():
            write_text(cost_file, json.dumps({"single_text_ms": encoder.single_text_ms(texts[:60])}))
        found[encoder_hash] = EncoderCost(
            seconds_per_text=cache.seconds_per_text(encoder_hash),
            single_text_ms=json.loads(cost_file.read_text())["single_text_ms"],
            file_bytes=encoder.file_bytes,
        )
    return found
