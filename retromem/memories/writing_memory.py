"""What memories that write their answers have in common: a decoder, tokens, answers scored and written.

Shape legend: B block of questions, T tokens of their prompts, M candidates of a relation, Q questions.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray
from scipy.special import log_softmax

from models.decoder_budget import DecoderBudget
from models.decoder_config import DecoderConfig
from models.precisions import Precision
from retrieval.errors import UserError
from retromem.configuration import build
from retromem.language.tokenizer_config import TokenizerConfig
from retromem.memories.named_config import NamedConfig
from retromem.memories.ranking import rank_candidates
from retromem.memories.saved import SavedFiles
from retromem.memories.weight_memory import WeightMemory
from retromem.seam import Facts, Footprint, Holding, Part, Queries, Recall, ValueTable

if TYPE_CHECKING:
    import torch

    from models.candidate_tree import CandidateTree, Reads
    from models.language_model import LanguageModel
    from retromem.language.text_tokens import TextTokens

_TOKENIZER = "tokenizer.json.zlib"
_LOGITS_AT_ONCE = 1 << 24


@dataclass(frozen=True, kw_only=True)
class DecoderSettings(NamedConfig):
    """What the configs of all memories that write their answers have in common."""

    memory: str
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """its layers, its FFNs, its size"""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """what texts are cut into"""
    training: DecoderBudget = field(default_factory=DecoderBudget)
    """passes over the texts, learning rate"""
    precision: Precision = "float32"
    """of the stored weights, which are the ones evaluated"""

    @property
    def needs_keys(self) -> bool:
        """Of an encoder."""
        return False

    @property
    def decoder_label(self) -> str:
        """Of its name: size, tokens, precision."""
        suffix = "" if self.precision == "float32" else f"-{self.precision}"
        suffix += "-untrained" if self.training.exposures == 0 else ""
        return f"{self.decoder.label}-{self.tokenizer.label}{suffix}"


class WritingMemory(WeightMemory):
    """Weights and a tokenizer; how a question becomes a prompt, and what is read beside it, is each kind's own."""

    trained_on = "cpu"

    def __init__(self, config: Any, *, seed: int, accelerator: str = "auto") -> None:
        super().__init__(config, seed=seed)
        self._accelerator = accelerator
        self._model: LanguageModel | None = None
        self._packed = b""

    @abstractmethod
    def _new(self) -> "LanguageModel":
        """The model with its first weights."""

    @abstractmethod
    def _prompted(self, queries: Queries) -> "Iterator[tuple[list[int], Reads, torch.Tensor]]":
        """(places, what reads, prompts (B, T)) of questions whose prompts are equally long, so that none is padded."""

    def _tokens_for(self, facts: Facts) -> "TextTokens":
        from retromem.language.text_tokens import make_tokens

        texts = [text for cue in facts.cues for text in cue.texts or ()]
        texts += [] if facts.statements is None else facts.statements.texts or ()
        return make_tokens(self.config.tokenizer, [*texts, *(facts.values.strings or ())])

    def _check_length(self, num_tokens: int, what: str) -> None:
        if num_tokens > self.config.decoder.context:
            raise UserError(
                f"decoder.context: {what} takes {num_tokens} tokens of {self.config.tokenizer.label}, and the decoder "
                f"reads {self.config.decoder.context}; name {num_tokens} or more"
            )

    def _keep(self, model: "LanguageModel") -> None:
        """Round the weights to the precision they are stored in, and answer from those."""
        from models.weight_packing import pack

        self._use(pack(model.state_dict(), self.config.precision))

    def _use(self, packed: bytes) -> None:
        from models.weight_packing import unpack

        model = self._new().eval()
        shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        model.load_state_dict(unpack(packed, shapes, self.config.precision))
        self._model, self._packed = model, packed

    @property
    def _written(self) -> "LanguageModel":
        assert self._model is not None, "write or load before recall"
        return self._model

    def _use_tokens(self, tokens: "TextTokens") -> None:
        self._tokens = tokens
        self._trees: dict[int, CandidateTree] = {}

    def _tree(self, relation: int) -> "CandidateTree":
        """Of the values that can answer a question of this relation."""
        from models.candidate_tree import CandidateTree

        if relation not in self._trees:
            strings, starts = self._values.strings, self._values.starts
            assert strings is not None
            answers = self._tokens.ids(strings[starts[relation] : starts[relation + 1]])
            self._trees[relation] = CandidateTree(answers, end=self._tokens.end)
        return self._trees[relation]

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
            tree, num_candidates = self._tree(relation), self._values.num_candidates_R()[relation]
            likelihoods_BM = np.zeros((len(rows), num_candidates), dtype=np.float32)
            at_once = max(1, _LOGITS_AT_ONCE // ((tree.num_nodes + 1) * self._tokens.num_tokens))
            for start in range(0, len(rows), at_once):
                block = rows[start : start + at_once]
                for places, model, prompts_BT in self._prompted(queries.rows(block)):
                    self._check_length(prompts_BT.shape[1] + tree.longest, "a question and its longest answer")
                    likelihoods_BM[np.array(places) + start] = self._log_likelihoods(tree, model, prompts_BT)
            answer: Float32[ndarray, "B M"] = log_softmax(likelihoods_BM, axis=1)
            return answer

        return rank_candidates(queries, self._values, log_probs, top_k=top_k, score=score)

    def _log_likelihoods(
        self, tree: "CandidateTree", model: "Reads", prompts_BT: "torch.Tensor"
    ) -> Float32[ndarray, "B M"]:
        import torch

        with torch.inference_mode():
            hidden_BTD, past = model.read(prompts_BT)
            found = tree.log_likelihoods(model, hidden_BTD[:, -1], past, window=self.config.decoder.window)
        answer: Float32[ndarray, "B M"] = found.numpy()
        return answer

    def write_answers(self, queries: Queries) -> list[str]:
        """What it writes after each question by itself, the likeliest token each time: no more tokens than the longest
        answer to such questions has, and one more."""
        from models.continuation import continued

        answers = [""] * len(queries)
        relations = np.unique(queries.relation_ids_Q).tolist()
        longest = max((self._tree(relation).longest for relation in relations), default=0)
        for places, model, prompts_BT in self._prompted(queries):
            most = max(1, min(longest + 1, self.config.decoder.context - prompts_BT.shape[1]))
            written = continued(model, prompts_BT, most=most, end=self._tokens.end)
            for place, ids in zip(places, written, strict=True):
                answers[place] = self._tokens.text(ids)
        return answers

    @property
    def num_embedding_params(self) -> int:
        """Of its parameters, those of single tokens."""
        found: int = self.config.decoder.num_embedding_params(self._tokens.num_tokens)
        return found

    def _saved_files(self) -> SavedFiles:
        files = super()._saved_files()
        if self._tokens.is_learnt:
            files.add(_TOKENIZER, Part.STORAGE, self._tokens.to_bytes())
        return files

    def footprint(self) -> Footprint:
        own = self._saved_files().footprint(resident_bytes=4 * self._weights()[1])
        if self._tokens.is_learnt:
            return own
        # Another's tokenizer is there for everybody, like an encoder.
        shared = Holding(name="tokenizer", part=Part.SHARED, num_bytes=self._tokens.num_bytes)
        return Footprint((*own.holdings, shared), resident_bytes=own.resident_bytes)

    @classmethod
    def _loaded(cls, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> Self:
        from retromem.language.text_tokens import stored_tokens

        config = build(cls.config_type, meta["config"], source=str(folder))
        stored = (folder / _TOKENIZER).read_bytes() if (folder / _TOKENIZER).exists() else b""
        memory = cls(config, seed=meta["seed"])
        memory._use_tokens(stored_tokens(config.tokenizer, stored))
        memory._take(folder, meta, values)
        return memory


def texts_of(queries: Queries) -> Sequence[str]:
    """Of the questions: a decoder is asked in words."""
    assert queries.texts is not None, "a decoder is asked in words"
    return queries.texts


def places_by_length(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Those of equally long prompts together: without padding, what is asked beside a question changes nothing."""
    by_length: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(place)
    return list(by_length.values())


def blocks_of_one_length(prompts: Sequence[Sequence[int]], at_once: int) -> "Iterator[tuple[list[int], torch.Tensor]]":
    """(places, tokens) of prompts that are equally long, at most so many together."""
    import torch

    for places in places_by_length(prompts):
        for start in range(0, len(places), at_once):
            block = places[start : start + at_once]
            yield block, torch.tensor([prompts[place] for place in block])
