"""floor-static: the smallest honest memory of exact keys. It knows nothing of keys it was not given.

Each fact's value is a Huffman code word of its relation's value counts. Bit i of the word of key k is one equation
over GF(2): the parity of a band of 128 slots, at a place and with coefficients hashed from (k, i). The bands make
elimination cheap (ribbon retrieval: Dillinger & Walzer 2021, arXiv 2103.02515). On disk: the solved slots, one bit
each, and the lengths of the code words. A few percent above the entropy of the values.

Shape legend: B block of queries, M candidates of a relation.
"""

import hashlib
import heapq
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retrieval.sealed_folder import verify_sealed
from retromem.memories.ranking import rank_candidates
from retromem.memories.saved import SavedFiles, load_calibration, load_values, of_one_generation
from retromem.seam import Facts, Footprint, Part, Queries, Recall, Side, Stores, ValueTable, WriteCost

_BAND = 128  # slots of one equation: wider bands need fewer spare slots
_HEADER = struct.Struct("<II")  # hash seed, number of slots
_SLOTS = "slots.bin"


@dataclass(frozen=True, kw_only=True)
class StaticFunctionConfig:
    """A static function from exact keys to values."""

    version: ClassVar[int] = 1
    memory: Literal["static"] = "static"

    @property
    def name(self) -> str:
        return "floor-static"

    @property
    def family(self) -> str:
        return "floor"

    @property
    def stores(self) -> Stores:
        return "questions"

    @property
    def exact_keys_only(self) -> bool:
        """Asked, and calibrated, on the very keys that were written: other wordings are none of its business."""
        return True

    def build(self, *, seed: int) -> "StaticFunction":
        return StaticFunction(seed=seed)


def huffman_lengths(counts: Sequence[int]) -> list[int]:
    """Lengths of the optimal prefix code (Huffman 1952); 0 for values that never occur."""
    lengths = [0] * len(counts)
    heap = [(count, [symbol]) for symbol, count in enumerate(counts) if count]
    if len(heap) == 1:
        lengths[heap[0][1][0]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        few, few_symbols = heapq.heappop(heap)
        more, more_symbols = heapq.heappop(heap)
        for symbol in few_symbols + more_symbols:
            lengths[symbol] += 1
        heapq.heappush(heap, (few + more, few_symbols + more_symbols))
    return lengths


def canonical_code(lengths: Sequence[int]) -> dict[tuple[int, int], int]:
    """(length, word) -> symbol, from the lengths alone."""
    code: dict[tuple[int, int], int] = {}
    word, previous = 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        word <<= length - previous
        code[length, word] = symbol
        word, previous = word + 1, length
    return code


def _equation(key: bytes, bit: int, seed: int, num_slots: int) -> tuple[int, int]:
    """(first slot, coefficients) of one bit of one key; the lowest coefficient is 1."""
    digest = hashlib.blake2b(key, digest_size=24, salt=struct.pack("<IHxx", seed, bit)).digest()
    return int.from_bytes(digest[:8], "little") % (num_slots - _BAND + 1), int.from_bytes(digest[8:], "little") | 1


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


class StaticFunction:
    """Exact keys to values, in little more than the entropy."""

    side: ClassVar[Side] = "floor"

    def __init__(self, *, seed: int) -> None:
        self.seed = seed
        self.calibration = b""
        self._lengths: list[list[int]] | None = None

    @property
    def name(self) -> str:
        return "floor-static"

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
            # A few slots more after each failure; the salt changes with it.
            self._num_slots = _BAND + int(len(bits) * (1.0 + 0.005 * attempt))
            self._salt = attempt
            equations = [(*_equation(key, bit, attempt, self._num_slots), want) for (key, bit), want in bits.items()]
            slots = solve_bands(equations, self._num_slots)
            if slots is not None:
                break
            attempt += 1
        self._slots = slots
        return WriteCost(
            seconds=time.perf_counter() - start,
            texts_encoded=len(facts) * len(facts.cues),
            flops=float("nan"),
            exposures=float(len(facts.cues)),
            optimizer_steps=0,
        )

    def _know(self, values: ValueTable, lengths: list[list[int]]) -> None:
        self._values, self._lengths = values, lengths
        self._codes = [canonical_code(of_relation) for of_relation in lengths]

    def _decode(self, key: bytes, relation: int) -> int | None:
        """The symbol that the slots spell for this key; None if they spell no code word."""
        code = self._codes[relation]
        if not code:
            return None
        assert self._lengths is not None
        word = 0
        for bit in range(max(self._lengths[relation])):
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
        files = SavedFiles("static-function", {"seed": self.seed}, self._values, self.calibration)
        lengths = bytes(length for of_relation in self._lengths for length in of_relation)
        slots = self._slots.to_bytes((self._num_slots + 7) // 8, "little")
        files.add(_SLOTS, Part.STORAGE, _HEADER.pack(self._salt, self._num_slots) + lengths + slots)
        return files

    def footprint(self) -> Footprint:
        return self._saved_files().footprint()

    def save(self, folder: Path) -> None:
        self._saved_files().write(folder)

    @classmethod
    @of_one_generation
    def load(cls, folder: Path) -> "StaticFunction":
        meta: Any = verify_sealed(folder, kind="static-function")["meta"]
        memory = cls(seed=meta["seed"])
        values = load_values(folder, meta)
        content = (folder / _SLOTS).read_bytes()
        memory._salt, memory._num_slots = _HEADER.unpack_from(content)
        table = list(content[_HEADER.size : _HEADER.size + values.num_values])
        memory._know(values, [table[first:end] for first, end in zip(values.starts, values.starts[1:], strict=False)])
        memory._slots = int.from_bytes(content[_HEADER.size + values.num_values :], "little")
        memory.calibration = load_calibration(folder)
        return memory


def _key(key_D: Float32[ndarray, " D"], relation: int) -> bytes:
    return key_D.tobytes() + struct.pack("<I", relation)
