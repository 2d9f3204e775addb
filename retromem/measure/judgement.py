"""One memory judged on one knowledge set: write, calibrate, ask in every phrasing, weigh, time. Rows come out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from retromem.configuration import is_of_others
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.answers import (
    Answers,
    Calibrations,
    accuracy,
    answers,
    bits_recalled,
    fit_calibration,
    fit_calibrations,
)
from retromem.measure.bits import bits_ce
from retromem.measure.latency import EncoderCost, measure_latency
from retromem.measure.robustness import flip90, sigma90, with_key_noise
from retromem.measure.seam_checks import check_seam
from retromem.measure.settings import MeasureConfig
from retromem.measure.slot_use import slot_use
from retromem.rows import TAU, LawBroken, Row
from retromem.seam import (
    Asked,
    Facts,
    Footprint,
    Memory,
    MemoryConfig,
    Part,
    Phrasing,
    Queries,
    Role,
    ValueTable,
    WriteCost,
    needs_keys,
)

VERSION = 8
"""of what all measurements share (knowledge, keys, bits, costs, the search for a capacity): part of every cell's
identity, and raised when the same settings give other rows than before"""


@runtime_checkable
class Taught(Protocol):
    """A memory that learns to read on facts of its own, before it is written."""

    def teach(self, facts: Facts) -> WriteCost: ...


@runtime_checkable
class Oracle(Protocol):
    """A control that may be told which fact a question asks for, though never its value."""

    @property
    def is_told(self) -> bool: ...

    def reveal(self, fact_ids: Mapping[str, int]) -> None: ...


@runtime_checkable
class Writes(Protocol):
    """A memory that writes its answer, token by token."""

    @property
    def num_embedding_params(self) -> int: ...

    def write_answers(self, queries: Queries) -> list[str]: ...


@runtime_checkable
class KnewBefore(Protocol):
    """A memory made of a model that knew something before: what that answers was not written here."""

    def before(self) -> Memory:
        """The same one as it was before it was written."""
        ...


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a row says beside its measurements."""

    study: str
    role: Role
    seed: int
    raw_keys: bool = False
    halves: bool = False
    shuffled: bool = False

    @property
    def suffix(self) -> str:
        """Of the names of memories judged so."""
        return ("-raw" if self.raw_keys else "") + ("-shuffled" if self.shuffled else "")


