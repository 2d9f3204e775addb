"""One cell, run where it is told: judges its memory or measures its panel, writes `result.json` whole or not at all."""

import json
import os
import shutil
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from jaxtyping import Float32
from numpy import ndarray

from models.trainer_choice import checkpoints_kept_in, curves_kept_in
from models.training_budget import TrainingCutShort, TrainingDiverged
from retrieval.atomic import write_text
from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder import loaded_encoder
from retrieval.encoder_config import EncoderConfig, Prompts
from retrieval.errors import Refused, UserError
from retrieval.tokens import Tokens
from retromem.compare import collect_texts
from retromem.knowledge.cities import spare_city_names
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import build_knowledge
from retromem.knowledge.text_keys import NO_PROMPTS, CachedTextKeys, TextCollector
from retromem.measure.capacity_search import find_capacity
from retromem.measure.judgement import Setting, floor_lines, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import MeasureConfig
from retromem.measure.smallest_search import find_smallest
from retromem.memories.floors import FrequencyConfig
from retromem.memories.kept_readers import readers_kept_in
from retromem.panels.points import Point
from retromem.rows import CapacityRow, LawBroken, Row, SmallestRow
from retromem.run.cells import Cell
from retromem.run.panel_cells import PanelCell

AnyCell = Cell | PanelCell
RESULT, ERROR, RUNNING = "result.json", "error.txt", "running.json"
CURVES = "curves"
"""the loss of each training of a cell, as Lightning's CSVLogger keeps it"""
CHECKPOINTS = "checkpoints"
"""of a long training, while it runs: a cell that was killed goes on from there"""
READERS = "readers"
"""of a run, weights that were taught to read: cells that ask one reader in several ways teach it once"""


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where cells compute; no part of their identity."""

    cells_folder: str
    cache_folder: str
    encoders: Mapping[str, EncoderCost] = field(default_factory=dict)
    """what each costs, by the hash of its content"""
    made_by: Mapping[str, str] = field(default_factory=dict)
    """versions, commit, machine and day, noted in every result"""


@lru_cache(maxsize=4)
def _cache(folder: str, changed_ns: int) -> EmbeddingCache:
    """Read anew once a batch was added: a worker outlives a run, and the next one may have encoded more."""
    return EmbeddingCache(Path(folder))


def cell_knowledge(cell: Cell) -> KnowledgeSet:
    """The set that the cell is about, without keys: the twin where it says so, its labels dealt by its seed."""
    whole = build_knowledge(cell.knowledge)
    assert whole.content_hash == cell.knowledge_hash, "the facts changed while the run was going on"
    # Uniformly drawn values are dealt anew for each seed: as good a set as the first.
    return whole.twin(seed=cell.seed) if cell.twin or whole.uniform else whole


@lru_cache(maxsize=16)
def _prompts(encoder: EncoderConfig, encoder_hash: str) -> Prompts:
    """Looked for once: to find an encoder's files takes as long as many a cell. Its hash is of its prompts too."""
    return encoder.prompts()


def texts_of(cells: Sequence[AnyCell], prompts: Prompts = NO_PROMPTS) -> list[str]:
    """Every text that these cells need encoded, once."""
    collector = TextCollector(spare_city_names(), prompts)
    for cell in cells:
        if isinstance(cell, PanelCell):
            for knowledge in cell.panel.text_sets(cell.seed):
                reads = cell.panel.reads_statements
                with_keys = knowledge.with_keys(collector)
                collect_texts(with_keys, MeasureConfig(), statements=reads, halves=False, seed=cell.seed)
            plain = cell.panel.plain_texts(cell.seed)
            if plain is not None:
                collector.note_plain(plain.queries, is_document=False)
                collector.note_plain(plain.documents, is_document=True)
    _collect_of_memories([cell for cell in cells if isinstance(cell, Cell)], collector)
    return collector.texts


