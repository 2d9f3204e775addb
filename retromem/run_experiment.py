"""A whole experiment: plan, encode what is missing, run the cells that are not done, report.

runs/<name>/plan.json                      what the run consists of, and what a report must say of it
runs/<name>/cells/<readable>-<hash>/       one folder a cell: result.json, or error.txt
reports/<name>/                            index.html, report.md, results.csv, capacity.csv, figures/
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from retrieval.atomic import write_text
from retrieval.embedding_cache import EmbeddingCache
from retrieval.errors import UserError
from retrieval.sealed_folder import locked
from retromem.cells import Cell, key_dim, plan
from retromem.experiment import ExperimentConfig
from retromem.knowledge.sources import build_knowledge
from retromem.measure.capacity import read_off
from retromem.measure.latency import EncoderCost
from retromem.method import describe_machine, num_cores, versions
from retromem.report.page import write_report
from retromem.report.run_facts import RunFacts
from retromem.rows import TAU, CapacityRow, Row, row_from_json
from retromem.run_cell import ERROR, RESULT, Workplace, forget_cell, read_result, texts_of
from retromem.run_cells import run_cells

PLAN = "plan.json"
Say = Callable[[str], None]


def run_experiment(
    config: ExperimentConfig,
    *,
    name: str,
    command: str,
    say: Say,
    runs: Path = Path("runs"),
    reports: Path = Path("reports"),
    cache: Path = Path(".cache/embeddings"),
    force: bool = False,
    num_workers: int | None = None,
) -> Path:
    """Run what is not done yet, write the report, return its folder. UserError before anything is written."""
    start = time.perf_counter()
    num_workers = num_workers or num_cores()
    uses_text = any(build_knowledge(study.knowledge).text for study in config.studies.values())
    resolved = config.encoder.resolve() if uses_text else None
    cells = plan(config, encoder_hash=resolved.content_hash if resolved else "")
    run = runs / name
    todo = [cell for cell in cells if force or not (run / "cells" / cell.folder_name / RESULT).exists()]
    say(_opening(name, config, cells, todo, num_workers))
    for study in config.studies.values():
        if left_out := {reason: count for reason, count in build_knowledge(study.knowledge).dropped.items() if count}:
            listed = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in left_out.items())
            say(f"  left out of {build_knowledge(study.knowledge).name}: {listed}")
    if todo:
        _check_indexes(todo)
    with locked(run, seconds=1.0):
        _run(config, cells, todo, name, command, run, cache, say, force=force, num_workers=num_workers)
        folder = report_run(run, reports / name)
    say(f"{len(todo)} of {len(cells)} cells run in {time.perf_counter() - start:.0f} s; read {folder / 'index.html'}")
    return folder


def _run(
    config: ExperimentConfig,
    cells: list[Cell],
    todo: list[Cell],
    name: str,
    command: str,
    run: Path,
    cache: Path,
    say: Say,
    *,
    force: bool,
    num_workers: int,
) -> None:
    """Encode, note the plan, run the cells; the run's lock is held."""
    cells_folder = run / "cells"
    if force:
        for cell in cells:
            forget_cell(cells_folder / cell.folder_name)
    encoder = _encode(config, todo, cache, say) if any(cell.encoder_hash for cell in todo) else EncoderCost()
    workplace = Workplace(cells_folder=str(cells_folder), cache_folder=str(cache), encoder=encoder)
    record = _plan_record(config, name, command, cells, encoder_text=_describe_encoder(config, cells))
    if not todo and (run / PLAN).exists() and json.loads((run / PLAN).read_text())["cells"] == record["cells"]:
        # Nothing was run: the report keeps the day and the command of the measurement.
        old = json.loads((run / PLAN).read_text())["method"]
        record["method"] |= {key: old[key] for key in ("date", "command", "machine", "versions")}
    write_text(run / PLAN, json.dumps(record, indent=1) + "\n")
    if todo:
        run_cells(todo, workplace, num_workers=num_workers, progress=_Progress(len(todo), say))