@dataclass(frozen=True, kw_only=True)
class Written:
    """A memory that holds its facts and was not asked yet."""

    memory: Memory
    costs: tuple[WriteCost, ...]
    knowledge: KnowledgeSet
    """what it is asked: all that was given, or the half that it was not taught on"""
    facts: Facts


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The memory as it was left, and its rows."""

    memory: Memory
    rows: tuple[Row, ...]


def write(config: MemoryConfig, knowledge: KnowledgeSet, *, setting: Setting) -> Written:
    """Write `knowledge` into a new memory. Raises Refused where it cannot hold these facts at all."""
    memory = config.build(seed=setting.seed)
    costs: list[WriteCost] = []
    if setting.halves:
        taught, knowledge = knowledge.split(0.5, seed=setting.seed)
        if isinstance(memory, Taught):
            costs.append(memory.teach(taught.facts(statements=True)))
    facts = knowledge.facts(statements=config.stores == "statements")
    costs.append(memory.write(facts))
    memory.calibration = bytes(Calibrations.num_bytes)  # room for what is fitted later, which is charged
    return Written(memory=memory, costs=tuple(costs), knowledge=knowledge, facts=facts)


def judge(
    config: MemoryConfig,
    knowledge: KnowledgeSet,
    *,
    setting: Setting,
    measures: MeasureConfig,
    encoder: EncoderCost,
    only: Phrasing | None = None,
    quick: bool = False,
    tau: float | None = None,
    written: Written | None = None,
    every_other: Mapping[Phrasing, Literal[0, 1]] = MappingProxyType({}),
) -> Judged:
    """Write `knowledge` into a new memory (or take the one that was written with it) and ask it back.

    `only` asks one phrasing; `quick` leaves latency and robustness out (a step of a search); `tau` is the accuracy that
    counts where it is not the usual one. `every_other`: of the questions in a phrasing the first, third, ... (0) or the
    second, fourth, ... (1), so that what a search has asked is not what its end is judged on. Raises Refused where the
    memory cannot hold these facts at all.
    """
    written = written or write(config, knowledge, setting=setting)
    encoder = encoder if needs_keys(config) else EncoderCost()
    memory, costs, knowledge = written.memory, written.costs, written.knowledge
    cues = _shuffled(knowledge.ask("identical", num=knowledge.max_calibration), setting)
    calibrate: Asked | None = _shuffled(written.facts.calibration, setting)
    if getattr(config, "exact_keys_only", False):
        only = "identical"
    if only == "identical" or knowledge.phrasings() == ("identical",):
        calibrate = None  # nothing else will be asked
    asked = {
        phrasing: _asked(knowledge, phrasing, setting=setting, measures=measures, first=every_other.get(phrasing))
        for phrasing in knowledge.phrasings()
        if only in (None, phrasing)
    }
    identical = knowledge.ask("identical", num=measures.max_disturbed)
    if isinstance(memory, Oracle) and memory.is_told:
        for questions in filter(None, (cues, calibrate, identical, *asked.values())):
            memory.reveal(dict(zip(questions.queries.texts or (), questions.fact_ids_Q.tolist(), strict=True)))
    calibrations = fit_calibrations(memory, cues, calibrate, knowledge.values, num_facts=knowledge.num_facts)
    memory.calibration = calibrations.to_bytes()
    footprint = memory.footprint()
    if not quick:
        _check_ledger(memory, footprint, config.name)
        if is_of_others(memory):
            check_seam(memory, identical.queries, config.name)
    latency = None if quick else measure_latency(memory, identical.queries, encoder)
    base = Row(
        side=memory.side,
        memory=config.name + setting.suffix,
        role=setting.role,
        family=config.family,
        stores=config.stores,
        shuffled=setting.shuffled,
        halves=setting.halves,
        precision=getattr(config, "precision", None),
        device=getattr(memory, "trained_on", "cpu"),
        num_embedding_params=memory.num_embedding_params if isinstance(memory, Writes) else None,
        **_facts(knowledge, setting, encoder, shared_bytes=footprint.num_bytes(Part.SHARED) or 0),
        **_ledger(footprint),
        **_costs(costs, encoder),
        **({} if latency is None else asdict(latency)),
    )
    rows = []
    for phrasing, questions in asked.items():
        if not len(questions):
            continue
        calibration = calibrations.of(phrasing)
        answered = answers(memory, questions, knowledge.values, calibration)
        goal = tau or TAU.get(phrasing, TAU["identical"])
        row = _with_bits(base, phrasing, answered, knowledge, tau=goal)
        row = replace(row, temperature=calibration.temperature, epsilon=calibration.epsilon)
        if isinstance(memory, Writes) and not quick:
            row = replace(row, exact_match=_exact_match(memory, questions, knowledge.values))
        if phrasing == "identical" and measures.robustness and not quick and not setting.shuffled:
            row = _with_robustness(row, memory, identical, seed=setting.seed)
        if phrasing == "identical" and (use := slot_use(memory, questions.queries)) is not None:
            row = replace(row, slots_used=use.share_used, slot_kl_bits=use.kl_bits)
        if phrasing == "identical" and isinstance(memory, KnewBefore) and not (quick or setting.shuffled):
            before, num_facts = memory.before(), knowledge.num_facts
            known = fit_calibration(before, cues, knowledge.values, num_facts=num_facts)
            log2_p_Q = answers(before, questions, knowledge.values, known).log2_p_Q
            row = replace(row, bits_stored=_more_than(row, bits_ce(knowledge.demand_bits(), log2_p_Q, num_facts)))
        elif phrasing == "identical" and measures.cross_fit and not (quick or setting.shuffled or setting.halves):
            row = _with_bits_stored(row, config, knowledge)
        rows.append(row)
    return Judged(memory=memory, rows=tuple(rows))


def share_right(
    written: Written, phrasing: Phrasing, *, setting: Setting, measures: MeasureConfig, first: Literal[0, 1] | None
) -> float:
    """The accuracy that `judge` finds in this phrasing, alone; `first`: as in its `every_other`."""
    asked = _asked(written.knowledge, phrasing, setting=setting, measures=measures, first=first)
    return accuracy(written.memory, asked)


def _asked(
    knowledge: KnowledgeSet,
    phrasing: Phrasing,
    *,
    setting: Setting,
    measures: MeasureConfig,
    first: Literal[0, 1] | None,
) -> Asked:
    asked = _shuffled(knowledge.ask(phrasing, num=measures.most(phrasing)), setting)
    return asked if first is None else asked.rows(np.arange(first, len(asked), 2))


def _exact_match(memory: Writes, asked: Asked, values: ValueTable) -> float:
    """Share of the questions after which the true value was written, letter for letter."""
    assert values.strings is not None
    true = [values.strings[value] for value in asked.value_ids_Q.tolist()]
    written = memory.write_answers(asked.queries)
    return sum(map(str.__eq__, written, true)) / len(true)


def _check_ledger(memory: Memory, footprint: Footprint, name: str) -> None:
    """LawBroken where what the memory saves is not what it says it weighs. A server's ledger may be unknown."""
    told = footprint.num_bytes(Part.STORAGE, Part.MAINTAIN, Part.VALUE)
    if told is None:
        return
    with TemporaryDirectory() as folder:
        memory.save(Path(folder) / "memory")
        saved = sum(file.stat().st_size for file in (Path(folder) / "memory").rglob("*") if file.is_file())
    if saved != told:
        raise LawBroken(f"{name}: its footprint says {told:,} bytes, and what it saves has {saved:,}")


