"""kNN-LM as a memory: a decoder trained on the facts, and a store of its states with the tokens that followed them.

Shape legend: N states, K neighbours, D dimension of a state, B questions of equally long prompts.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from models.dial_checks import check_one_or_more
from retrieval.chunks import npy_bytes
from retrieval.vector_index import IndexSpec
from retromem.memories.closed_book_memory import ClosedBookMemory, ClosedBookSettings
from retromem.memories.saved import SavedFiles
from retromem.memories.state_store import LearntStates, StateStore, states_of
from retromem.memories.store_memory import load_faiss
from retromem.seam import Facts, Part, Queries, Side, ValueTable, WriteCost

if TYPE_CHECKING:
    import torch

    from models.candidate_tree import Reads
    from models.decoder import Decoder
    from models.knn_interpolation import Interpolation

_INTERPOLATION = "interpolation.npy"


@dataclass(frozen=True, kw_only=True)
class KnnLmConfig(ClosedBookSettings):
    """A decoder whose next token is interpolated with those of its nearest stored states."""

    version: ClassVar[int] = 2
    family: ClassVar[str] = "knn-lm"
    memory: Literal["knn_lm"] = "knn_lm"
    chunks: int = 16
    """k, states that are read a token; 0: the decoder alone"""
    buckets: int = 1
    """of the best similarity, each with a weight of its own; 1: one weight for all"""
    factory: str = "Flat"
    """FAISS factory string of the store of states"""

    def __post_init__(self) -> None:
        check_one_or_more(buckets=self.buckets)
        if self.chunks < 0:
            raise ValueError(f"chunks must be 0 or more, not {self.chunks}")

    @property
    def spec(self) -> IndexSpec:
        return IndexSpec(factory=self.factory)

    def named(self, setting: str | None = None) -> str:
        buckets = f"-{self.buckets}buckets" if self.buckets > 1 else ""
        store = "" if self.factory == "Flat" else f"-{self.factory}"
        return f"knn-lm-{self.decoder_label}{self.texts_label}-k{self.chunks}{buckets}{store}"

    def build(self, *, seed: int) -> "KnnLmMemory":
        return KnnLmMemory(self, seed=seed)


class KnnLmMemory(ClosedBookMemory):
    """The weights of the interpolation are fitted on the texts that were written, each text's own states left out."""

    side: ClassVar[Side] = "paired"
    kind: ClassVar[str] = "knn-lm"
    config_type: ClassVar[type[Any]] = KnnLmConfig
    notes: ClassVar[tuple[str, ...]] = ("num_states",)

    def __init__(self, config: Any, *, seed: int, accelerator: str = "auto") -> None:
        super().__init__(config, seed=seed, accelerator=accelerator)
        self._store: StateStore | None = None
        self._interpolation: Interpolation | None = None

    def write(self, facts: Facts) -> WriteCost:
        """Train the decoder, store its states, fit the interpolation."""
        from models.decoder import Decoder

        load_faiss()
        cost = super().write(facts)
        self._noted = {"num_states": 0}
        if not self.config.chunks:
            return cost
        start, decoder = time.perf_counter(), self._written
        assert isinstance(decoder, Decoder)
        learnt = states_of(decoder, self._training_texts(self._learns_from(facts)))
        vocabulary, spec = self._tokens.num_tokens, self.config.spec
        store = StateStore.of(learnt.states_ND.numpy(), learnt.tokens_N.numpy(), vocabulary, spec)
        self._interpolation = fitted(decoder, store, learnt, self.config.chunks, self.config.buckets)
        if self.config.taught_on is not None:
            stored = states_of(decoder, self._training_texts(facts))
            store = StateStore.of(stored.states_ND.numpy(), stored.tokens_N.numpy(), vocabulary, spec)
        self._store, self._noted = store, {"num_states": store.num_states}
        return replace(cost, seconds=cost.seconds + time.perf_counter() - start)

    def _prompted(self, queries: Queries) -> "Iterator[tuple[list[int], Reads, torch.Tensor]]":
        from models.decoder import Decoder
        from models.knn_interpolation import KnnReading

        store, interpolation, k = self._store, self._interpolation, self.config.chunks
        for places, decoder, prompts_BT in super()._prompted(queries):
            if not k:
                yield places, decoder, prompts_BT
                continue
            assert store is not None and interpolation is not None and isinstance(decoder, Decoder)
            yield places, KnnReading(decoder, lambda states: store.look_up(states, k), interpolation), prompts_BT

    def perturbed(self, *, relative_noise: float = 0.0, flip_rate: float = 0.0, seed: int) -> "ClosedBookMemory":
        """NotImplementedError: the states would have to be stored anew."""
        raise NotImplementedError("the stored states are those of the weights as they are")

    def _saved_files(self) -> SavedFiles:
        files = super()._saved_files()
        if self._store is not None and self._interpolation is not None:
            for name, content in self._store.files().items():
                files.add(name, Part.STORAGE, content)
            fit = self._interpolation
            numbers = np.array([fit.temperature, *fit.edges, *fit.weights], dtype=np.float32)
            files.add(_INTERPOLATION, Part.STORAGE, npy_bytes(numbers))
        return files

    def _take(self, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> None:
        from models.knn_interpolation import Interpolation

        super()._take(folder, meta, values)
        if not self.config.chunks:
            return
        numbers = np.load(folder / _INTERPOLATION, allow_pickle=False).tolist()
        num_edges = self.config.buckets - 1
        self._interpolation = Interpolation(
            numbers[0], tuple(numbers[1 : 1 + num_edges]), tuple(numbers[1 + num_edges :])
        )
        self._store = StateStore.of_folder(
            folder, self.config.spec, self.config.decoder.dim, meta["num_states"], self._tokens.num_tokens
        )


def neighbours_elsewhere(store: StateStore, learnt: LearntStates, k: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Cosines and tokens (N, K) of each stored state's nearest, those of its own text left out."""
    import torch

    texts_N = learnt.texts_N.numpy()
    most = int(np.bincount(texts_N).max())
    places_NJ, cosines_NJ = store.search(learnt.states_ND.numpy(), min(k + most, store.num_states))
    elsewhere_NJ = (places_NJ >= 0) & (texts_N[places_NJ] != texts_N[:, None])
    cosines_NJ = np.where(elsewhere_NJ, cosines_NJ, -np.inf).astype(np.float32)
    order_NK = np.argsort(-cosines_NJ, axis=1, kind="stable")[:, :k]
    places_NK = np.take_along_axis(places_NJ, order_NK, axis=1)
    cosines_NK = torch.from_numpy(np.take_along_axis(cosines_NJ, order_NK, axis=1))
    return cosines_NK, torch.from_numpy(store.tokens_N[np.maximum(places_NK, 0)])


def fitted(decoder: "Decoder", store: StateStore, learnt: LearntStates, k: int, buckets: int) -> "Interpolation":
    """The interpolation that makes the texts that were learnt the likeliest; `store` holds their states."""
    import torch

    from models.knn_interpolation import fit_interpolation

    true_N1 = learnt.tokens_N[:, None]
    with torch.inference_mode():
        p_decoder_N = decoder.logits(learnt.states_ND).softmax(-1).gather(1, true_N1)[:, 0]
        cosines_NK, followed_NK = neighbours_elsewhere(store, learnt, k)
        return fit_interpolation(p_decoder_N, cosines_NK, followed_NK == true_N1, buckets=buckets)