def _opening(name: str, config: ExperimentConfig, cells: Sequence[Cell], todo: Sequence[Cell], workers: int) -> str:
    if not todo:
        return f"{name}: all {len(cells)} cells are done; writing the report"
    share = sum(cell.weight for cell in todo) / sum(cell.weight for cell in cells)
    seconds = share * (config.seconds_expected or 20 + sum(cell.weight for cell in cells) / 2)
    return (
        f"{name}: {config.question} {len(todo)} of {len(cells)} cells to run in {workers} processes, "
        f"about {max(1, round(seconds / 60 * 2 / workers))} min"
    )


def _describe_encoder(config: ExperimentConfig, cells: Sequence[Cell]) -> str:
    return config.encoder.resolve().description if any(cell.encoder_hash for cell in cells) else "none"


def _check_indexes(cells: Sequence[Cell]) -> None:
    """An unknown index string is the user's mistake, and is said before anything runs."""
    from retromem.memories.faiss_memory import FaissMemoryConfig
    from retromem.memories.store_memory import checked_spec

    for memory, knowledge in {(cell.memory, cell.knowledge) for cell in cells}:
        if isinstance(memory, FaissMemoryConfig):
            checked_spec(memory.spec, key_dim(build_knowledge(knowledge)))


def _encode(config: ExperimentConfig, todo: list[Cell], folder: Path, say: Say) -> EncoderCost:
    """Encode what no earlier run did; the cold cost is charged to every row all the same."""
    from retrieval.encoder import Encoder

    texts, cache = texts_of(todo), EmbeddingCache(folder)
    encoder = Encoder(config.encoder)
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


class _Progress:
    """A line now and then: how far, how long, how long still."""

    def __init__(self, total: int, say: Say) -> None:
        self._total, self._say, self._done, self._weight = total, say, 0, 0.0
        self._start = self._last = time.perf_counter()

    def __call__(self, status: str, cell: Cell) -> None:
        self._done += 1
        now = time.perf_counter()
        if status == "done" and now - self._last < 8 and self._done < self._total:
            return
        self._last = now
        self._say(f"  {self._done:>4} of {self._total} cells, {now - self._start:.0f} s; {cell.folder_name}: {status}")


def _plan_record(
    config: ExperimentConfig, name: str, command: str, cells: Sequence[Cell], *, encoder_text: str
) -> dict[str, Any]:
    """What the report of a run needs beside its results."""
    sets = {study: build_knowledge(part.knowledge) for study, part in config.studies.items()}
    notes = [note for knowledge in sets.values() for note in knowledge.notes]
    notes += [knowledge.attribution for knowledge in sets.values() if knowledge.attribution]
    if len({len(knowledge.values.relations) > 1 for knowledge in sets.values()} & {True}):
        notes.append(
            "Demand is summed over relations: an upper bound where they depend on each other; exact on the twin."
        )
    capped = [k.name for k in sets.values() if k.text and k.num_facts > config.max_weight_facts]
    if capped and any(not arms.num_facts and not arms.capacity for s in config.studies.values() for arms in s.arms):
        notes.append(f"The weights' curve takes at most {config.max_weight_facts:,} facts (MAX_FACTS= raises it).")
    dropped: Counter[str] = Counter()
    for knowledge in {knowledge.content_hash: knowledge for knowledge in sets.values()}.values():
        dropped.update(knowledge.dropped)
    return {
        "name": name,
        "title": config.title,
        "question": config.question,
        "notes": list(dict.fromkeys(notes)),
        "dropped": dict(dropped),
        "cells": [cell.folder_name for cell in cells],
        "method": {
            "command": command,
            "knowledge sets": ", ".join(
                f"{study}: {k.name}, {k.num_facts:,} facts, {k.values.num_values:,} values, hash {k.content_hash}"
                for study, k in sets.items()
            ),
            "encoder": encoder_text,
            "seeds": ", ".join(map(str, sorted({cell.seed for cell in cells}))),
            "machine": "; ".join(f"{key} {value}" for key, value in describe_machine().items()),
            "versions": ", ".join(f"{package} {version}" for package, version in versions().items()),
            "date": time.strftime("%Y-%m-%d"),
        },
        "measures": asdict(config.measures),
    }


