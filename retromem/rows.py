"""One row: what one memory, written with the first N facts of one set, answered to one kind of question.

A row is a flat record. `results.csv` is rows and the settings that differ between them; the report reads nothing else.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from retromem.seam import Phrasing, Role, Side, Stores

TAU = {"identical": 0.99, "heldout": 0.95}
"""accuracy at which a memory counts as answering, by phrasing"""


SLACK_BITS = 40
"""over what a law allows: chance beats it once in 2^40 rows"""


class LawBroken(Exception):
    """A measurement that cannot be: something that answers is in no ledger, or an estimator is wrong."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Units are in the names; bits are base 2, bytes are 8 bits. Empty (None) = not defined or not known, never 0.

    A row that breaks a law of the currency cannot be made.

    Raises:
        LawBroken: more bits than the demand, or than its storage bytes can hold on labels that nobody can guess; a
            share outside of 0 to 1; a null that recalls; a side, role, phrasing or kind of store that there is none of.
    """

    study: str
    """name of the comparison inside an experiment; all its rows carry one `knowledge` hash"""
    side: Side
    """weights (parametric), an index (retrieval), a pair of both (paired), or a floor"""
    memory: str
    """its name: as its config calls it, or made of its settings, as ffn-relu-32 or faiss-q-Flat"""
    role: Role
    """what the report makes of it"""
    family: str
    """memories that differ only in their dial share one: ffn-relu, faiss-q, faiss-s, paired, floor"""
    stores: Stores
    """what it was made from, as the memory says"""
    knowledge: str
    """content hash of the whole set; the twin keeps it and says twin = true"""
    knowledge_name: str
    """of the set, for people"""
    twin: bool
    """values permuted among the subjects of each relation"""
    uniform: bool = False
    """values were drawn uniformly"""
    shuffled: bool = False
    """a null: answers were dealt anew before they were scored"""
    num_facts: int
    """first N of the set's one shuffle"""
    seed: int
    """of first weights, rotations, dealt values and random splits"""
    phrasing: Phrasing | Literal[""]
    """empty where a floor answers nothing"""
    halves: bool = False
    """judged on half of the facts (whose demand this is); memories that can be taught were taught on the other half"""
    num_asked: int | None = None
    """questions; sums over them are scaled by num_facts / num_asked"""
    accuracy: float | None = None
    """share of the questions answered right"""
    exact_match: float | None = None
    """share of the questions after which the answer was written by itself, letter for letter (memories that write)"""
    demand_bits: float | None = None
    """log2 of the ways to deal the values to these facts: all that there is to recall"""
    bits_ce: float | None = None
    """recalled, by cross-entropy: the demand less what calibrated answers leave unsaid, 0 at least"""
    bits_argmax: float | None = None
    """recalled, by first answers: the demand less a list of corrections, 0 at least"""
    bits_at_tau: float | None = None
    """N log2 M where accuracy >= tau on uniformly drawn values, else empty (the literature's count)"""
    bits_ce_clipped: float | None = None
    """clipped per fact; only to compare with Morris et al. 2025"""
    bits_stored: float | None = None
    """bits_ce minus those of the same memory written with the other four fifths of the subjects, or of a language model
    before it was written (identical rows)"""
    num_params: int | None = None
    """numbers that were trained"""
    num_active_params: int | None = None
    """those that one answer is computed from"""
    num_embedding_params: int | None = None
    """of the trained ones, those of single tokens (memories that write)"""
    storage_bytes: int | None = None
    """the smallest artefact that answers: packed weights, or index and value ids"""
    maintain_bytes: int | None = None
    """what a change of one fact needs beside it: training facts and optimiser state; ids, vectors, texts"""
    value_bytes: int | None = None
    """the value strings, compressed"""
    shared_bytes: int | None = None
    """the files of the encoder, and those of a language model that is not trained itself"""
    seeded_bytes: int | None = None
    """arrays that a seed gives again, in no sum"""
    resident_bytes: int | None = None
    """of memory while it answers"""
    bits_per_param: float | None = None
    """bits_ce / num_params"""
    bits_per_byte: float | None = None
    """bits_ce / storage_bytes"""
    write_seconds: float | None = None
    """encoding at its cold cost included"""
    memory_write_seconds: float | None = None
    """behind the encoder"""
    query_ms_p50: float | None = None
    """batch 1, behind the encoder"""
    query_ms_p95: float | None = None
    """the same, 95th percentile"""
    query_ms_p50_end_to_end: float | None = None
    """batch 1, the encoding of the question included"""
    queries_per_second: float | None = None
    """batch 256, behind the encoder"""
    queries_per_second_end_to_end: float | None = None
    """the same, the encoding of the questions included"""
    write_flops: float | None = None
    """floating-point operations of the writing"""
    exposures: float | None = None
    """times a fact was shown while writing, mean"""
    optimizer_steps: int | None = None
    """of the training that wrote it"""
    succeeded: bool | None = None
    """false: the budget in seconds ended the writing"""
    precision: str | None = None
    """of the stored weights"""
    temperature: float | None = None
    """T of the calibration for this kind of question"""
    epsilon: float | None = None
    """eps of the same"""
    chunk_at_1: float | None = None
    """share of questions whose first answer was spoken for by the very fact asked for"""
    accuracy_noise_10: float | None = None
    """accuracy with |noise| = .1 |key| added to every key (identical rows)"""
    sigma90: float | None = None
    """relative Gaussian weight noise at which accuracy first falls below .9 (identical rows of weights)"""
    flip90: float | None = None
    """share of random bit flips in the storage bytes at which accuracy first falls below .9 (identical rows)"""
    slots_used: float | None = None
    """share of the experts or memory slots that the stored facts use at least once (identical rows)"""
    slot_kl_bits: float | None = None
    """KL divergence of their use from uniform (identical rows); log2 of their number where one does it all"""
    device: str | None = None
    """that it was written on"""
    share_of_steps: float | None = None
    """of a training that ends once it has succeeded: how much it took. Bits by cross-entropy, sigma90 and flip90 are of
    the weights there; those of a whole training are higher"""
    smallest_for: Literal["", "identical", "heldout"] = ""
    """of a search: the questions that the smallest memory was looked for; its name has `*` for the dial"""
    smallest_tau: float | None = None
    """of a search: the accuracy that had to be reached"""
    dial_setting: int | None = None
    """where the search ended, or the best one tried where none was good enough"""

    def __post_init__(self) -> None:
        for name, allowed in _LITERALS.items():
            if getattr(self, name) not in allowed:
                raise LawBroken(f"{self._where}: {name} is {getattr(self, name)!r}, none of {', '.join(allowed)}")
        for name in ("accuracy", "exact_match", "chunk_at_1", "accuracy_noise_10", "slots_used"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise LawBroken(f"{self._where}: {name} is {share:g}, and a share is 0 to 1")
        for name in ("bits_ce", "bits_argmax", "bits_at_tau"):
            bits, demand = getattr(self, name), self.demand_bits
            if bits is not None and (demand is None or not 0 <= bits <= demand * (1 + 1e-9)):
                raise LawBroken(f"{self._where}: {name} is {bits:,.0f}, and the demand is {demand} bits")
        if self.bits_ce is None or not self.num_asked:
            return
        # Of those asked alone: the estimate for all N would be N / n times less sure.
        bits = self.bits_ce * min(1.0, self.num_asked / self.num_facts)
        if self.shuffled and bits > SLACK_BITS:
            raise LawBroken(f"{self._where}: {bits:,.0f} bits of answers that were shuffled, where none can be known")
        size = self.storage_bytes
        if (self.uniform or self.twin) and size is not None and bits > 8 * size + SLACK_BITS:
            raise LawBroken(
                f"{self._where}: {bits:,.0f} bits from {size:,} storage bytes, more than 8 a byte: what answers must "
                "be in the footprint"
            )

    @property
    def _where(self) -> str:
        return f"{self.study}, {self.memory}, {self.num_facts:,} facts, {self.phrasing}"


_LITERALS: dict[str, tuple[str, ...]] = {
    "side": get_args(Side),
    "role": get_args(Role),
    "stores": get_args(Stores),
    "phrasing": (*get_args(Phrasing), ""),
}
"""columns of a fixed vocabulary"""


@dataclass(frozen=True, kw_only=True)
class CapacityRow:
    """One memory and seed: how many facts it held. One line of `capacity.csv`."""

    study: str
    memory: str
    twin: bool
    phrasing: Phrasing
    tau: float
    """accuracy that had to be reached"""
    seed: int
    num_facts: int
    """largest N tried that reached tau; 0 when none did"""
    censored: bool
    """no N in range exceeded the capacity: num_facts is a lower bound only"""
    storage_bytes: int | None
    num_params: int | None
    bits: float | None
    """recalled at num_facts"""
    monotone: bool = True
    """false: fewer facts failed, so that success is noisy and another seed may end elsewhere"""
    sizes_tried: str = ""
    """numbers of facts, in the order of the search"""
    sizes_abandoned: str = ""
    """those of them whose training was ended early, for it would not have reached tau"""
    optimizer_steps: int = 0
    """of all trainings of the search"""

    @property
    def bits_per_param(self) -> float | None:
        """None for a memory without parameters or without bits."""
        return self.bits / self.num_params if self.bits is not None and self.num_params else None


@dataclass(frozen=True, kw_only=True)
class SmallestRow:
    """One family and seed: the fewest storage bytes that answered well enough. One line of `smallest.csv`."""

    study: str
    side: Side
    stores: Stores
    memory: str
    """as its config calls it, or the name with `*` in place of the dial's setting"""
    in_words: str
    """what the memory that was found keeps, in plain words"""
    twin: bool
    num_facts: int
    seed: int
    phrasing: Phrasing
    tau: float
    """accuracy that had to be reached"""
    storage_bytes: int | None
    """None where no setting tried reached it"""
    setting: int
    """of the dial, of that memory, or of the most accurate one tried where none reached it"""
    accuracy: float
    """of that memory, on the questions that the search asked; its rows have that of others, where it asked a sample"""
    dial: str
    """the setting that was searched: `ffn.width`"""
    low: int
    """lowest setting that was allowed"""
    high: int
    """highest setting that was allowed"""
    is_lowest: bool
    """the lowest setting sufficed: an upper bound only"""
    monotone: bool
    """false: a larger memory failed, so that success is noisy and another seed may end elsewhere"""
    tried: tuple[tuple[int, int | None, float], ...]
    """(setting, storage bytes, accuracy) of each memory that was written, in this order; no bytes: it could not be"""
    settings_abandoned: str = ""
    """those whose training was ended early, for it would not have reached tau: their accuracy is where it stood"""
    optimizer_steps: int = 0
    """of all trainings of the search"""
    search_seconds: float
    """of writing and asking all of them, encoding apart"""

    @property
    def num_tried(self) -> int:
        """Settings that were tried."""
        return len(self.tried)

    @property
    def settings_tried(self) -> str:
        """The dial's settings, in the order of the search."""
        return " ".join(str(setting) for setting, _, _ in self.tried)


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Row))


