"""What a run notes of its plan, for the report that is written from its folder alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from retromem.knowledge.sources import build_knowledge
from retromem.run.cells import Cell, unsearched
from retromem.run.experiment import ExperimentConfig
from retromem.run.panel_cells import PanelCell
from retromem.run.run_cell import AnyCell


def plan_record(
    config: ExperimentConfig, name: str, command: str, cells: Sequence[AnyCell], *, encoder_text: str
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
    swept = {study: part.sweep for study, part in config.studies.items() if part.sweep}
    dropped: Counter[str] = Counter()
    for knowledge in {knowledge.content_hash: knowledge for knowledge in sets.values()}.values():
        dropped.update(knowledge.dropped)
    return {
        "name": name,
        "title": config.title,
        "question": config.question,
        "notes": list(dict.fromkeys(notes)),
        "unsearched": unsearched(config),
        "dropped": dict(dropped),
        "knowledge_hashes": {knowledge.content_hash: knowledge.name for knowledge in sets.values()},
        "knowledge_names": {study: knowledge.name for study, knowledge in sets.items()},
        "sweeps": {
            study: {"study": part.study, "axis": part.axis, "value": part.values[0]} for study, part in swept.items()
        },
        "places": {cell.folder_name: cell.place for cell in cells if isinstance(cell, Cell) and cell.study in swept},
        "cells": [cell.folder_name for cell in cells],
        "method": {
            "command": command,
            "knowledge sets": ", ".join(
                f"{study}: {k.name}, {k.num_facts:,} facts, {k.values.num_values:,} values, hash {k.content_hash}"
                for study, k in sets.items()
            ),
            "encoder": encoder_text,
            "seeds": ", ".join(map(str, sorted({cell.seed for cell in cells}))),
        },
        "measures": asdict(config.measures),
        "panels": {
            name: {
                "config": asdict(panel),
                "cells": [cell.folder_name for cell in cells if isinstance(cell, PanelCell) and cell.name == name],
            }
            for name, panel in config.panels.items()
        },
    }
