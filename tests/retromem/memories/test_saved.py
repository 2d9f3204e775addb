"""What is loaded is one store, whoever writes in its place meanwhile."""

import json
import sys
import zlib
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
from retromem.memories.saved import SavedFiles, load_calibration, load_values, values_name
from retromem.memories.sign_memory import SignMemoryConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.memories.willshaw_memory import WillshawMemoryConfig
from retromem.seam import Facts, Holding, Part, ValueTable

SHORT = TrainingBudget(steps=5)
KINDS: list[Any] = [
    FaissMemoryConfig(),
    HybridMemoryConfig(),
    LexicalMemoryConfig(),
    PairedMemoryConfig(ffn=DenseConfig(width=8), training=SHORT),
    FFNMemoryConfig(ffn=DenseConfig(width=8), training=SHORT),
    SignMemoryConfig(features=65),
    WillshawMemoryConfig(cue_units=65),
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
    module = next(sys.modules[one.__module__] for one in type(old).__mro__ if "load" in vars(one))
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


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.name)
def test_ten_answers_are_given_where_nobody_says_how_many(config: Any, toys: Facts) -> None:
    memory = config.build(seed=0)
    if isinstance(memory, PairedMemory):
        memory.teach(toys)
    memory.write(toys)
    ten = memory.recall(toys.cues[0])
    assert ten.value_ids_QK.shape == ten.log_probs_QK.shape == (11, 10)
    assert ten.scored_QC.shape == (11, 0)
    five = memory.recall(toys.cues[0], top_k=5)
    assert (ten.value_ids_QK[:, :5] == five.value_ids_QK).all() and (ten.value_ids_QK[:, 5:] == -1).all()


def test_the_lines_of_a_saved_memory_are_its_files(tmp_path: Path) -> None:
    """Files with and without parameters; names of no value; a calibration or none."""
    named = ValueTable(strings=("é", "b"), relations=("r",), starts=(0, 2))
    nameless = ValueTable(strings=None, relations=("r", "s"), starts=(0, 2, 7))
    for values, calibration, content in ((named, b"", b'["\\u00e9", "b"]'), (nameless, b"1234", b"")):
        files = SavedFiles("toy", {"seed": 5, "starts": (1, 2)}, values, calibration)
        files.add("one.bin", Part.STORAGE, b"x" * 9, num_params=4)
        files.add("two.bin", Part.MAINTAIN, b"y" * 5, num_params=6, num_active_params=2)
        folder = tmp_path / str(len(calibration))
        files.write(folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["kind"] == "toy"
        # What values the memory has is noted by the memory's own table.
        assert manifest["meta"] == {"seed": 5, "relations": list(values.relations), "starts": list(values.starts)}
        written_values = (folder / "values.json.zlib").read_bytes()
        assert (zlib.decompress(written_values) if content else written_values) == content
        lines = [Holding(name="values.json.zlib", part=Part.VALUE, num_bytes=len(written_values))]
        if calibration:
            lines.append(Holding(name="calibration.bin", part=Part.STORAGE, num_bytes=4))
        size = (folder / "manifest.json").stat().st_size
        lines += [
            Holding(name="one.bin", part=Part.STORAGE, num_bytes=9, num_params=4, num_active_params=4),
            Holding(name="two.bin", part=Part.MAINTAIN, num_bytes=5, num_params=6, num_active_params=2),
            Holding(name="manifest.json", part=Part.MAINTAIN, num_bytes=size),
        ]
        footprint = files.footprint(seeded_bytes=31, resident_bytes=8)
        assert footprint.holdings == (*lines, Holding(name="from a seed", part=Part.SEEDED, num_bytes=31))
        assert footprint.resident_bytes == 8 and files.footprint().resident_bytes is None
        assert load_values(folder, manifest["meta"]) == values
        assert load_calibration(folder) == calibration
        assert values_name(folder) == "values.json.zlib"
