"""A language model of transformers with what was written into it, in the bytes that are stored: what a memory of it
alone and one that reads beside it have in common.

Shape legend: B questions, M candidates of a relation.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from scipy.special import log_softmax

from retrieval.errors import Refused, UserError
from retromem.language.pretrained_folder import Content, PretrainedFolder, find_pretrained, load_tokenizer
from retromem.memories.causal_lm_config import CausalLMConfig
from retromem.memories.writing_memory import blocks_of_one_length
from retromem.seam import Facts, ValueTable, WriteCost

if TYPE_CHECKING:
    from models.answer_rows import AnswerRows
    from models.pretrained_lm import PretrainedLM
    from retromem.language.prompts import TrainingTexts
    from retromem.language.text_tokens import TextTokens

_PROMPTS_AT_ONCE = 16
_BESIDE_ANSWERS = 8
"""tokens that it may write beyond the longest answer, before it is stopped"""


class WrittenLM:
    """Loads, trains, packs, and answers from what was packed."""

    def __init__(self, config: CausalLMConfig, *, seed: int, accelerator: str = "auto") -> None:
        self.config, self.seed, self._accelerator = config, seed, accelerator
        self.files: dict[str, bytes] = {}
        """that were written: of an adapter, or of the whole model"""
        self.num_params, self.num_embedding_params = 0, 0
        self.trained_on = "cpu"
        self._answers: dict[int, AnswerRows] = {}
        self._is_before = False
        self._lm: PretrainedLM | None = None

    @cached_property
    def folder(self) -> PretrainedFolder:
        """Of the model that everybody has."""
        return find_pretrained(self.config.model, trust_remote_code=self.config.trust_remote_code)

    @cached_property
    def tokens(self) -> "TextTokens":
        from retromem.language.chat_tokens import tokens_of

        tokenizer = load_tokenizer(self.folder, trust_remote_code=self.config.trust_remote_code)
        return tokens_of(tokenizer, f"model: {self.config.model}")

    @property
    def shared(self) -> Content:
        """What of that model is needed to answer: of one that was trained itself the tokenizer alone."""
        return self.folder.content(tokenizer_alone=self.config.write == "full")

    @property
    def lm(self) -> "PretrainedLM":
        assert self._lm is not None, "write or load before recall"
        return self._lm

    def train(self, facts: Facts) -> WriteCost:
        """Write facts as their texts; with `write: none` nothing is trained."""
        self.config.check()
        if facts.cues[0].texts is None:
            raise Refused(f"{self.config.name} needs texts, and these facts are vectors alone")
        self.know(facts.values)
        if self.config.write == "none":
            self.use({})
            return WriteCost(seconds=0.0, texts_encoded=0, flops=0.0, exposures=0.0, optimizer_steps=0)
        return self._trained(facts)

    def know(self, values: ValueTable) -> None:
        """The candidates of each relation."""
        self._values = values
        self._answers = {}

    def _trained(self, facts: Facts) -> WriteCost:
        from models.decoder_training import DecoderModule, fit_decoder
        from models.pretrained_weights import own_random_numbers
        from models.token_batches import ShuffledPasses, ShuffledTexts
        from retromem.language.prompts import training_texts

        config, budget = self.config, self.config.training
        texts = training_texts(
            facts, self.tokens, statements=config.trains_on_statements, whole_texts=config.learns == "texts"
        )
        with own_random_numbers(self.seed):  # an adapter's first weights and dropout are of torch's own generators
            lm = self._to_be_trained()
            self._check_texts(lm, texts)
            start = time.perf_counter()  # what loading takes is no part of writing
            passes = ShuffledPasses(
                len(texts.tokens_NT), exposures=budget.exposures, batch_size=budget.batch_size, seed=self.seed
            )
            batches = ShuffledTexts(texts.tokens_NT, texts.learnt_NT, texts.lengths_N, texts.is_question_N, passes)
            module = DecoderModule(lm, batches, budget)
            if budget.exposures:
                lm.train()
                self.trained_on = fit_decoder(module, accelerator=self._accelerator, name="causal_lm")
        trained = sum(weight.numel() for weight in lm.parameters() if weight.requires_grad)
        flops = self._flops(lm, trained, module.positions_done, module.learnt_done)
        shown, steps, succeeded = module.steps_done * passes.batch_size, module.steps_done, module.succeeded
        packed = self._packed(lm.eval())
        seconds = time.perf_counter() - start
        del lm, module  # before the model is loaded once more, for its answers to be those of what is stored
        self.use(packed)
        return WriteCost(
            seconds=seconds,
            texts_encoded=0,
            flops=flops,
            exposures=shown / len(facts),
            optimizer_steps=steps,
            succeeded=succeeded,
        )

    def _to_be_trained(self) -> "PretrainedLM":
        from models.pretrained_weights import with_new_adapter

        lm = self._loaded_base()
        if self.config.write == "full":
            return lm
        try:
            return with_new_adapter(lm, self.config.peft)
        except ValueError as error:
            raise UserError(f"peft: {error}") from None

    def _packed(self, lm: "PretrainedLM") -> dict[str, bytes]:
        from models.pretrained_weights import adapter_files, model_files

        try:
            if self.config.write == "full":
                return model_files(lm, self.config.precision)
            return adapter_files(lm, self.config.precision, base=self.config.model)
        except ValueError as error:
            raise UserError(f"{self.config.name}: {error}") from None

    def _loaded_base(self) -> "PretrainedLM":
        from models.pretrained_weights import load_pretrained

        config = self.config
        try:
            return load_pretrained(
                self.folder.path,
                load_in=config.load_in,
                trust_remote_code=config.trust_remote_code,
                accelerator=self._accelerator,
            )
        except ValueError as error:
            raise UserError(f"model: {error}") from None

    def use(self, files: Mapping[str, bytes]) -> None:
        """Answer from what was packed. UserError for an adapter that does not fit the model."""
        from models.pretrained_weights import count_numbers, load_packed, with_adapter

        self.files, config = dict(files), self.config
        if config.write == "full":
            self._lm = load_packed(files, trust_remote_code=config.trust_remote_code, accelerator=self._accelerator)
        else:
            self._lm = self._loaded_base()
            try:
                self._lm = with_adapter(self._lm, files) if config.write == "peft" else self._lm
            except ValueError as error:
                raise UserError(f"{config.name}: {error} (model: {config.model})") from None
        self.num_params = count_numbers(files)
        self.num_embedding_params = self._lm.num_embedding_weights if config.write == "full" else 0

    def before(self) -> "WrittenLM":
        """The same model as it was before: with an adapter that is switched off, or loaded once more."""
        was = WrittenLM(replace(self.config, write="none", reads=0), seed=self.seed, accelerator=self._accelerator)
        was.know(self._values)
        if self.config.write == "full":
            was.use({})
        else:
            was._lm, was._is_before = self._lm, True
        return was

    def _flops(self, lm: "PretrainedLM", trained: int, positions: int, learnt: int) -> float:
        """Of the training. Forward and back are 4 a weight and position, its own gradient 2 more;
        the read-out meets tokens that have a loss alone. What attention takes beside its weights is left out."""
        table: int = lm.base.get_input_embeddings().weight.numel()
        inside = lm.num_weights - lm.num_embedding_weights
        if self.config.write == "full":
            return 6.0 * (inside * positions + table * learnt)
        return 4.0 * (inside * positions + table * learnt) + 2.0 * trained * positions

    def _check_texts(self, lm: "PretrainedLM", texts: "TrainingTexts") -> None:
        self.check_length(lm, int(texts.lengths_N.max()), "a fact")
        if (highest := int(texts.tokens_NT.max())) >= lm.num_tokens:
            raise UserError(
                f"model: {self.config.model} has embeddings of {lm.num_tokens:,} tokens, and its tokenizer says token "
                f"{highest:,}; they do not belong together"
            )

    def check_length(self, lm: "PretrainedLM", num_tokens: int, what: str) -> None:
        """UserError where a text is longer than the model reads."""
        if lm.context is not None and num_tokens > lm.context:
            raise UserError(f"model: {what} takes {num_tokens} tokens, and {self.config.model} reads {lm.context}")

    def answers_of(self, relation: int) -> "AnswerRows":
        """The candidates as they are scored."""
        from models.answer_rows import AnswerRows
        from models.pretrained_lm import with_ends

        if relation not in self._answers:
            strings, starts = self._values.strings, self._values.starts
            assert strings is not None
            plain = self.tokens.answers(strings[starts[relation] : starts[relation + 1]])
            self._answers[relation] = AnswerRows(with_ends(plain, end=self.tokens.end))
        return self._answers[relation]

    def log_probs(self, prompts: Sequence[Sequence[int]], relation: int) -> Float32[ndarray, "B M"]:
        """Of each candidate of the relation, after each prompt; exp sums to 1."""
        answers = self.answers_of(relation)
        self.check_length(self.lm, max(map(len, prompts)) + answers.longest, "a question and its longest answer")
        found_BM = np.zeros((len(prompts), len(answers)), dtype=np.float32)
        for places, tokens_BT in blocks_of_one_length(prompts, _PROMPTS_AT_ONCE):
            with self.lm.adapter_is(not self._is_before):
                found_BM[places] = self.lm.log_likelihoods(tokens_BT, answers).numpy()
        answer: Float32[ndarray, "B M"] = log_softmax(found_BM, axis=1)
        return answer

    def written_after(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        """What it writes by itself after each prompt, the likeliest token each time."""
        longest = max(self.answers_of(relation).longest for relation in range(len(self._values.relations)))
        found, ends = [""] * len(prompts), {self.tokens.end, *self.lm.end_tokens}
        for places, tokens_BT in blocks_of_one_length(prompts, _PROMPTS_AT_ONCE):
            room = longest + _BESIDE_ANSWERS
            if self.lm.context is not None:
                room = max(1, min(room, self.lm.context - tokens_BT.shape[1]))
            with self.lm.adapter_is(not self._is_before):
                written = self.lm.continued(tokens_BT, most=room, ends=ends)
            for place, ids in zip(places, written, strict=True):
                found[place] = self.tokens.text(ids)
        return found
