"""Memories that write the answer with retrieved statements at hand: what they have in common.

A reader is taught to read first, on facts of other people, of a half of the facts, or of the very facts that it is to
answer; then the statements of the facts are stored, and its weights change no more.

Shape legend: Q questions, K statements a question, R statements of a relation.
"""

import time
import zlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from models.decoder_budget import DecoderBudget
from retrieval.errors import Refused
from retromem.knowledge.biographies import BiographiesConfig
from retromem.knowledge.knowledge_set import content_hash
from retromem.language.swapped_facts import with_other_values
from retromem.memories.kept_readers import KeptReader, keep_reader, kept_reader
from retromem.memories.saved import SavedFiles, facts_files
from retromem.memories.statement_store import StatementStore
from retromem.memories.untrained_cost import untrained_cost
from retromem.memories.writing_memory import DecoderSettings, WritingMemory, texts_of
from retromem.seam import Facts, Part, Queries, Side, Stores, ValueTable, WriteCost

if TYPE_CHECKING:
    from models.language_model import LanguageModel
    from retromem.language.reading_texts import ReadingQuestions

Taught = Literal["people", "halves", "stored", "swapped"]
Neighbours = Literal["retrieved", "shuffled", "random", "oracle", "answer_removed", "none"]


@dataclass(frozen=True, kw_only=True)
class ReadingSettings(DecoderSettings):
    """What the configs of such memories have in common."""

    stores: ClassVar[Stores] = "statements"
    chunks: int = 2
    """k, statements that are read; 0: no retrieval"""
    neighbours: Neighbours = "retrieved"
    """which statements are read when it is asked. The others are controls: the retrieved ones in another order, random
    ones of the relation, the statement of the very fact asked for first, all but that one, none at all"""
    taught: Taught = "people"
    """what it learns to read on. people: invented ones of `taught_on`, none of whom is asked for. halves: the other
    half of the facts (a block with `halves: true`). stored: the very facts that are stored. swapped: those, with
    other values in statements and answers: it is asked after their values were changed in the store"""
    taught_on: BiographiesConfig = field(
        default_factory=lambda: BiographiesConfig(num_people=2000, num_written=9, seed=1)
    )
    """the people (taught: people)"""
    order: Literal["ranked", "shuffled"] = "shuffled"
    """of the statements while it learns: the best first, as they are found, or in any order"""

    def __post_init__(self) -> None:
        if self.chunks < 0:
            raise ValueError(f"chunks must be 0 or more, not {self.chunks}")

    @property
    def reading_label(self) -> str:
        """Of its name."""
        arm = f"-k{self.chunks}" + ("" if self.neighbours == "retrieved" else f"-{self.neighbours}")
        arm += "" if self.taught == "people" else f"-taught on {self.taught}"
        return arm + ("-ranked" if self.order == "ranked" else "")


