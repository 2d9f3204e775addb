"""What the report is told beside the rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retromem.report.panel_page import Panel
from retromem.rows import CapacityRow, ReproducedRow, SmallestRow


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Everything on the page that is no measurement."""

    name: str
    title: str
    question: str
    """one sentence"""
    capacities: Sequence[CapacityRow] = ()
    smallest: Sequence[SmallestRow] = ()
    settings: Sequence[Mapping[str, str]] = ()
    """of each row, by dotted path: those that are not the same for all rows"""
    swept: frozenset[str] = frozenset()
    """studies that are parts of a sweep, which a panel shows"""
    panels: Sequence[Panel] = ()
    published: Sequence[ReproducedRow] = ()
    """numbers of others beside ours"""
    problems: Sequence[tuple[str, str, str]] = ()
    """(cell, `failed` or `refused`, reason in one line)"""
    notes: Sequence[str] = ()
    """what a reader must know of the facts: left out, capped, to whom they are owed"""
    unsearched: Sequence[str] = ()
    """goals that these facts cannot be asked, a sentence each"""
    dropped: Mapping[str, int]
    """reason -> facts left out"""
    method: Mapping[str, str]
    """label -> text: hashes, versions, hardware, seeds, exposures, precision, command"""
    limits: Sequence[str] = ()
