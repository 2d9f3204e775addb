"""A lexical memory's texts come back as they were, whatever ends a line elsewhere."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from retromem.memories.lexical_memory import LexicalMemory, LexicalMemoryConfig


def test_a_carriage_return_in_a_text_ends_none(colours: Any, tmp_path: Path) -> None:
    facts = colours(5, ["red", "green"]).facts()
    texts = [f"thing{row}\r\u2028of red" for row in range(5)]
    memory = LexicalMemoryConfig().build(seed=0)
    memory.write(replace(facts, cues=(replace(facts.cues[0], texts=texts),)))
    memory.save(tmp_path / "store")
    loaded = LexicalMemory.load(tmp_path / "store")
    assert loaded._texts == texts
    assert loaded.footprint() == memory.footprint()