def _with_bits_stored(row: Row, config: MemoryConfig, knowledge: KnowledgeSet) -> Row:
    folds = knowledge.folds(5, seed=row.seed)
    if knowledge.is_twin or knowledge.uniform or min(fold.num_facts for fold in folds) < 2:
        return row
    return replace(row, bits_stored=_more_than(row, reference_bits(config, knowledge, folds, seed=row.seed)))


def _more_than(row: Row, reference_bits: float) -> float:
    assert row.bits_ce is not None
    return row.bits_ce - reference_bits


def reference_bits(config: MemoryConfig, knowledge: KnowledgeSet, folds: Sequence[KnowledgeSet], *, seed: int) -> float:
    """What a memory of this kind answers without having been told: written with all but one fold, asked that one.

    Every fact is asked once. (T, eps) come from the other half of the fold, which holds two facts at least: a memory is
    far surer of the facts that it holds than it may be of others.
    """
    facts = knowledge.facts(statements=config.stores == "statements")
    log2_p = []
    for fold in folds:
        asked = replace(fold.ask("identical"), prior_Q=fold.prior_under(knowledge))
        others = facts.rows(np.flatnonzero(~np.isin(facts.ids_N, asked.fact_ids_Q)))
        memory = config.build(seed=seed)
        memory.write(others)
        halves = [asked.rows(np.arange(start, len(asked), 2)) for start in (0, 1)]
        for fitted_on, judged in (halves, halves[::-1]):
            calibration = fit_calibration(memory, fitted_on, facts.values, num_facts=len(others))
            log2_p.append(answers(memory, judged, facts.values, calibration).log2_p_Q)
    return bits_ce(knowledge.demand_bits(), np.concatenate(log2_p), knowledge.num_facts)


def _shuffled(asked: Asked, setting: Setting) -> Asked:
    """The null: answers dealt anew among the questions of each relation."""
    if not setting.shuffled:
        return asked
    rng = np.random.default_rng([setting.seed, 0x0511])
    order = np.arange(len(asked))
    for relation in np.unique(asked.queries.relation_ids_Q):
        rows = np.flatnonzero(asked.queries.relation_ids_Q == relation)
        order[rows] = rng.permutation(rows)
    return replace(asked, value_ids_Q=asked.value_ids_Q[order], prior_Q=asked.prior_Q[order])


