"""What is loaded is one store, whoever writes in its place meanwhile."""

import sys
from pathlib import Path
from typing import Any

import pytest

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.hybrid_memory import HybridMemoryConfig
from retromem.memories.lexical_memory import LexicalMemoryConfig
from retromem.memories.paired_memory import PairedMemory, PairedMemoryConfig
from retromem.memories.sign_memory import SignMemoryConfig
from retromem.memories.static_function import StaticFunctionConfig

SHORT = TrainingBudget(steps=5)
KINDS: list[Any] = [
    FaissMemoryConfig(),
    HybridMemoryConfig(),
    LexicalMemoryConfig(),
    PairedMemoryConfig(ffn=DenseConfig(width=8), training=SHORT),
    FFNMemoryConfig(ffn=DenseConfig(width=8), training=SHORT),
    SignMemoryConfig(features=65),
    StaticFunctionConfig(),
    FrequencyConfig(),
]


def written(config: Any, knowledge: KnowledgeSet) -> Any:
    memory = config.build(seed=0)
    if isinstance(memory, PairedMemory):
        memory.teach(knowledge.facts(statements=True))
    memory.write(knowledge.facts(statements=config.stores == "statements"))
    return memory


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.name)
def test_a_memory_that_is_replaced_while_it_is_loaded_is_loaded_again(
    config: Any, colours: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_new = colours(31, ["warm", "cold"])
    old, new = written(config, colours(60, ["red", "green", "blue"])), written(config, of_new)
    old.save(tmp_path / "store")
    module = sys.modules[type(old).__module__]
    read, was_replaced = module.load_values, []

    def replace_first(folder: Path, meta: Any) -> Any:
        if not was_replaced:
            was_replaced.append(True)
            new.save(folder)
        return read(folder, meta)

    monkeypatch.setattr(module, "load_values", replace_first)
    loaded = type(old).load(tmp_path / "store")
    assert was_replaced
    assert set(loaded._values.strings) == {"warm", "cold"}
    asked = of_new.ask("identical").queries
    assert (loaded.recall(asked).value_ids_QK == new.recall(asked).value_ids_QK).all()
    assert loaded.footprint() == new.footprint()
