"""Plans of an index for a set of facts, and the recall of a store against exact search, asked by the facts' own texts.

Shape legend: N facts, D dimensions.
"""

from typing import Literal

import numpy as np

from retrieval.chunk_store import ChunkStore
from retrieval.exact_recall import num_nearest
from retrieval.payload import count_labels, pack_payload
from retrieval.plan_request import PlanRequest
from retrieval.planner import MOST_SAMPLED, Plan, plan
from retromem.memories.store_memory import label_bits
from retromem.seam import Facts

_MOST_ASKED = 6_000

KeyBy = Literal["question", "statement"]


def plan_for(request: PlanRequest, facts: Facts, key_by: KeyBy, *, most_sampled: int = MOST_SAMPLED) -> Plan:
    """The index for these facts. Statements that are stored are asked by the written question, and the other way round.

    Refused where none meets the limits.
    """
    assert facts.statements is not None, "one of the two is stored, the other asked"
    relation_ids_N, bits = facts.statements.relation_ids_Q, label_bits(facts.values)
    order_N = np.argsort(relation_ids_N, kind="stable")  # as they will lie in the store: ties go to the first
    statements, questions = facts.statements.key_vectors()[order_N], facts.cues[0].key_vectors()[order_N]
    stored, asked = (statements, questions) if key_by == "statement" else (questions, statements)
    # The labels are known, so the very payload is packed: its bytes are exact, entropy-coded or not.
    labels_N = facts.value_ids_N - np.asarray(facts.values.starts)[relation_ids_N]
    counts_R = count_labels(labels_N, relation_ids_N, facts.values.num_candidates_R().tolist())
    payload = pack_payload(labels_N[order_N], relation_ids_N[order_N], bits, counts_R)
    return plan(request, stored, asked, payload_bytes=len(payload.content), most_sampled=most_sampled)


def recall_in(store: ChunkStore, facts: Facts, key_by: KeyBy) -> tuple[int, int]:
    """Facts whose text finds, in a store of them, what exact search finds; and all that were asked, drawn by a seed."""
    asked_by = facts.cues[0] if key_by == "statement" else facts.statements
    assert asked_by is not None, "one of the two is stored, the other asked"
    rows = np.random.default_rng(1).permutation(len(facts))[:_MOST_ASKED]
    queries_QD = np.ascontiguousarray(asked_by.key_vectors()[rows])
    vectors_ND = np.concatenate([segment.chunks.vectors_ND for segment in store.segments])
    return num_nearest(store.search(queries_QD, 1)[0][:, 0], vectors_ND, queries_QD), len(rows)