def _facts(knowledge: KnowledgeSet, setting: Setting, encoder: EncoderCost, *, shared_bytes: int = 0) -> dict[str, Any]:
    """What is the same of all that is measured on these facts."""
    return {
        "study": setting.study,
        "knowledge": knowledge.content_hash,
        "knowledge_name": knowledge.name,
        "twin": knowledge.is_twin,
        "uniform": knowledge.uniform,
        "num_facts": knowledge.num_facts,
        "seed": setting.seed,
        "phrasing": "",
        "demand_bits": knowledge.demand_bits(),
        "shared_bytes": None if encoder.file_bytes is None else encoder.file_bytes + shared_bytes,
    }


def _ledger(footprint: Footprint) -> dict[str, Any]:
    return {
        "num_params": footprint.num_params,
        "num_active_params": footprint.num_active_params,
        "storage_bytes": footprint.storage_bytes,
        "maintain_bytes": footprint.num_bytes(Part.MAINTAIN),
        "value_bytes": footprint.num_bytes(Part.VALUE),
        "seeded_bytes": footprint.num_bytes(Part.SEEDED),
        "resident_bytes": footprint.resident_bytes,
    }


def _costs(costs: Sequence[WriteCost], encoder: EncoderCost) -> dict[str, Any]:
    seconds = sum(cost.seconds for cost in costs)
    texts = sum(cost.texts_encoded for cost in costs)
    return {
        "memory_write_seconds": seconds,
        "write_seconds": seconds + texts * encoder.seconds_per_text,
        "write_flops": sum(cost.flops for cost in costs),
        "exposures": max(cost.exposures for cost in costs),
        "optimizer_steps": sum(cost.optimizer_steps for cost in costs),
        "succeeded": all(cost.succeeded for cost in costs),
        "share_of_steps": costs[-1].share_of_steps,
    }


def _with_bits(base: Row, phrasing: Phrasing, answered: Answers, knowledge: KnowledgeSet, *, tau: float) -> Row:
    assert base.demand_bits is not None
    recalled = bits_recalled(
        answered,
        demand_bits=base.demand_bits,
        num_facts=knowledge.num_facts,
        uniform=knowledge.uniform,
        tau=tau,
    )
    return replace(
        base,
        phrasing=phrasing,
        num_asked=len(answered.right_Q),
        accuracy=answered.accuracy,
        **asdict(recalled),
        bits_per_param=recalled.bits_ce / base.num_params if base.num_params else None,
        bits_per_byte=recalled.bits_ce / base.storage_bytes if base.storage_bytes else None,
        chunk_at_1=None if answered.chunk_right_Q is None else float(answered.chunk_right_Q.mean()),
    )


def _with_robustness(row: Row, memory: Memory, identical: Asked, *, seed: int) -> Row:
    has_keys = identical.queries.keys_QD is not None
    return replace(
        row,
        accuracy_noise_10=accuracy(memory, with_key_noise(identical, 0.1, seed=seed)) if has_keys else None,
        sigma90=sigma90(memory, identical, seed=seed),
        flip90=flip90(memory, identical, seed=seed),
    )


def floor_lines(knowledge: KnowledgeSet, *, setting: Setting, encoder: EncoderCost) -> tuple[Row, ...]:
    """Bounds that answer nothing: D / 8 bytes, and the bytes of any memory that must also know what it was not told."""
    demand_bits = knowledge.demand_bits()
    rate = 0.01
    lines = {
        "floor-entropy": demand_bits / 8,
        f"floor-known-{rate:g}": (demand_bits + knowledge.num_facts * math.log2(1 / rate)) / 8,
    }
    return tuple(
        Row(
            side="floor",
            memory=name,
            role="floor",
            family="floor",
            stores="questions",
            storage_bytes=math.ceil(num_bytes),
            **_facts(knowledge, setting, encoder),
        )
        for name, num_bytes in lines.items()
    )