def _collect_of_memories(cells: Sequence[Cell], collector: TextCollector) -> None:
    seen = set()
    for cell in sorted(cells, key=lambda cell: -cell.num_facts):
        if not cell.encoder_hash:
            continue
        # Statements of the real set are the same for every seed; smaller sets are prefixes, but calibrate on others.
        reads = cell.memory.stores == "statements"
        signature = (cell.knowledge, cell.measures, cell.twin, cell.seed, cell.num_facts, cell.halves, reads)
        if signature in seen:
            continue
        seen.add(signature)
        knowledge = cell_knowledge(cell).prefix(cell.num_facts).with_keys(collector)
        collect_texts(knowledge, cell.measures, statements=reads, halves=cell.halves, seed=cell.seed)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one cell has to say."""

    rows: tuple[Row, ...]
    capacity: CapacityRow | None = None
    """where it was searched"""
    smallest: SmallestRow | None = None
    """where it was searched"""


def measure_cell(cell: Cell, workplace: Workplace) -> Measured:
    """Rows of one cell, and where its search ended. Raises Refused."""
    knowledge = cell_knowledge(cell)
    encoder = EncoderCost()
    if cell.encoder_hash:
        encoder = workplace.encoders[cell.encoder_hash]
        knowledge = _EncodedTexts(cell, workplace)(knowledge, centred=not cell.raw_keys)
    setting = Setting(
        study=cell.study,
        role=cell.role,
        seed=cell.seed,
        raw_keys=cell.raw_keys,
        halves=cell.halves,
        shuffled=cell.shuffled,
    )
    if cell.capacity is not None:
        rows, capacity = find_capacity(
            cell.memory, knowledge, cell.capacity, setting=setting, measures=cell.measures, encoder=encoder
        )
        return Measured(rows=rows, capacity=capacity)
    prefix = knowledge.prefix(cell.num_facts)
    if cell.smallest is not None:
        rows, smallest = find_smallest(
            cell.memory, prefix, cell.smallest, setting=setting, measures=cell.measures, encoder=encoder
        )
        return Measured(rows=rows, smallest=smallest)
    rows = judge(cell.memory, prefix, setting=setting, measures=cell.measures, encoder=encoder).rows
    if isinstance(cell.memory, FrequencyConfig) and not cell.memory.guess:
        rows += floor_lines(prefix, setting=setting, encoder=encoder)
    return Measured(rows=rows)


@dataclass(frozen=True)
class _EncodedTexts:
    """Of the encoder of a cell."""

    cell: AnyCell
    workplace: Workplace

    @property
    def cache(self) -> EmbeddingCache:
        folder = self.workplace.cache_folder
        return _cache(folder, (Path(folder) / self.cell.encoder_hash).stat().st_mtime_ns)

    @property
    def prompts(self) -> Prompts:
        return _prompts(self.cell.encoder, self.cell.encoder_hash)

    def __call__(self, knowledge: KnowledgeSet, *, centred: bool = True) -> KnowledgeSet:
        encoder_hash, prompts, names = (
            self.cell.encoder_hash,
            _prompts(self.cell.encoder, self.cell.encoder_hash),
            spare_city_names(),
        )
        keys = CachedTextKeys(self.cache, encoder_hash, centred=centred, names_off_the_set=names, prompts=prompts)
        return knowledge.with_keys(keys)

    def vectors(self, texts: Sequence[str], *, is_document: bool) -> Float32[ndarray, "N D"]:
        given = [self.prompts.before(text, is_document=is_document) for text in texts]
        return self.cache.vectors(self.cell.encoder_hash, given)

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        return loaded_encoder(self.cell.encoder).tokens(texts)


def measure_panel(cell: PanelCell, workplace: Workplace) -> list[Point]:
    """Points of one panel and seed."""
    return cell.panel.measure(cell.seed, _EncodedTexts(cell, workplace))


def run_cell(cell: AnyCell, workplace: Workplace) -> str:
    """Run and write; returns done, refused or failed. Only a killed process leaves neither result nor error."""
    folder = Path(workplace.cells_folder) / cell.folder_name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ERROR).unlink(missing_ok=True)
    write_text(folder / RUNNING, json.dumps({"pid": os.getpid()}))
    start = time.perf_counter()
    record: dict[str, Any] = {"identity": cell.identity(), "rows": [], "capacity": None, "smallest": None}
    record |= {"status": "done", "reason": "", "made_by": dict(workplace.made_by)}
    try:
        if isinstance(cell, PanelCell):
            record["points"] = [asdict(point) for point in measure_panel(cell, workplace)]
        else:
            readers = Path(workplace.cells_folder).parent / READERS
            kept = curves_kept_in(folder / CURVES), checkpoints_kept_in(folder / CHECKPOINTS), readers_kept_in(readers)
            with kept[0], kept[1], kept[2]:
                measured = measure_cell(cell, workplace)
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
            record["rows"] = [asdict(row) for row in measured.rows]
            for name in ("capacity", "smallest"):
                found = getattr(measured, name)
                record[name] = None if found is None else asdict(found)
    except Refused as refusal:
        record |= {"status": "refused", "reason": str(refusal)}
    except (Exception, SystemExit) as error:
        # A training that failed is a setting to change, a broken law a memory to mend, and one line says which.
        one_line = isinstance(error, TrainingDiverged | TrainingCutShort | LawBroken | UserError)
        told = f"{error}\n" if one_line else traceback.format_exc()
        if isinstance(error, MemoryError):  # no result: a larger machine may have one
            told = f"not enough memory ({str(error) or 'for what was asked'})\n"
        write_text(folder / ERROR, told)
        (folder / RUNNING).unlink(missing_ok=True)
        return "failed"
    record["seconds"] = round(time.perf_counter() - start, 3)
    write_text(folder / RESULT, json.dumps(record, indent=1) + "\n")
    (folder / RUNNING).unlink(missing_ok=True)
    return str(record["status"])


def read_result(folder: Path) -> Mapping[str, Any] | None:
    """The result of a finished cell; None where there is none, or one that was cut short or damaged."""
    try:
        found = json.loads((folder / RESULT).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) and "status" in found else None


def forget_cell(folder: Path) -> None:
    """Remove whatever a cell left."""
    shutil.rmtree(folder, ignore_errors=True)