def read_run(run: Path) -> tuple[dict[str, Any], list[Row], list[CapacityRow], list[tuple[str, str, str]]]:
    """Plan, rows, capacities and problems of a run folder. UserError where it is none."""
    try:
        record = json.loads((run / PLAN).read_text())
    except FileNotFoundError:
        raise UserError(
            f"{run}: is no run folder, for {PLAN} is missing; runs lie in runs/<name>, written by `make report`"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{run / PLAN}: cannot be read ({error}); run the experiment again") from None
    if not isinstance(record, dict) or "cells" not in record:
        raise UserError(f"{run / PLAN}: is no plan of a run; runs lie in runs/<name>, written by `make report`")
    rows: list[Row] = []
    capacities: list[CapacityRow] = []
    problems: list[tuple[str, str, str]] = []
    for cell in record["cells"]:
        result = read_result(run / "cells" / cell)
        if result is None:
            error_file = run / "cells" / cell / ERROR
            written = error_file.read_text().strip() if error_file.exists() else "was not run to its end"
            last = written.splitlines()[-1]
            problems.append((cell, "failed", last))
        elif result["status"] == "refused":
            problems.append((cell, "refused", result["reason"]))
        else:
            rows += [row_from_json(row) for row in result["rows"]]
            if result["capacity"]:
                capacities.append(CapacityRow(**result["capacity"]))
    return record, rows, capacities, problems


def report_run(run: Path, folder: Path) -> Path:
    """Write the report of a run folder from its results alone."""
    record, rows, capacities, problems = read_run(run)
    if not rows:
        first = f" ({problems[0][0]}: {problems[0][2]})" if problems else ""
        raise UserError(f"{run}: no cell has a result{first}")
    write_report(
        rows,
        folder,
        run=RunFacts(
            name=record["name"],
            title=record["title"],
            question=record["question"],
            capacities=[*capacities, *_capacities_read_off(rows, capacities)],
            problems=problems,
            notes=[*record["notes"], *_warnings(rows)],
            dropped=record["dropped"],
            method={**record["method"], **_budgets(rows)},
            limits=_limits(rows),
        ),
    )
    return folder


def _capacities_read_off(rows: Sequence[Row], searched: Sequence[CapacityRow]) -> list[CapacityRow]:
    """Of the studies in which no capacity was searched for."""
    others = [row for row in rows if row.study not in {capacity.study for capacity in searched} and not row.halves]
    return [
        *read_off(others, tau=TAU["identical"], phrasing="identical"),
        *read_off(others, tau=TAU["heldout"], phrasing="heldout"),
    ]


def _budgets(rows: Sequence[Row]) -> dict[str, str]:
    trained = [row for row in rows if row.optimizer_steps]
    if not trained:
        return {}
    steps = [row.optimizer_steps or 0 for row in trained]
    shown = [row.exposures or 0.0 for row in trained]
    stopped = len({(r.study, r.memory, r.num_facts, r.seed, r.twin) for r in trained if r.succeeded is False})
    return {
        "training": f"{min(steps):,} to {max(steps):,} optimiser steps, {min(shown):,.0f} to {max(shown):,.0f} "
        f"exposures a fact; {stopped} trainings ended by their cap in seconds",
        "precision of the weights": ", ".join(sorted({row.precision for row in trained if row.precision})),
    }


def _warnings(rows: Sequence[Row]) -> list[str]:
    weights = [row for row in rows if row.side == "parametric" and row.role == "arm" and row.phrasing == "identical"]
    notes = []
    for study in sorted({row.study for row in weights}):
        own = [row for row in weights if row.study == study]
        largest = max(row.num_facts for row in own)
        best = max((row.accuracy or 0.0 for row in own if row.num_facts == largest), default=0.0)
        if best < 0.9:
            notes.append(
                f"{study}: at {largest:,} facts no FFN tried answers more than {best:.0%} of the written questions; "
                "a wider one, or more optimiser steps, would be needed."
            )
    return notes


def _limits(rows: Sequence[Row]) -> list[str]:
    limits = [
        "One encoder serves both sides: what it cannot tell apart, neither side can.",
        "The FFN is trained by itself on frozen keys; no transformer stands around it.",
        "Times are of the machine named above, one thread a process, with other cells running beside.",
    ]
    if any(row.twin for row in rows):
        limits.append("On the real values the encoder knows some answers already; claims are made on the twin.")
    if any(row.family == "paired" for row in rows):
        limits.append("The pair is run at one width; its curve is not part of this report.")
    return limits