class ReadingMemory(WritingMemory):
    """Weights that were taught to read, a tokenizer, and the statements of the facts."""

    side: ClassVar[Side] = "paired"
    config: Any

    def __init__(self, config: Any, *, seed: int, accelerator: str = "auto") -> None:
        super().__init__(config, seed=seed, accelerator=accelerator)
        self._store: StatementStore | None = None
        self._revealed: dict[str, int] = {}

    @abstractmethod
    def _train(self, questions: "ReadingQuestions") -> WriteCost:
        """From the first weights on, on questions with their statements; keeps the weights."""

    def _trained(
        self,
        model: "LanguageModel",
        questions: "ReadingQuestions",
        budget: DecoderBudget,
        *,
        name: str,
        chunk_tokens: int | None,
        both_ways: bool = False,
        closed_book: bool = False,
    ) -> WriteCost:
        """`closed_book`: with nothing to read."""
        from models.decoder_training import DecoderModule, fit_decoder
        from models.token_batches import ShuffledPasses
        from retromem.language.reading_texts import ReadingTexts

        in_prompt = chunk_tokens is None and not closed_book
        self._check_length(questions.longest(in_prompt=in_prompt), "a question with its answer")
        if closed_book:
            questions = replace(questions, statements_NK=questions.statements_NK[:, :0])
        passes = ShuffledPasses(
            len(questions), exposures=budget.exposures, batch_size=budget.batch_size, seed=self.seed
        )
        batches = ReadingTexts(
            questions,
            passes,
            order=self.config.order,
            chunk_tokens=chunk_tokens,
            both_ways=both_ways,
            seed=self.seed,
        )
        module = DecoderModule(model, batches, budget)
        if budget.exposures:
            self.trained_on = fit_decoder(module, accelerator=self._accelerator, name=name)
        shown = module.steps_done * passes.batch_size
        positions, learnt = module.positions_done / max(1, shown), module.learnt_done / max(1, shown)
        return WriteCost(
            seconds=0.0,
            texts_encoded=0,
            flops=shown * self._flops_a_text(positions, learnt, 0.0 if chunk_tokens is None else questions.read_tokens),
            exposures=shown / len(questions),
            optimizer_steps=module.steps_done,
            succeeded=module.succeeded,
        )

    def _flops_a_text(self, positions: float, learnt: float, read_tokens: float) -> float:
        """Of one step; `read_tokens`: beside the text."""
        flops: float = self.config.decoder.training_flops(self._tokens.num_tokens, positions, learnt)
        return flops

    @property
    def is_told(self) -> bool:
        """Two controls are told which fact a question asks for: they read its statement, or all others."""
        return self.config.neighbours in ("oracle", "answer_removed")

    def reveal(self, fact_ids: Mapping[str, int]) -> None:
        """The fact that each text of a question asks for."""
        self._revealed.update(fact_ids)

    def teach(self, facts: Facts) -> WriteCost:
        """Learn to read on these facts, whose statements lie in a store of their own, which is thrown away."""
        from retromem.language.reading_texts import ReadingQuestions

        assert self._model is None, "a memory is taught once"
        start = time.perf_counter()
        self._use_tokens(self._tokens_for(facts))
        store, strings = StatementStore.of(facts), facts.values.strings
        assert strings is not None
        prompts, statements_NK = [], []
        for cue in facts.cues:
            prompts += self._prompts(cue)
            # Statements do not change, so they are looked up once, and no search runs inside a step.
            statements_NK.append(store.search(cue, self.config.chunks))
        answers = self._tokens.ids([strings[value] for value in facts.value_ids_N.tolist()])
        questions = ReadingQuestions(
            prompts=prompts,
            answers=[[*answer, self._tokens.end] for answer in answers] * len(facts.cues),
            statements_NK=np.concatenate(statements_NK),
            texts=self._statement_tokens(store.texts),
        )
        cost = self._train(questions)
        return replace(cost, seconds=time.perf_counter() - start, exposures=cost.exposures * len(facts.cues))

    def write(self, facts: Facts) -> WriteCost:
        """Store the statements, having learnt to read where that was not done before. Refused for facts without texts,
        and where halves are to be learnt from and there are none."""
        assert self._store is None, "a memory is written once"
        if facts.cues[0].texts is None:
            raise Refused(f"{self.name} needs texts, and these facts are vectors alone")
        taught = self._teach_first(facts) if self._model is None else None
        start = time.perf_counter()
        self._know(facts.values, 0, "", {})
        self._trees = {}
        self._keep_store(StatementStore.of(facts))
        cost = untrained_cost(start, texts_encoded=0, exposures=1.0)
        if taught is None:
            return cost
        return replace(taught, seconds=taught.seconds + cost.seconds, exposures=1.0)

    def _teach_first(self, facts: Facts) -> WriteCost:
        """Learn to read on what the config names, or take the weights of a reader that was taught so before."""
        from retromem.language.text_tokens import stored_tokens

        if self.config.taught == "halves":
            raise Refused(f"{self.name} learns on one half of the facts: give its block `halves: true`")
        identity = self._identity_of_teaching(facts)
        kept = kept_reader(identity)
        if kept is not None:
            self._use_tokens(stored_tokens(self.config.tokenizer, kept.tokenizer))
            self._use(kept.packed)
            return kept.cost
        match self.config.taught:
            case "people":
                cost = self.teach(self.config.taught_on.build().facts(statements=True))
            case "stored":
                cost = self.teach(facts)
            case _:
                cost = self.teach(with_other_values(facts, seed=self.seed))
        tokenizer = self._tokens.to_bytes() if self._tokens.is_learnt else b""
        keep_reader(identity, KeptReader(packed=self._packed, tokenizer=tokenizer, cost=cost))
        return cost

    def _identity_of_teaching(self, facts: Facts) -> dict[str, object]:
        """All that its weights depend on: what it is asked with afterwards is none of it."""
        settings = {name: value for name, value in self.config.saved().items() if name != "neighbours"}
        told = [] if self.config.taught == "people" else facts_files(facts, statements=True).values()
        return {"version": self.config.version, "seed": self.seed, **settings, "facts": content_hash(*told)}

    def _keep_store(self, store: StatementStore) -> None:
        self._store = store
        self._texts = self._statement_tokens(store.texts)
        self._row_of = {fact: row for row, fact in enumerate(store.ids_N.tolist())}

    def _prompts(self, queries: Queries) -> list[list[int]]:
        from retromem.language.prompts import prompts_of

        return prompts_of(self._tokens, texts_of(queries))

    def _statement_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return [[*ids, self._tokens.end] for ids in self._tokens.ids(texts)]

    def _statements(self, queries: Queries) -> Int64[ndarray, "Q K"]:
        """Those to read, as rows of the store; -1 where there is none."""
        store, k, texts = self._store, self.config.chunks, texts_of(queries)
        assert store is not None, "write or load before recall"
        if self.config.neighbours == "none":
            return np.zeros((len(queries), 0), dtype=np.int64)
        if self.config.neighbours == "random":
            windows = [store.window(relation) for relation in queries.relation_ids_Q.tolist()]
            draws = [self._draw(text).integers(w.start, w.stop, size=k) for text, w in zip(texts, windows, strict=True)]
            return np.array(draws, dtype=np.int64).reshape(len(queries), k)
        found_QK = store.search(queries, k + self.is_told)
        if self.config.neighbours == "shuffled":
            return np.array([self._draw(text).permutation(row) for text, row in zip(texts, found_QK, strict=True)])
        if not self.is_told:
            return found_QK
        own_Q = np.array([self._row_of[self._revealed[text]] for text in texts], dtype=np.int64)
        others = [row[row != own][:k] for row, own in zip(found_QK, own_Q, strict=True)]
        if self.config.neighbours == "oracle":
            others = [np.array([own, *row])[:k] for row, own in zip(others, own_Q.tolist(), strict=True)]
        return np.array(others, dtype=np.int64).reshape(len(queries), k)

    def _draw(self, text: str) -> np.random.Generator:
        """Of a question, whatever else is asked."""
        return np.random.default_rng([self.seed, zlib.crc32(text.encode())])

    def _saved_files(self) -> SavedFiles:
        files = super()._saved_files()
        assert self._store is not None
        for name, content in self._store.storage_files().items():
            files.add(name, Part.STORAGE, content)
        for name, content in self._store.maintain_files().items():
            files.add(name, Part.MAINTAIN, content)
        return files

    def _take(self, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> None:
        super()._take(folder, meta, values)
        self._keep_store(StatementStore.of_folder(folder))
