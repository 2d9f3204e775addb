"""What has to be said of a set of facts before anything is run on it: what was left out, what the encoder does not
read, and which facts nobody can tell apart.

Shape legend: N facts, D key dimension.
"""

from collections.abc import Sequence

import numpy as np

from retrieval.encoder import Encoder
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.seam import Facts

_WHY = {
    "empty": "a cell holds nothing",
    "duplicate": "the same fact stands elsewhere",
    "several_values": "a comparison needs one for each subject; an index keeps all",
    "value_in_subject": "the question would give the answer",
    "subject_in_value": "the answer would give the question",
    "value_in_wording": "the wording would give the answer",
}
_SAME = 1e-4  # of a projection: a text's vector differs by 3e-7 with the texts that it was encoded beside


def left_out(knowledge: KnowledgeSet) -> list[str]:
    """How many rows of the source were left out, and why; no line where none was."""
    counts = {reason: count for reason, count in knowledge.dropped.items() if count}
    if not counts:
        return []
    num_rows = knowledge.num_facts + sum(counts.values())
    listed = [
        f"{count:,} {reason.replace('_', ' ')}{f' ({_WHY[reason]})' if reason in _WHY else ''}"
        for reason, count in counts.items()
    ]
    return [f"left out of {knowledge.name}: {sum(counts.values()):,} of {num_rows:,} rows: {', '.join(listed)}"]


def several_values(knowledge: KnowledgeSet) -> list[str]:
    """How many facts share subject and relation with another, in a set that may hold such."""
    assert knowledge.text is not None
    pairs = list(zip(knowledge.text.subjects, knowledge.all_relation_ids.tolist(), strict=True))
    counts = np.unique([f"{relation} {subject}" for subject, relation in pairs], return_counts=True)[1]
    shared = counts[counts > 1]
    if not shared.size:
        return []
    return [f"several values: {shared.sum():,} facts share their subject with others; each value is a chunk"]


def not_read(knowledge: KnowledgeSet, encoder: Encoder, *, statements: bool) -> list[str]:
    """How many facts are longer than the encoder reads, in their questions or, where asked for, their statements."""
    facts = knowledge.facts(statements=statements)
    lines = []
    kinds = {"questions": (facts.cues, False), "statements": ([facts.statements] if facts.statements else [], True)}
    for name, (queries, is_document) in kinds.items():
        cut_N = np.zeros(len(facts), dtype=bool)
        for texts in (query.texts or () for query in queries):
            cut_N |= encoder.are_cut([encoder.prompts.before(text, is_document=is_document) for text in texts])
        if cut_N.any():
            lines.append(
                f"{knowledge.name}: the {name} of {cut_N.sum():,} of {len(facts):,} facts are longer than the encoder "
                "reads; what stands behind is in no vector"
            )
    return lines


def one_key(name: str, facts: Facts, subjects: Sequence[str] | None = None) -> list[str]:
    """How many facts share the very key of their question with a fact of another value, and what that leaves.

    `subjects`: of each fact, where several facts may be of one; any of its values is right then.
    """
    num_shared, most = shared_keys(facts, subjects)
    if not num_shared:
        return []
    return [
        f"{name}: {num_shared:,} of {len(facts):,} facts share their very key with a fact of another value (the "
        f"encoder reads their questions alike), so at most {100 * most:.1f} % can be right as written"
    ]


def shared_keys(facts: Facts, subjects: Sequence[str] | None = None) -> tuple[int, float]:
    """Facts whose key is that of a fact of the same relation, another subject and another value; and the largest
    accuracy there can be: of all facts of one key the value that is right for most is right.

    Keys are compared by four random projections: N log N, not all pairs.
    """
    cue = facts.cues[0]
    keys_ND = cue.key_vectors()
    directions_D4 = np.random.default_rng(0x5A3E).standard_normal((keys_ND.shape[1], 4))
    directions_D4 /= np.linalg.norm(directions_D4, axis=0)
    places_N4 = np.floor(keys_ND.astype(np.float64) @ directions_D4 / _SAME).astype(np.int64)
    keys_N5 = np.column_stack([cue.relation_ids_Q, places_N4])
    key_N = np.unique(keys_N5, axis=0, return_inverse=True)[1].reshape(-1)
    subject_N = np.arange(len(key_N)) if subjects is None else np.unique(subjects, return_inverse=True)[1]
    asked_N = np.unique(np.column_stack([key_N, subject_N]), axis=0, return_inverse=True)[1].reshape(-1)
    right = np.unique(np.column_stack([key_N, facts.value_ids_N, asked_N]), axis=0)  # a row: this value is right there
    pairs, pair_of = np.unique(right[:, :2], axis=0, return_inverse=True)
    num_right = np.bincount(pair_of.reshape(-1), weights=np.bincount(asked_N)[right[:, 2]]).astype(np.int64)
    most_K = np.zeros(key_N.max() + 1, dtype=np.int64)
    np.maximum.at(most_K, pairs[:, 0], num_right)
    is_shared_K = most_K < np.bincount(key_N)
    return int(is_shared_K[key_N].sum()), float(most_K.sum() / len(key_N))
