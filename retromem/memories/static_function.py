"""floor-static: the smallest honest memory of exact keys. It knows nothing of keys it was not given.

Each fact's value is a Huffman code word of its relation's value counts. Bit i of the word of key k is one equation
over GF(2): the parity of a band of 128 slots, at a place and with coefficients hashed from (k, i). The bands make
elimination cheap (ribbon retrieval: Dillinger & Walzer 2021, arXiv 2103.02515). On disk: the solved slots, one bit
each, and the lengths of the code words of the values that occur. A few percent above the entropy of the values.

Shape legend: B block of queries, M candidates of a relation.
"""

import hashlib
import heapq
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retromem.memories.named_config import NamedConfig
from retromem.memories.ranking import rank_candidates
from retromem.memories.saved import FiledMemory, SavedFiles
from retromem.memories.sparse_numbers import pack_sparse, unpack_sparse
from retromem.memories.untrained_cost import untrained_cost
from retromem.seam import Facts, Part, Queries, Recall, Side, Stores, ValueTable, WriteCost

_BAND = 128  # slots of one equation: wider bands need fewer spare slots
_HEADER = struct.Struct("<HI")  # hash seed, number of slots
_SLOTS = "slots.bin"


@dataclass(frozen=True, kw_only=True)
class StaticFunctionConfig(NamedConfig):
    """A static function from exact keys to values."""

    family: ClassVar[str] = "floor"
    stores: ClassVar[Stores] = "questions"
    version: ClassVar[int] = 2
    exact_keys_only: ClassVar[bool] = True
    """asked, and calibrated, on the very keys that were written: other wordings are none of its business"""
    memory: Literal["static"] = "static"

    def named(self, setting: str | None = None) -> str:
        return "floor-static"

    def build(self, *, seed: int) -> "StaticFunction":
        return StaticFunction(self, seed=seed)


def huffman_lengths(counts: Sequence[int]) -> dict[int, int]:
    """Symbol -> length, in the optimal prefix code (Huffman 1952) of the symbols that occur; 0 for a lone one."""
    lengths = {symbol: 0 for symbol, count in enumerate(counts) if count}
    heap = [(counts[symbol], [symbol]) for symbol in lengths]
    heapq.heapify(heap)
    while len(heap) > 1:
        few, few_symbols = heapq.heappop(heap)
        more, more_symbols = heapq.heappop(heap)
        for symbol in few_symbols + more_symbols:
            lengths[symbol] += 1
        heapq.heappush(heap, (few + more, few_symbols + more_symbols))
    return lengths


def canonical_code(lengths: Mapping[int, int]) -> dict[tuple[int, int], int]:
    """(length, word) -> symbol, from the lengths alone."""
    code: dict[tuple[int, int], int] = {}
    word, previous = 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in lengths.items()):
        word <<= length - previous
        code[length, word] = symbol
        word, previous = word + 1, length
    return code


def _equation(key: bytes, bit: int, seed: int, num_slots: int) -> tuple[int, int]:
    """(first slot, coefficients) of one bit of one key; the lowest coefficient is 1. Few slots are one band."""
    digest = hashlib.blake2b(key, digest_size=24, salt=struct.pack("<IHxx", seed, bit)).digest()
    band = min(_BAND, num_slots)
    coefficients = int.from_bytes(digest[8:], "little") & ((1 << band) - 1) | 1
    return int.from_bytes(digest[:8], "little") % (num_slots - band + 1), coefficients


def solve_bands(equations: Sequence[tuple[int, int, int]], num_slots: int) -> int | None:
    """Slots (as one integer) that satisfy every (first slot, coefficients, parity); None where there are none."""
    coefficients, parities = [0] * num_slots, [0] * num_slots
    for slot, band, parity in sorted(equations):
        while coefficients[slot]:
            band ^= coefficients[slot]
            parity ^= parities[slot]
            if not band:
                break
            shift = (band & -band).bit_length() - 1
            band, slot = band >> shift, slot + shift
        if band:
            coefficients[slot], parities[slot] = band, parity
        elif parity:
            return None
    window = 0
    bits = bytearray(num_slots)
    for slot in range(num_slots - 1, -1, -1):
        window = (window << 1) & ((1 << _BAND) - 1)
        bits[slot] = parities[slot] ^ ((coefficients[slot] & window).bit_count() & 1)
        window |= bits[slot]
    packed = np.packbits(np.frombuffer(bytes(bits), dtype=np.uint8), bitorder="little").tobytes()
    return int.from_bytes(packed, "little")


