"""Label noise: a share of the facts are dealt another value of their relation, before anything is written.

The set is then about the noisy facts: they are written, asked for and counted. From real values (0) to values that
nobody can know from the subject (near 1) it is a dial of how much of the facts an encoder can guess.
"""

from dataclasses import dataclass, replace

import numpy as np

from retromem.knowledge.knowledge_set import KnowledgeSet, content_hash


@dataclass(frozen=True, kw_only=True)
class LabelNoise:
    """The dial that every knowledge set has."""

    label_noise: float = 0.0
    """share of the facts that are dealt another value of their relation, 0 to 1"""

    def __post_init__(self) -> None:
        if not 0 <= self.label_noise <= 1:
            raise ValueError(f"label_noise is a share of the facts, from 0 to 1, not {self.label_noise:g}")


def with_label_noise(knowledge: KnowledgeSet, share: float) -> KnowledgeSet:
    """The same set with this share of its facts at another value, drawn uniformly from the others of their relation.

    Facts are chosen by the set's hash: those of a smaller share are among those of a larger one, with the same values.
    What follows from another fact follows from its new value. Facts of a relation with one value keep it.
    """
    if not share:
        return knowledge
    rng = np.random.default_rng([int(knowledge.content_hash, 16), 0x1AB])
    values_A, relations_A = knowledge.all_value_ids.copy(), knowledge.all_relation_ids
    chosen_A = rng.random(len(values_A)) < share
    counts_A = knowledge.values.num_candidates_R()[relations_A]
    starts_A = np.asarray(knowledge.values.starts)[relations_A]
    # One step to all but one further along the relation's values is never the value itself.
    steps_A = 1 + rng.integers(0, np.maximum(counts_A - 1, 1))
    others_A = starts_A + (values_A - starts_A + steps_A) % counts_A
    values_A[chosen_A] = others_A[chosen_A]
    if (following := knowledge.following) is not None:
        rows = np.flatnonzero(following.cause_A >= 0)
        values_A[rows] = following.value_of_V[values_A[following.cause_A[rows]]]
    return replace(
        knowledge,
        name=f"{knowledge.name}, label noise {share:g}",
        content_hash=content_hash(knowledge.content_hash.encode(), np.float64(share).tobytes()),
        all_value_ids=values_A,
    )
