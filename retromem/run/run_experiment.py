"""A whole experiment: plan, encode what is missing, run the cells that are not done, report.

runs/<name>/config.yaml                    every setting as it was resolved: the run can be redone from it
runs/<name>/plan.json                      what the run consists of, and what a report must say of it
runs/<name>/cells/<readable>-<hash>/       one folder a cell: result.json, or error.txt
reports/<name>/                            index.html, report.md, results.csv, capacity.csv, figures/
"""

import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from retrieval.atomic import write_text
from retrieval.embedding_cache import EMBEDDINGS
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retrieval.errors import UserError
from retrieval.folder_lock import locked
from retrieval.vector_index import IndexSpec
from retromem.configuration import RESOLVED, resolved_text
from retromem.knowledge.fact_remarks import left_out
from retromem.knowledge.sources import build_knowledge
from retromem.rows import ReproducedRow
from retromem.run.cells import key_dim, plan
from retromem.run.cluster_engines import engine_of
from retromem.run.experiment import ExperimentConfig
from retromem.run.local_engine import Engine, check_engine
from retromem.run.method import made_by, num_cores
from retromem.run.panel_cells import PanelCell, plan_panels
from retromem.run.plan_record import plan_record
from retromem.run.progress import Progress, Say, opening, published_line
from retromem.run.report_run import PLAN, is_finished, published_of, read_plan, read_results, report_run
from retromem.run.run_cell import ERROR, RESULT, AnyCell, Workplace, forget_cell
from retromem.run.run_cells import prepare_workers, run_cells
from retromem.run.run_texts import (
    described_encoders,
    encode_missing,
    encoders_of,
    remarks_before,
    remarks_on_keys,
    sets_of,
    text_dim_of,
)
from retromem.run.sweeps import with_sweeps_expanded


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What an experiment has left."""

    report: Path | None
    """folder of the report; None where no cell has a result"""
    num_failed: int
    """cells that ended in an error; refused ones, which cannot be, are none of them"""
    published: Sequence[ReproducedRow] = ()
    """numbers of others beside ours"""


def run_experiment(
    config: ExperimentConfig,
    *,
    name: str,
    command: str,
    say: Say,
    runs: Path = Path("runs"),
    reports: Path = Path("reports"),
    cache: Path = EMBEDDINGS,
    force: bool = False,
    num_workers: int | None = None,
    engine: str = "loky",
) -> FinishedRun:
    """Run what is not done yet and write the report. UserError before anything is written.

    `engine`: where cells compute, `loky` (this machine), `ray`, `dask` or `slurm`. `num_workers`: processes where it
    starts its own.
    """
    start = time.perf_counter()
    config = with_sweeps_expanded(config)
    num_workers = num_workers or num_cores()
    engine_name = check_engine(engine)
    cells = _all_cells(config, text_dim_of(config))
    run = _Run(config=config, name=name, folder=runs / name, cells=cells, cache=cache, say=say, force=force)
    todo = [cell for cell in cells if force or not is_finished(run.cells_folder / cell.folder_name)]
    found = {} if force else _finished_elsewhere(todo, run.folder)
    todo = [cell for cell in todo if cell.folder_name not in found]
    say(opening(name, config, cells, todo, num_workers, engine_name))
    remarks = remarks_before(cells)
    told = [line for knowledge in sets_of(config) for line in (*left_out(knowledge), *knowledge.notes)]
    run.remark(dict.fromkeys([*told, *remarks]))
    for folder in (run.folder, reports / name):
        _check_place(folder)
    if before := _other_sets(run.folder, config):
        run.remark([f"{reports / name} was of {before}: it is replaced (NAME=... keeps both)"])
    if todo:
        _check_indexes(todo)
    with locked(run.folder, seconds=1.0):
        for cell, result in found.items():
            write_text(run.cells_folder / cell / RESULT, result)
        if todo:
            prepare_workers()
        with engine_of(engine_name, num_workers=num_workers, run=run.folder) if todo else nullcontext() as joined:
            if joined is not None:
                joined.check([run.cells_folder.absolute(), cache.absolute()])
            run.compute(todo, command, remarks, joined)
        results = read_results(run.folder, [cell.folder_name for cell in cells])
        report = None
        if results.rows or results.points:
            report = report_run(run.folder, reports / name, say=say, panels=config.panels)
        published = published_of(read_plan(run.folder), results, config.panels)
    num_failed = sum(kind != "refused" for _, kind, _ in results.problems)
    num_refused = len(results.problems) - num_failed
    run.remark(map(published_line, published))
    failed = f"; {num_failed} FAILED, see {run.cells_folder}/*/{ERROR}" if num_failed else ""
    run.remark([f"FAILED {cell}: {reason}" for cell, kind, reason in results.problems if kind == "failed"][:3])
    ran = f"{len(todo)} of {len(cells)} cells run in {time.perf_counter() - start:.0f} s"
    ran += f", {num_refused} of all refused" if num_refused else ""
    if report is None:
        cell, _, reason = results.problems[0]
        say(f"{ran}; no cell has a result ({cell}: {reason}){failed}")
    else:
        say(f"{ran}; read {report / 'index.html'}{failed}")
    return FinishedRun(report=report, num_failed=num_failed, published=published)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What is run, and where it is kept."""

    config: ExperimentConfig
    name: str
    folder: Path
    cells: Sequence[AnyCell]
    cache: Path
    say: Say
    force: bool

    @property
    def cells_folder(self) -> Path:
        return self.folder / "cells"

    def remark(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.say(f"  {line}")

    def compute(self, todo: Sequence[AnyCell], command: str, remarks: Sequence[str], engine: Engine | None) -> None:
        """Encode, note the plan, run the cells; the run's lock is held."""
        if self.force:
            for cell in self.cells:
                forget_cell(self.cells_folder / cell.folder_name)
        workplace = Workplace(
            # Workers outlive a run, and may have begun in another folder.
            cells_folder=str(self.cells_folder.absolute()),
            cache_folder=str(self.cache.absolute()),
            encoders=encode_missing(todo, self.cache, self.say),
            made_by=made_by(),
        )
        alike = remarks_on_keys(self.cells, self.cache)
        self.remark(alike)
        encoder_text = described_encoders(self.cells)
        record = plan_record(self.config, self.name, command, self.cells, encoder_text=encoder_text)
        record["notes"] += [*remarks, *alike]
        plan = self.folder / PLAN
        if not todo and plan.exists() and (before := json.loads(plan.read_text()))["cells"] == record["cells"]:
            # Nothing was run: the report keeps the command of the measurement.
            record["method"]["command"] = before["method"]["command"]
        resolved = _with_precisions(self.config, encoders_of(self.cells).values())
        write_text(self.folder / RESOLVED, resolved_text(resolved, self.name))
        write_text(plan, json.dumps(record, indent=1) + "\n")
        if engine is not None:
            run_cells(todo, workplace, engine=engine, progress=Progress(len(todo), self.say))


def _finished_elsewhere(cells: Sequence[AnyCell], run: Path) -> dict[str, str]:
    """Results of other runs for these cells: the name of a cell's folder says all that changes its result."""
    others = [folder for folder in sorted(run.parent.glob("*/cells")) if folder.parent != run]
    found = {}
    for cell in cells:
        for other in others:
            if is_finished(folder := other / cell.folder_name):
                found[cell.folder_name] = (folder / RESULT).read_text()
                break
    return found


def _other_sets(run: Path, config: ExperimentConfig) -> str:
    """The knowledge sets that the run of this name was about, where they were all others; else empty."""
    if not (run / PLAN).is_file():
        return ""
    before = read_plan(run).get("knowledge_hashes", {})
    now = {knowledge.content_hash for knowledge in sets_of(config)}
    return "" if now & before.keys() else ", ".join(before.values())


def _all_cells(config: ExperimentConfig, text_dim: int) -> list[AnyCell]:
    """UserError where there is none."""
    for panel in config.panels.values():
        if panel.seeds:
            panel.text_sets(panel.seeds[0])  # says what it cannot have before anything is run
    encoder_hash = config.encoder.resolve().content_hash if text_dim else ""
    cells: list[AnyCell] = [*plan(config, encoder_hash=encoder_hash, text_dim=text_dim)]
    cells += plan_panels(config.panels, encoder_hash=encoder_hash, encoder=config.encoder)
    if not cells:
        raise UserError(
            "studies, panels: there is no cell to run; give a study arms with memories, seeds and twins, "
            "or a panel its seeds"
        )
    return cells


def _with_precisions(config: ExperimentConfig, read_with: Iterable[EncoderConfig]) -> ExperimentConfig:
    """What `precision: auto` of its encoders came to here, for other machines."""
    known = {encoder: replace(encoder, precision=encoder.resolve().precision) for encoder in read_with}
    studies = {
        name: replace(study, encoder=known.get(study.encoder, study.encoder)) if study.encoder else study
        for name, study in config.studies.items()
    }
    return replace(config, encoder=known.get(config.encoder, config.encoder), studies=studies)


def _check_place(folder: Path) -> None:
    """A UserError now, and not after hours of work that could not be written."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; remove it, or give the run another name (NAME=...)")
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{nearest}: cannot be written; run from a folder of your own")


def _check_indexes(cells: Sequence[AnyCell]) -> None:
    """An unknown index string is the user's mistake, and is said before anything runs."""
    from retromem.memories.faiss_memory import FaissMemoryConfig
    from retromem.memories.hybrid_memory import HybridMemoryConfig
    from retromem.memories.paired_memory import PairedMemoryConfig
    from retromem.memories.store_memory import checked_spec

    text_dims = {encoder_hash: Encoder(config).dim for encoder_hash, config in encoders_of(cells).items()}
    named: list[tuple[str, IndexSpec, int]] = []
    for cell in cells:
        text_dim = text_dims.get(cell.encoder_hash, 0)
        if isinstance(cell, PanelCell):
            named += [(f"panels.{cell.name}", spec, dim) for spec, dim in cell.panel.index_specs(text_dim)]
        elif isinstance(cell.memory, FaissMemoryConfig | HybridMemoryConfig | PairedMemoryConfig):
            dim = key_dim(build_knowledge(cell.knowledge), text_dim)
            named.append((f"studies.{cell.study}", cell.memory.spec, dim))
    for path, spec, dim in dict.fromkeys(named):
        try:
            checked_spec(spec, dim)
        except UserError as error:
            raise type(error)(f"{path}: {error}") from None