class StaticFunction(FiledMemory):
    """Exact keys to values, in little more than the entropy."""

    side: ClassVar[Side] = "floor"
    kind: ClassVar[str] = "static-function"

    def __init__(self, config: StaticFunctionConfig, *, seed: int) -> None:
        self.config = config
        self.seed = seed
        self._lengths: list[dict[int, int]] | None = None

    def write(self, facts: Facts) -> WriteCost:
        """A key that is given two values (two names that the encoder cannot tell apart) keeps the first."""
        assert self._lengths is None, "a memory is written once"
        start = time.perf_counter()
        values = facts.values
        counts_V = np.bincount(facts.value_ids_N, minlength=values.num_values)
        self._know(
            values,
            [
                huffman_lengths(counts_V[values.starts[r] : values.starts[r + 1]].tolist())
                for r in range(len(values.relations))
            ],
        )
        words = [{symbol: entry for entry, symbol in code.items()} for code in self._codes]
        bits: dict[tuple[bytes, int], int] = {}
        for cue in facts.cues:
            for key_D, relation, value in zip(cue.key_vectors(), cue.relation_ids_Q, facts.value_ids_N, strict=True):
                length, word = words[relation].get(int(value) - values.starts[relation], (0, 0))
                key = _key(key_D, int(relation))
                if (key, 0) not in bits:
                    bits |= {(key, bit): word >> (length - 1 - bit) & 1 for bit in range(length)}
        attempt = 0
        while True:
            # A few slots more after each failure; the salt changes with it. Bands that overlap need spare slots.
            spare = _BAND if len(bits) > _BAND else 0
            self._num_slots = spare + int(len(bits) * (1.0 + 0.005 * attempt))
            self._salt = attempt
            equations = [(*_equation(key, bit, attempt, self._num_slots), want) for (key, bit), want in bits.items()]
            slots = solve_bands(equations, self._num_slots)
            if slots is not None:
                break
            attempt += 1
        self._slots = slots
        num_cues = len(facts.cues)
        return untrained_cost(start, texts_encoded=len(facts) * num_cues, exposures=float(num_cues))

    def _know(self, values: ValueTable, lengths: list[dict[int, int]]) -> None:
        self._values, self._lengths = values, lengths
        self._codes = [canonical_code(of_relation) for of_relation in lengths]

    def _decode(self, key: bytes, relation: int) -> int | None:
        """The symbol that the slots spell for this key; None if they spell no code word."""
        code = self._codes[relation]
        assert self._lengths is not None
        word = 0
        if (0, word) in code:  # the only value of its relation
            return code[0, word]
        for bit in range(max(self._lengths[relation].values(), default=0)):
            first, band = _equation(key, bit, self._salt, self._num_slots)
            word = word << 1 | ((self._slots >> first & band).bit_count() & 1)
            if (bit + 1, word) in code:
                return code[bit + 1, word]
        return None

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        assert self._lengths is not None, "write or load before recall"
        keys_QD, starts = queries.key_vectors(), self._values.starts

        def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
            answer_BM = np.full((len(rows), starts[relation + 1] - starts[relation]), -np.inf, dtype=np.float32)
            for line, row in enumerate(rows):
                symbol = self._decode(_key(keys_QD[row], relation), relation)
                if symbol is not None:
                    answer_BM[line, symbol] = 0.0
            return answer_BM

        return rank_candidates(queries, self._values, log_probs, top_k=top_k, score=score)

    def _saved_files(self) -> SavedFiles:
        assert self._lengths is not None
        files = SavedFiles(self.kind, {"seed": self.seed}, self._values, self.calibration)
        more_V = np.zeros(self._values.num_values, dtype=np.int64)
        for start, of_relation in zip(self._values.starts, self._lengths, strict=False):
            more_V[[start + symbol for symbol in of_relation]] = [length + 1 for length in of_relation.values()]
        slots = self._slots.to_bytes((self._num_slots + 7) // 8, "little")
        files.add(_SLOTS, Part.STORAGE, _HEADER.pack(self._salt, self._num_slots) + pack_sparse(more_V) + slots)
        return files

    @classmethod
    def _loaded(cls, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> Self:
        memory = cls(StaticFunctionConfig(), seed=meta["seed"])
        content = (folder / _SLOTS).read_bytes()
        memory._salt, memory._num_slots = _HEADER.unpack_from(content)
        more_V, num_bytes = unpack_sparse(content[_HEADER.size :], values.num_values)
        tables = [more_V[first:end] - 1 for first, end in zip(values.starts, values.starts[1:], strict=False)]
        memory._know(values, [{int(s): int(table_M[s]) for s in np.flatnonzero(table_M >= 0)} for table_M in tables])
        memory._slots = int.from_bytes(content[_HEADER.size + num_bytes :], "little")
        return memory


def _key(key_D: Float32[ndarray, " D"], relation: int) -> bytes:
    return key_D.tobytes() + struct.pack("<I", relation)
