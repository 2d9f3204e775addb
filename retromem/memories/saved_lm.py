"""The language model of a saved memory, whatever that reads beside it."""

from pathlib import Path

from retrieval.errors import UserError
from retrieval.sealed_folder import MANIFEST, read_manifest
from retromem.memories.causal_lm_memory import CausalLMMemory
from retromem.memories.written_lm import WrittenLM


def saved_lm(folder: Path) -> WrittenLM:
    """UserError for a folder that holds no memory of a language model."""
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder}: holds no memory: causal_lm; `memory.save(folder)` writes one, and runs keep none")
    manifest = read_manifest(folder)
    if manifest["kind"] == CausalLMMemory.kind:
        return CausalLMMemory.load(folder).written
    if manifest["meta"].get("extra", {}).get("memory") == "causal_lm":
        from retromem.memories.reading_lm_memory import ReadingLMMemory

        return ReadingLMMemory.load(folder).written
    raise UserError(f"{folder}: is a {manifest['kind']}, and what is wanted is a saved memory: causal_lm")
