"""What the report is told beside the rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CapacityRow:
    """One memory and seed: how many facts it held. One line of `capacity.csv`."""

    study: str
    memory: str
    twin: bool
    phrasing: str
    tau: float
    """accuracy that had to be reached"""
    seed: int
    num_facts: int
    """largest N that reached tau; 0 when none did"""
    censored: bool
    """no N in range exceeded the capacity: num_facts is a lower bound only"""
    storage_bytes: int | None
    num_params: int | None
    bits: float | None
    """recalled at num_facts"""

    @property
    def bits_per_param(self) -> float | None:
        """None for a memory without parameters or without bits."""
        return self.bits / self.num_params if self.bits is not None and self.num_params else None


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Everything on the page that is no measurement."""

    name: str
    title: str
    question: str
    """one sentence"""
    capacities: Sequence[CapacityRow] = ()
    problems: Sequence[tuple[str, str, str]] = ()
    """(cell, `failed` or `refused`, reason in one line)"""
    notes: Sequence[str] = ()
    """what a reader must know of the facts: left out, capped, to whom they are owed"""
    dropped: Mapping[str, int]
    """reason -> facts left out"""
    method: Mapping[str, str]
    """label -> text: hashes, versions, hardware, seeds, exposures, precision, command"""
    limits: Sequence[str] = ()
