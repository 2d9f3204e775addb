"""Decoders written and asked for panels: what they hold, and their questions as tokens.

Shape legend: B questions of one length, T their tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from models.decoder_config import DecoderConfig
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.language.prompts import prompts_of
from retromem.language.text_tokens import people_tokens
from retromem.measure.answers import answers, bits_recalled, fit_calibration
from retromem.memories.closed_book_memory import ClosedBookMemory
from retromem.memories.writing_memory import blocks_of_one_length, texts_of
from retromem.panels.decoders.people_decoder import PeopleDecoderConfig
from retromem.rows import TAU
from retromem.seam import Queries

_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a memory's answers are worth, by the estimator of the rows."""

    accuracy: float
    bits_per_fact: float
    """by cross-entropy"""


def written_decoder(
    config: PeopleDecoderConfig, decoder: DecoderConfig, people: KnowledgeSet, *, seed: int, trained: bool = True
) -> ClosedBookMemory:
    """A memory that was trained on all people, or not at all."""
    memory = config.memory(decoder, trained=trained).build(seed=seed)
    memory.write(people.facts())
    return memory


def held(memory: ClosedBookMemory, people: KnowledgeSet) -> Held:
    """Asked as written; temperature and guessing share are fitted on the same questions, as for rows."""
    asked = people.ask("identical")
    calibration = fit_calibration(memory, asked, people.values, num_facts=people.num_facts)
    answered = answers(memory, asked, people.values, calibration)
    bits = bits_recalled(
        answered,
        demand_bits=people.demand_bits(),
        num_facts=people.num_facts,
        uniform=people.uniform,
        tau=TAU["identical"],
    )
    return Held(accuracy=answered.accuracy, bits_per_fact=bits.bits_ce / people.num_facts)


def question_blocks(queries: Queries) -> Iterator[tuple[list[int], Tensor]]:
    """(places, tokens_BT) of questions that are equally long."""
    yield from blocks_of_one_length(prompts_of(people_tokens(), texts_of(queries)), _AT_ONCE)
