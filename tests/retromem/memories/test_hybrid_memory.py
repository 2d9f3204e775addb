"""Both halves of a hybrid speak of the same chunks, also after a change of its store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import store_updates
from retromem.memories.hybrid_memory import HybridMemory, HybridMemoryConfig
from retromem.seam import Facts


def hybrid(facts: Facts) -> HybridMemory:
    memory = HybridMemoryConfig(key_by="statement").build(seed=0)
    memory.write(facts)
    return memory


@pytest.mark.parametrize("compacts", [False, True])
def test_a_changed_store_answers_as_one_that_was_built_of_what_is_left(
    compacts: bool, colours: Any, tmp_path: Path
) -> None:
    knowledge = colours(40, ["red", "green", "blue", "grey", "pink"])
    facts = knowledge.facts(statements=True)
    hybrid(facts).save(tmp_path / "store")
    gone_N = np.arange(40) % 3 == 0
    store_updates.delete(tmp_path / "store", facts.ids_N[gone_N])
    if compacts:
        store_updates.compact(tmp_path / "store")
    changed, fresh = HybridMemory.load(tmp_path / "store"), hybrid(facts.rows(np.flatnonzero(~gone_N)))
    asked = knowledge.ask("identical").queries
    one, two = changed.recall(asked, top_k=3), fresh.recall(asked, top_k=3)
    assert not np.isin(one.fact_ids_QK, facts.ids_N[gone_N]).any()
    assert (one.fact_ids_QK == two.fact_ids_QK).all()
    assert (one.value_ids_QK == two.value_ids_QK).all()
    changed.save(tmp_path / "copy")
    assert (HybridMemory.load(tmp_path / "copy").recall(asked).fact_ids_QK[:, :3] == one.fact_ids_QK).all()


def test_what_was_added_is_found_by_its_words_alone(colours: Any, tmp_path: Path) -> None:
    whole = colours(30, ["red", "green", "blue"])
    facts = whole.facts(statements=True)
    first, last = np.arange(20), np.arange(20, 30)
    hybrid(facts.rows(first)).save(tmp_path / "store")
    added = hybrid(facts.rows(last))._store
    assert added is not None
    store_updates.add(tmp_path / "store", added.segments[0].chunks)
    memory = HybridMemory.load(tmp_path / "store")
    questions = whole.ask("identical").queries
    # The dense half is led astray: what is asked for, it ranks last.
    recall = memory.recall(replace(questions, keys_QD=-questions.key_vectors()))
    assert (recall.fact_ids_QK[last, 0] == facts.ids_N[last]).all()
