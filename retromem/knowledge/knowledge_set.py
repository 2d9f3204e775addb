"""A knowledge set: the same facts, the same questions and the same answers for every memory.

Its facts stand in one seeded order; a set of N facts is the first N of them, so smaller sets are nested in larger
ones. The hash is of the whole; a prefix and the permuted twin keep it, so a row is (hash, num_facts, twin).

Shape legend: A facts of the whole set, N facts of this part, Q questions, V values, D key dimension.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from retrieval.errors import UserError
from retromem.knowledge.label_noise import mislabelled
from retromem.knowledge.text_keys import Template, TextKeys
from retromem.knowledge.wordings import Wordings, fill
from retromem.measure.bits import demand_of_values, demand_uniform
from retromem.seam import Asked, Facts, Phrasing, Queries, ValueTable

_CALIBRATES = 9  # rows 9, 19, 29 ... of a relation calibrate where it has no wording to spare


@dataclass(frozen=True, kw_only=True)
class TextTask:
    """What a text set has beyond ids: names, wordings, and which wording was dealt to which fact."""

    subjects: tuple[str, ...]
    aliases: tuple[tuple[str, ...], ...]
    wordings: tuple[Wordings, ...]
    """one a relation"""
    num_written: int
    """W, the wordings a fact is written in"""
    dealt_N: Int64[ndarray, " N"]
    """a large random number a fact, which deals it its wordings"""


@dataclass(frozen=True, kw_only=True)
class FollowingFacts:
    """Facts whose value another fact of the same subject fixes: the city of work, once the employer is known."""

    cause_A: Int64[ndarray, " A"]
    """row of the fact that fixes this one, -1 where none does"""
    value_of_V: Int64[ndarray, " V"]
    """value id that follows from each value, -1 where none does"""


@dataclass(frozen=True, kw_only=True)
class KnowledgeSet:
    """Facts (subject, relation) -> value.

    Built by `random_keys.keys_set`, `from_table.text_set` or `biographies.biographies_set`.
    """

    name: str
    content_hash: str
    """of the whole set: order, values, wordings and how they were dealt"""
    values: ValueTable
    uniform: bool
    """values were drawn uniformly: the demand is N log2 M and the prior 1/M"""
    all_fact_ids: Int64[ndarray, " A"]
    all_relation_ids: Int64[ndarray, " A"]
    all_value_ids: Int64[ndarray, " A"]
    rows_N: Int64[ndarray, " N"]
    """the facts of this prefix or part, as rows of the arrays above"""
    all_keys: Float32[ndarray, "A D"] | None = None
    text: TextTask | None = None
    text_keys: TextKeys | None = None
    following: FollowingFacts | None = None
    """None where no fact fixes another"""
    is_twin: bool = False
    label_noise: float = 0.0
    """share of the facts that are written with another value than the one asked for"""
    max_calibration: int = 512
    """calibration questions at most"""
    dropped: Mapping[str, int] = field(default_factory=dict)
    attribution: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_facts(self) -> int:
        return len(self.rows_N)

    @property
    def relation_ids_N(self) -> Int64[ndarray, " N"]:
        relation_ids_N: Int64[ndarray, " N"] = self.all_relation_ids[self.rows_N]
        return relation_ids_N

    @property
    def value_ids_N(self) -> Int64[ndarray, " N"]:
        value_ids_N: Int64[ndarray, " N"] = self.all_value_ids[self.rows_N]
        return value_ids_N

    def with_keys(self, text_keys: TextKeys) -> "KnowledgeSet":
        """The same set, its texts answered by this encoder."""
        return replace(self, text_keys=text_keys)

    def prefix(self, num_facts: int) -> "KnowledgeSet":
        """The first facts of the one shuffle; same values, ids and hash. UserError beyond the set."""
        if not 0 < num_facts <= self.num_facts:
            raise UserError(
                f"{self.name}: {num_facts:,} facts asked for, but the set holds {self.num_facts:,}; "
                f"ask for 1 to {self.num_facts:,}"
            )
        return replace(self, rows_N=self.rows_N[:num_facts])

    def split(self, fraction: float, *, seed: int) -> tuple["KnowledgeSet", "KnowledgeSet"]:
        """Two disjoint parts, the first with this fraction of the facts."""
        order_N = np.random.default_rng([seed, 0x5B17]).permutation(self.num_facts)
        cut = round(fraction * self.num_facts)
        first, second = np.sort(order_N[:cut]), np.sort(order_N[cut:])
        return replace(self, rows_N=self.rows_N[first]), replace(self, rows_N=self.rows_N[second])

    @property
    def subjects(self) -> list[str]:
        """Of each fact, in the order of `facts`; for texts."""
        assert self.text is not None
        return [self.text.subjects[row] for row in self.rows_N.tolist()]

    def folds(self, number: int, *, seed: int) -> tuple["KnowledgeSet", ...]:
        """Disjoint parts that cover the set, with about as many subjects each: all facts of a subject in one part."""
        subject_N = np.arange(self.num_facts)
        if self.text is not None:
            subject_N = np.unique(self.subjects, return_inverse=True)[1]
        order_S = np.random.default_rng([seed, 0xF01D]).permutation(subject_N.max() + 1)
        parts = np.array_split(order_S, number)
        return tuple(replace(self, rows_N=self.rows_N[np.isin(subject_N, part)]) for part in parts)

    def prior_under(self, whole: "KnowledgeSet") -> Float64[ndarray, " N"]:
        """Prior of each fact's value when `whole` is what was written."""
        return whole._prior(self.rows_N)

    def twin(self, *, seed: int) -> "KnowledgeSet":
        """Same subjects, wordings and value counts; values permuted among the subjects of each relation.

        The permutation is of the whole set, so prefixes of the twin are nested too. What follows from another value
        follows from the new one.
        """
        rng = np.random.default_rng([seed, 0x7714])
        permuted = self.all_value_ids.copy()
        for relation in range(len(self.values.relations)):
            rows = np.flatnonzero(self.all_relation_ids == relation)
            permuted[rows] = permuted[rng.permutation(rows)]
        if self.following is not None:
            rows = np.flatnonzero(self.following.cause_A >= 0)
            permuted[rows] = self.following.value_of_V[permuted[self.following.cause_A[rows]]]
        return replace(self, all_value_ids=permuted, is_twin=not self.uniform)

    def with_label_noise(self, share: float) -> "KnowledgeSet":
        """The same set with this share of its facts written with another value of their relation."""
        if not share:
            return self
        told = content_hash(self.content_hash.encode(), np.float64(share).tobytes())
        return replace(self, name=f"{self.name}, label noise {share:g}", content_hash=told, label_noise=share)

    # ---- what is written ----------------------------------------------------------------------------------------

    def facts(self, *, statements: bool = False) -> Facts:
        """What a memory may see: write cues, calibration cues and, for memories that read, statements."""
        rows_N = self.rows_N
        num_cues = self.text.num_written if self.text else 1
        return Facts(
            ids_N=self.all_fact_ids[rows_N],
            value_ids_N=self._written_values()[rows_N],
            cues=[self._cue(rows_N, number) for number in range(num_cues)],
            statements=self._statements(rows_N) if statements and self.text else None,
            calibration=self._calibration(),
            values=self.values,
        )

    def _written_values(self) -> Int64[ndarray, " A"]:
        if not self.label_noise:
            return self.all_value_ids
        return mislabelled(self.all_value_ids, self.all_relation_ids, self.values, self.label_noise)

    def _cue(self, rows_N: Int64[ndarray, " N"], number: int) -> Queries:
        if self.text is None:
            assert self.all_keys is not None
            return Queries(
                texts=None,
                keys_QD=self.all_keys[rows_N],
                relation_ids_Q=self.all_relation_ids[rows_N],
                encoder_hash="",
            )
        return self._questions(rows_N, [self._written(row, number) for row in rows_N.tolist()])

    def _statements(self, rows_N: Int64[ndarray, " N"]) -> Queries:
        assert self.text is not None and self.values.strings is not None
        strings, starts = self.values.strings, self.values.starts
        templates_R = [  # each once: one holds all values of its relation
            [Template(wording, strings[starts[relation] : starts[relation + 1]]) for wording in wordings.statements]
            for relation, wordings in enumerate(self.text.wordings)
        ]
        written = self._written_values()
        templates, texts = [], []
        for row in rows_N.tolist():
            own = templates_R[int(self.all_relation_ids[row])]
            template = own[int(self.text.dealt_N[row]) // 7 % len(own)]
            templates.append(template)
            value = strings[int(written[row])]
            texts.append(fill(template.text, self.text.subjects[row], value))
        return self._encoded(texts, templates, rows_N)

    def _questions(
        self, rows_Q: Int64[ndarray, " Q"], wordings: Sequence[str], names: Sequence[str] | None = None
    ) -> Queries:
        assert self.text is not None
        names = names or [self.text.subjects[row] for row in rows_Q.tolist()]
        texts = [fill(wording, name) for wording, name in zip(wordings, names, strict=True)]
        return self._encoded(texts, [Template(wording) for wording in wordings], rows_Q)

    def _encoded(self, texts: Sequence[str], templates: Sequence[Template], rows_Q: Int64[ndarray, " Q"]) -> Queries:
        return Queries(
            texts=texts,
            keys_QD=self.text_keys.keys(texts, templates) if self.text_keys else None,
            relation_ids_Q=self.all_relation_ids[rows_Q],
            encoder_hash=self.text_keys.encoder_hash if self.text_keys else "",
        )

    def _wordings(self, row: int) -> Wordings:
        assert self.text is not None
        return self.text.wordings[int(self.all_relation_ids[row])]

    def _written(self, row: int, number: int) -> str:
        """The number-th wording that this fact was dealt; number = W is the first that it was not."""
        assert self.text is not None
        pool = self._wordings(row).written
        return pool[(int(self.text.dealt_N[row]) + number) % len(pool)]

    def _heldout(self, row: int) -> str:
        assert self.text is not None
        pool = self._wordings(row).heldout
        return pool[int(self.text.dealt_N[row]) // 11 % len(pool)]

    # ---- what is asked ------------------------------------------------------------------------------------------

    def phrasings(self) -> tuple[Phrasing, ...]:
        """The kinds of question that this set can ask at all."""
        if self.text is None:
            return ("identical",)
        text, present = self.text, [self.text.wordings[relation] for relation in set(self.relation_ids_N.tolist())]
        kinds: list[Phrasing] = ["identical"]
        if any(len(wordings.written) > text.num_written for wordings in present):
            kinds.append("seen")
        if any(wordings.heldout for wordings in present):
            kinds.append("heldout")
        if any(text.aliases[row] for row in self.rows_N.tolist()):
            kinds.append("alias")
        return tuple(kinds)

    def ask(self, phrasing: Phrasing, *, num: int | None = None) -> Asked:
        """Questions about the first `num` facts that can be asked so (all where None), with their answers."""
        if phrasing == "calibrate":
            return self._calibration()
        if phrasing == "identical":
            rows_Q = self.rows_N[:num]
            return self._asked(self._cue(rows_Q, 0), phrasing, rows_Q)
        text, names = self.text, None
        assert text is not None, phrasing
        match phrasing:
            case "seen":
                rows_Q = self._rows_where(lambda row: len(self._wordings(row).written) > text.num_written, num)
                wordings = [self._written(row, text.num_written) for row in rows_Q.tolist()]
            case "heldout":
                calibrating = set(self._tenth().tolist())
                rows_Q = self._rows_where(lambda row: bool(self._wordings(row).heldout) and row not in calibrating, num)
                wordings = [self._heldout(row) for row in rows_Q.tolist()]
            case "alias":
                rows_Q = self._rows_where(lambda row: bool(text.aliases[row]), num)
                wordings = [self._written(row, 0) for row in rows_Q.tolist()]
                names = [text.aliases[row][0] for row in rows_Q.tolist()]
        return self._asked(self._questions(rows_Q, wordings, names), phrasing, rows_Q)

    def _rows_where(self, test: Callable[[int], bool], num: int | None) -> Int64[ndarray, " Q"]:
        return np.array([row for row in self.rows_N.tolist() if test(row)][:num], dtype=np.int64)

    def _tenth(self) -> Int64[ndarray, " Q"]:
        """The stored facts that calibrate in the held-out wording: of relations with one wording to write."""
        if self.text is None:
            return np.zeros(0, dtype=np.int64)
        rows: list[int] = []
        for relation in np.unique(self.relation_ids_N):
            wordings = self.text.wordings[relation]
            if wordings.calibrate is None and wordings.heldout:
                rows += self.rows_N[self.relation_ids_N == relation][_CALIBRATES :: _CALIBRATES + 1].tolist()
        return np.array(sorted(rows), dtype=np.int64)

    def _calibration(self) -> Asked:
        """Questions that fit (T, eps) for other wordings, decided per relation: the wording kept for it; else a tenth
        of the facts, in the held-out wording; else the written cues."""
        if self.text is None:
            return replace(self.ask("identical", num=self.max_calibration), phrasing="calibrate")
        tenth = set(self._tenth().tolist())
        asked: list[tuple[int, str]] = []
        for row in self.rows_N.tolist():
            own = self._wordings(row)
            if own.calibrate is not None:
                asked.append((row, own.calibrate))
            elif row in tenth:
                asked.append((row, self._heldout(row)))
            elif not own.heldout:
                asked.append((row, self._written(row, 0)))
        if not asked:  # too few facts for a tenth of any relation
            asked = [(row, self._written(row, 0)) for row in self.rows_N.tolist()]
        asked = asked[: self.max_calibration]
        rows_Q = np.array([row for row, _ in asked], dtype=np.int64)
        return self._asked(self._questions(rows_Q, [wording for _, wording in asked]), "calibrate", rows_Q)

    def _asked(self, queries: Queries, phrasing: Phrasing, rows_Q: Int64[ndarray, " Q"]) -> Asked:
        return Asked(
            queries=queries,
            phrasing=phrasing,
            fact_ids_Q=self.all_fact_ids[rows_Q],
            value_ids_Q=self.all_value_ids[rows_Q],
            prior_Q=self._prior(rows_Q),
        )

    def _prior(self, rows_Q: Int64[ndarray, " Q"]) -> Float64[ndarray, " Q"]:
        values_Q, relations_Q = self.all_value_ids[rows_Q], self.all_relation_ids[rows_Q]
        if self.uniform:
            prior_Q = 1.0 / self.values.num_candidates_R()[relations_Q]
        else:
            counts_V = np.bincount(self.value_ids_N, minlength=self.values.num_values)
            counts_R = np.bincount(self.relation_ids_N, minlength=len(self.values.relations))
            prior_Q = counts_V[values_Q] / counts_R[relations_Q]
        return np.asarray(prior_Q, dtype=np.float64)

    # ---- what it is worth ---------------------------------------------------------------------------------------

    def demand_bits(self) -> float:
        """D of this prefix: N log2 M where values were drawn uniformly, else the log2 multinomial per relation.

        A fact that follows from another one of the prefix adds nothing.
        """
        if self.uniform:
            rows_N = self.rows_N
            if self.following is not None:
                rows_N = rows_N[~np.isin(self.following.cause_A[rows_N], rows_N)]
            counts_R = np.bincount(self.all_relation_ids[rows_N], minlength=len(self.values.relations))
            return demand_uniform(counts_R.tolist(), self.values.num_candidates_R().tolist())
        return demand_of_values(self.relation_ids_N, self.value_ids_N)


def value_file(values: ValueTable) -> bytes:
    """The value strings, compressed: the VALUE entry of the ledger; empty for the keys task."""
    return b"" if values.strings is None else zlib.compress(json.dumps(values.strings).encode(), 9)


def content_hash(*parts: bytes) -> str:
    """Short sha256 of the parts, each with its length."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]
