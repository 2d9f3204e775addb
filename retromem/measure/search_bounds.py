"""What a search for the smallest memory is refused for before anything runs: goals and bounds that cannot be met."""

from collections.abc import Sequence

import numpy as np

from retrieval.errors import UserError
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.bits import bits_argmax
from retromem.measure.settings import MeasureConfig, SmallestSearch
from retromem.memories.dial import Dialled, Load
from retromem.seam import MemoryConfig, Phrasing

_SAID = {"identical": "as written", "heldout": "paraphrased"}


def load_of(knowledge: KnowledgeSet, dim: int, phrasing: Phrasing) -> Load:
    """What a search is about: these facts, by keys of so many dimensions."""
    return Load(
        demand_bits=knowledge.demand_bits(),
        num_facts=knowledge.num_facts,
        num_candidates=int(knowledge.values.num_candidates_R().max(initial=1)),
        dim=dim,
        num_relations=len(knowledge.values.relations),
        reworded=phrasing != "identical",
    )


def questions_of_a_step(search: SmallestSearch, knowledge: KnowledgeSet, measures: MeasureConfig) -> int:
    """That each step asks: as written all, on paraphrases every other one."""
    num_asked = len(knowledge.ask(search.phrasing, num=measures.most(search.phrasing)))
    return num_asked if search.phrasing == "identical" else (num_asked + 1) // 2


def can_be_asked(search: SmallestSearch, knowledge: KnowledgeSet, measures: MeasureConfig) -> bool:
    """Whether these facts have the questions of the goal, and enough of them."""
    if search.phrasing not in knowledge.phrasings():
        return False
    return questions_of_a_step(search, knowledge, measures) >= search.questions_needed


def why_unasked(search: SmallestSearch, knowledge: KnowledgeSet, measures: MeasureConfig) -> str:
    """One sentence for a goal that not even the whole set can be asked; `` where it can be."""
    goal = f"{100 * search.accuracy:g} % of the questions {_SAID[search.phrasing]}"
    if search.phrasing not in knowledge.phrasings():
        return f"Not searched: the smallest memories that answer {goal}; {knowledge.name} has no other wordings."
    if not can_be_asked(search, knowledge, measures):
        return (
            f"Not searched: the smallest memories that answer {goal}; it takes {search.questions_needed:,} questions "
            f"a step to tell, and {questions_of_a_step(search, knowledge, measures):,} are asked."
        )
    return ""


def refuse_search(
    search: SmallestSearch,
    memories: Sequence[MemoryConfig],
    knowledge: KnowledgeSet,
    *,
    dim: int,
    measures: MeasureConfig,
    path: str,
) -> None:
    """UserError for a phrasing that the set is not asked in, for too few questions, for memories too small for it."""
    if search.phrasing not in knowledge.phrasings():
        raise UserError(
            f"{path}.smallest.phrasing: {knowledge.name} has no {search.phrasing} questions; it is asked in "
            f"{', '.join(knowledge.phrasings())} ones"
        )
    num_asked = questions_of_a_step(search, knowledge, measures)
    if num_asked < search.questions_needed:
        most, limit = measures.most(search.phrasing), "max_asked" if search.phrasing == "identical" else "max_reworded"
        is_sample = most is not None and len(knowledge.ask(search.phrasing, num=most)) == most
        more = f"raise measures.{limit}" if is_sample else "give more facts"
        raise UserError(
            f"{path}.smallest.accuracy: {num_asked:,} {search.phrasing} questions are asked at a step of "
            f"{knowledge.num_facts:,} facts, and no share of them tells {search.accuracy:g} from 1: it takes "
            f"{search.questions_needed:,}; {more}, or a lower accuracy"
        )
    load = load_of(knowledge, dim, search.phrasing)
    needed_bits = _bits_needed(knowledge, search.accuracy)
    for number, memory in enumerate(memories):
        assert isinstance(memory, Dialled) and memory.dial is not None
        settings = memory.dial.between(search.low, search.high)
        if memory.most_bits(settings[-1], load) >= needed_bits:
            continue
        holds = f"{memory.dial.name} of {settings[-1]:,} at most holds {memory.most_bits(settings[-1], load):,.0f} bits"
        doublings = (settings[-1] << times for times in range(1, 24))
        enough = next((high for high in doublings if memory.most_bits(high, load) >= needed_bits), None)
        raise UserError(
            f"{path}.memories.{number}: {holds}, and {search.accuracy:g} of {knowledge.num_facts:,} facts are "
            f"{needed_bits:,.0f} bits or more: raise smallest.high" + (f" to {enough:,}" if enough else "")
        )


def _bits_needed(knowledge: KnowledgeSet, accuracy: float) -> float:
    """The demand less the longest list of corrections that this accuracy leaves."""
    num_wrong = int((1 - accuracy) * knowledge.num_facts + 1e-9)
    right_Q = [place >= num_wrong for place in range(knowledge.num_facts)]
    candidates_Q = sorted(knowledge.values.num_candidates_R()[knowledge.relation_ids_N].tolist(), reverse=True)
    return bits_argmax(knowledge.demand_bits(), right_Q, np.array(candidates_Q), knowledge.num_facts)
