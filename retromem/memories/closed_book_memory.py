"""Facts in the weights of a decoder that must write the answer: trained on them as texts, asked with nothing to read.

Shape legend: B block of questions, M candidates of a relation, Q questions.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from models.decoder_budget import DecoderBudget
from models.decoder_config import DecoderConfig
from models.precisions import Precision
from retrieval.errors import Refused, UserError
from retromem.configuration import build
from retromem.language.tokenizer_config import TokenizerConfig
from retromem.memories.named_config import NamedConfig
from retromem.memories.ranking import rank_candidates
from retromem.memories.saved import SavedFiles, facts_files
from retromem.memories.weight_memory import WeightMemory
from retromem.seam import Facts, Footprint, Part, Queries, Recall, Stores, ValueTable, WriteCost

if TYPE_CHECKING:
    import torch

    from models.candidate_tree import CandidateTree
    from models.decoder import Decoder
    from retromem.language.text_tokens import TextTokens

_TOKENIZER = "tokenizer.json.zlib"
_LOGITS_AT_ONCE = 1 << 24
_ANSWERED_AT_ONCE = 256


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


@dataclass(frozen=True, kw_only=True)
class ClosedBookConfig(DecoderSettings):
    """A decoder trained on questions with their answers and on statements, which then answers from its weights."""

    version: ClassVar[int] = 1
    memory: Literal["closed_book"] = "closed_book"
    trains_on: Literal["questions", "questions_and_statements"] = "questions_and_statements"
    """what it is trained on: every question that is written, with its answer, and the fact's statement too"""
    learns: Literal["values", "texts"] = "values"
    """which tokens have a loss: those of the value and the end, or all (it then learns to name the subjects, too)"""

    @property
    def stores(self) -> Stores:
        return "questions" if self.trains_on == "questions" else "statements"

    def named(self, setting: str | None = None) -> str:
        extra = ("-q" if self.trains_on == "questions" else "") + ("-texts" if self.learns == "texts" else "")
        return f"closed-book-{self.decoder_label}{extra}"

    @property
    def family(self) -> str:
        return f"closed-book-{self.decoder.ffn.family}"

    def build(self, *, seed: int) -> "ClosedBookMemory":
        return ClosedBookMemory(self, seed=seed)