def _to_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


@dataclass(frozen=True, kw_only=True)
class ReproducedRow:
    """A published number beside ours: one line of the results.csv of a reproduction."""

    source: str
    """authors and year"""
    setting: str
    """what is trained or counted"""
    published: float
    """their number"""
    ours: float | None
    """empty where the measurement failed"""
    ratio: float | None
    """ours / published"""
    passes: bool
    """ours lies in the band"""
    unit: str
    """of both numbers"""
    low: float
    """of the band"""
    high: float
    """of the band"""
    tier: str
    """quick or full"""
    seconds: float
    """of all cells that it took, on one core each"""
    reason: str = ""
    """why there is no number"""


def rows_to_csv(rows: Sequence[Row], settings: Sequence[Mapping[str, str]] = ()) -> str:
    """The text of `results.csv`: every column of a row, then the settings that differ between rows, by dotted path.

    `settings`: of each row, or none at all.
    """
    names = list(dict.fromkeys(name for own in settings for name in own))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *names])
    for row, own in zip(rows, settings or [{}] * len(rows), strict=True):
        writer.writerow([_to_text(getattr(row, column)) for column in COLUMNS] + [own.get(name, "") for name in names])
    return text.getvalue()


def to_csv(records: Iterable[object], columns: Sequence[str]) -> str:
    """These attributes of each record as CSV, in the form of `results.csv`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_to_text(getattr(record, column)) for column in columns] for record in records)
    return text.getvalue()


def row_from_json(record: Mapping[str, Any]) -> Row:
    """A row as `result.json` keeps it; an unknown column is a TypeError."""
    return Row(**record)
