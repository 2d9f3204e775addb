"""Facts in the weights of a decoder that must write the answer: trained on them as texts, asked with nothing to read.

Shape legend: B block of questions, T tokens of their prompts.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retrieval.chunks import npy_bytes
from retrieval.errors import Refused
from retromem.knowledge.biographies import BiographiesConfig
from retromem.memories.saved import FACTS_FILES, facts_files
from retromem.memories.writing_memory import DecoderSettings, WritingMemory, places_by_length, texts_of
from retromem.seam import Facts, Queries, Stores, WriteCost

if TYPE_CHECKING:
    import torch

    from models.candidate_tree import Reads
    from models.decoder import Decoder
    from models.language_model import LanguageModel
    from retromem.language.prompts import TrainingTexts

_OPTIMIZER = "optimizer.npy"


@dataclass(frozen=True, kw_only=True)
class ClosedBookSettings(DecoderSettings):
    """What the configs of memories have in common whose decoder is trained on the facts themselves."""

    trains_on: Literal["questions", "questions_and_statements"] = "questions_and_statements"
    """what it is trained on: every question that is written, with its answer, and the fact's statement too"""
    learns: Literal["values", "texts"] = "values"
    """which tokens have a loss: those of the value and the end, or all (it then learns to name the subjects, too)"""
    taught_on: BiographiesConfig | None = None
    """people that the decoder is trained on in the place of the facts, which it then never saw; empty: the facts"""

    @property
    def stores(self) -> Stores:
        return "questions" if self.trains_on == "questions" else "statements"

    @property
    def texts_label(self) -> str:
        """Of its name."""
        others = "-taught on others" if self.taught_on is not None else ""
        return ("-q" if self.trains_on == "questions" else "") + ("-texts" if self.learns == "texts" else "") + others


@dataclass(frozen=True, kw_only=True)
class ClosedBookConfig(ClosedBookSettings):
    """A decoder trained on questions with their answers and on statements, which then answers from its weights."""

    version: ClassVar[int] = 2
    memory: Literal["closed_book"] = "closed_book"

    def named(self, setting: str | None = None) -> str:
        return f"closed-book-{self.decoder_label}{self.texts_label}"

    @property
    def family(self) -> str:
        return f"closed-book-{self.decoder.ffn.family}"

    def build(self, *, seed: int) -> "ClosedBookMemory":
        return ClosedBookMemory(self, seed=seed)


class ClosedBookMemory(WritingMemory):
    """Weights and a tokenizer; nothing else of the facts is kept."""

    kind: ClassVar[str] = "closed-book"
    config_type: ClassVar[type[Any]] = ClosedBookConfig
    training_files: ClassVar[tuple[str, ...]] = (*FACTS_FILES, _OPTIMIZER)

    def write(self, facts: Facts) -> WriteCost:
        """Train on the texts of the facts, then round the weights to the precision they are stored in. Refused for
        facts without texts; UserError where a fact is longer than the context."""
        from models.decoder_training import DecoderModule, fit_decoder
        from models.token_batches import ShuffledPasses, ShuffledTexts

        assert self._model is None, "a memory is written once"
        config = self.config
        if facts.cues[0].texts is None:
            raise Refused(f"{self.name} needs texts, and these facts are vectors alone")
        start = time.perf_counter()
        self._know(facts.values, 0, "", {})
        learnt = self._learns_from(facts)
        self._use_tokens(self._tokens_for(learnt))
        texts = self._training_texts(learnt)
        self._check_length(int(texts.lengths_N.max()), "a fact")
        budget = config.training
        decoder = self._new_decoder()
        passes = ShuffledPasses(
            len(texts.tokens_NT), exposures=budget.exposures, batch_size=budget.batch_size, seed=self.seed
        )
        batches = ShuffledTexts(texts.tokens_NT, texts.learnt_NT, texts.lengths_N, texts.is_question_N, passes)
        module = DecoderModule(decoder, batches, budget)
        if budget.exposures:
            self.trained_on = fit_decoder(module, accelerator=self._accelerator)
        both = config.trains_on == "questions_and_statements"
        state = npy_bytes(module.trained_state())
        self._training_files = {**facts_files(facts, statements=both), _OPTIMIZER: state}
        self._keep(self._completed(decoder, learnt))
        shown = module.steps_done * passes.batch_size
        positions = module.positions_done / max(1, shown)
        flops = config.decoder.training_flops(self._tokens.num_tokens, positions, module.learnt_done / max(1, shown))
        return WriteCost(
            seconds=time.perf_counter() - start,
            texts_encoded=0,
            flops=float(shown * flops),
            exposures=shown / len(learnt),
            optimizer_steps=module.steps_done,
            succeeded=module.succeeded,
        )

    @property
    def decoder(self) -> "Decoder":
        """What was trained, with the weights as they are stored."""
        from models.decoder import Decoder

        assert isinstance(self._written, Decoder)
        return self._written

    def _learns_from(self, facts: Facts) -> Facts:
        people = self.config.taught_on
        return facts if people is None else people.build().facts(statements=True)

    def _training_texts(self, facts: Facts) -> "TrainingTexts":
        from retromem.language.prompts import training_texts

        return training_texts(
            facts,
            self._tokens,
            statements=self.config.trains_on == "questions_and_statements",
            whole_texts=self.config.learns == "texts",
        )

    def _new_decoder(self) -> "Decoder":
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        decoder: Decoder = self.config.decoder.build(self._tokens.num_tokens, generator=generator)
        return decoder

    def _new(self) -> "LanguageModel":
        return self._new_decoder()

    def _completed(self, decoder: "Decoder", learnt: Facts) -> "LanguageModel":
        """What answers, once the decoder was trained on `learnt`."""
        return decoder

    def _prompted(self, queries: Queries) -> "Iterator[tuple[list[int], Reads, torch.Tensor]]":
        import torch

        from retromem.language.prompts import prompts_of

        model: Any = self._written
        prompts = prompts_of(self._tokens, texts_of(queries))
        for places in places_by_length(prompts):
            yield places, model, torch.tensor([prompts[place] for place in places])

    def _weights(self) -> tuple[bytes, int, int]:
        num_tokens = self._tokens.num_tokens
        decoder = self.config.decoder
        return self._packed, decoder.num_params(num_tokens), decoder.num_active_params(num_tokens)

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