class ClosedBookMemory(WeightMemory):
    """Weights and a tokenizer; nothing else of the facts is kept."""

    kind: ClassVar[str] = "closed-book"
    config_type: ClassVar[type[Any]] = ClosedBookConfig

    def __init__(self, config: Any, *, seed: int, accelerator: str = "auto") -> None:
        super().__init__(config, seed=seed)
        self._accelerator = accelerator
        self._decoder: Decoder | None = None
        self._packed = b""
        self.trained_on = "cpu"

    def write(self, facts: Facts) -> WriteCost:
        """Train on the texts of the facts, then round the weights to the precision they are stored in. Refused for
        facts without texts; UserError where a fact is longer than the context."""
        from models.decoder_training import DecoderModule, fit_decoder
        from models.token_batches import ShuffledTexts
        from retromem.language.prompts import training_texts

        assert self._decoder is None, "a memory is written once"
        config = self.config
        if facts.cues[0].texts is None:
            raise Refused(f"{self.name} needs texts, and these facts are vectors alone")
        start = time.perf_counter()
        self._know(facts.values, 0, "", {})
        self._use_tokens(self._tokens_for(facts))
        texts = training_texts(
            facts,
            self._tokens,
            statements=config.trains_on == "questions_and_statements",
            whole_texts=config.learns == "texts",
        )
        self._check_length(int(texts.lengths_N.max()), "a fact")
        self._training_files = facts_files(facts)
        budget = config.training
        decoder = self._new()
        batches = ShuffledTexts(
            texts.tokens_NT,
            texts.learnt_NT,
            texts.lengths_N,
            texts.is_question_N,
            exposures=budget.exposures,
            batch_size=budget.batch_size,
            seed=self.seed,
        )
        module = DecoderModule(decoder, batches, budget)
        if budget.exposures:
            self.trained_on = fit_decoder(module, accelerator=self._accelerator)
        self._keep(decoder)
        shown = module.steps_done * batches.batch_size
        positions = module.positions_done / max(1, shown)
        flops = config.decoder.training_flops(self._tokens.num_tokens, positions, module.learnt_done / max(1, shown))
        return WriteCost(
            seconds=time.perf_counter() - start,
            texts_encoded=0,
            flops=float(shown * flops),
            exposures=shown / len(facts),
            optimizer_steps=module.steps_done,
            succeeded=module.succeeded,
        )

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

    def _new(self) -> "Decoder":
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        decoder: Decoder = self.config.decoder.build(self._tokens.num_tokens, generator=generator)
        return decoder

    def _keep(self, decoder: "Decoder") -> None:
        from models.weight_packing import pack

        self._use(pack(decoder.state_dict(), self.config.precision))

    def _use(self, packed: bytes) -> None:
        from models.weight_packing import unpack

        decoder = self._new().eval()
        shapes = {name: tuple(weight.shape) for name, weight in decoder.state_dict().items()}
        decoder.load_state_dict(unpack(packed, shapes, self.config.precision))
        self._decoder, self._packed = decoder, packed

    def _weights(self) -> tuple[bytes, int, int]:
        num_tokens = self._tokens.num_tokens
        decoder = self.config.decoder
        return self._packed, decoder.num_params(num_tokens), decoder.num_active_params(num_tokens)

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

    @property
    def decoder(self) -> "Decoder":
        """What was trained, with the weights as they are stored."""
        return self._written

    @property
    def _written(self) -> "Decoder":
        assert self._decoder is not None, "write or load before recall"
        return self._decoder

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        assert queries.texts is not None, "a decoder is asked in words"
        prompts = self._prompts(queries.texts)

        def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
            own, tree = [prompts[row] for row in rows.tolist()], self._tree(relation)
            self._check_length(max(map(len, own)) + tree.longest, "a question and its longest answer")
            likelihoods_BM = np.zeros((len(rows), self._values.num_candidates_R()[relation]), dtype=np.float32)
            at_once = max(1, _LOGITS_AT_ONCE // ((tree.num_nodes + 1) * self._tokens.num_tokens))
            for places, tokens_BT in blocks_of_one_length(own, at_once):
                likelihoods_BM[places] = self._log_likelihoods(tree, tokens_BT)
            likelihoods_BM -= likelihoods_BM.max(axis=1, keepdims=True)
            likelihoods_BM -= np.log(np.exp(likelihoods_BM).sum(axis=1, keepdims=True))
            return likelihoods_BM

        return rank_candidates(queries, self._values, log_probs, top_k=top_k, score=score)

    def _prompts(self, texts: Sequence[str]) -> list[list[int]]:
        from retromem.language.prompts import prompts_of

        return prompts_of(self._tokens, texts)

    def _log_likelihoods(self, tree: "CandidateTree", tokens_BT: "torch.Tensor") -> Float32[ndarray, "B M"]:
        import torch

        decoder = self._written
        with torch.inference_mode():
            hidden_BTD, past = decoder.read(tokens_BT)
            found = tree.log_likelihoods(decoder, hidden_BTD[:, -1], past, window=self.config.decoder.window)
        answer: Float32[ndarray, "B M"] = found.numpy()
        return answer

    def write_answers(self, queries: Queries) -> list[str]:
        """What it writes after each question by itself, the likeliest token each time."""
        assert queries.texts is not None, "a decoder is asked in words"
        answers = [""] * len(queries)
        prompts, room = self._prompts(queries.texts), self.config.decoder.context
        for places, tokens_BT in blocks_of_one_length(prompts, _ANSWERED_AT_ONCE):
            most = max(1, room - tokens_BT.shape[1])
            written = self._written.continued(tokens_BT, most=most, end=self._tokens.end)
            for place, ids in zip(places, written, strict=True):
                answers[place] = self._tokens.text(ids)
        return answers

    def perturbed(self, *, relative_noise: float = 0.0, flip_rate: float = 0.0, seed: int) -> "ClosedBookMemory":
        """A copy with Gaussian noise on the weights (in units of each matrix's RMS) or with random bits flipped."""
        import torch

        from models.weight_packing import add_noise, flip_bits

        disturbed = type(self)(self.config, seed=self.seed)
        disturbed._know(self._values, 0, "", {})
        disturbed._tokens, disturbed._trees = self._tokens, self._trees
        disturbed._use(flip_bits(self._packed, flip_rate, seed=seed))
        add_noise(disturbed._written, relative_noise, torch.Generator().manual_seed(seed))
        return disturbed

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
        return self._saved_files().footprint(resident_bytes=4 * self._weights()[1])

    @classmethod
    def _loaded(cls, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> Self:
        from retromem.language.text_tokens import stored_tokens

        config = build(cls.config_type, meta["config"], source=str(folder))
        stored = (folder / _TOKENIZER).read_bytes() if (folder / _TOKENIZER).exists() else b""
        memory = cls(config, seed=meta["seed"])
        memory._use_tokens(stored_tokens(config.tokenizer, stored))
        memory._take(folder, meta, values)
        return memory


def blocks_of_one_length(prompts: Sequence[Sequence[int]], at_once: int) -> "Iterator[tuple[list[int], torch.Tensor]]":
    """(places, tokens) of prompts that are equally long, so that none is padded: what is asked beside a question then
    changes nothing of its answer."""
    import torch

    by_length: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(place)
    for places in by_length.values():
        for start in range(0, len(places), at_once):
            block = places[start : start + at_once]
            yield block, torch.tensor([prompts[place] for place in block])
