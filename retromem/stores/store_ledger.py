"""What `index build` prints of a store: how many bytes for what, and what was there before."""

from collections.abc import Sequence
from pathlib import Path

from retrieval.errors import UserError
from retrieval.sealed_folder import read_manifest


def ledger_line(part: str, num_bytes: int, names: Sequence[str]) -> str:
    """`storage_bytes 1,234 (index.faiss, payload.bin)`, in columns."""
    return f"  {part + '_bytes':<15} {num_bytes:>14,}  ({', '.join(names)})"


def instead_of(store: Path) -> str:
    """What is about to be replaced, for the line that says what was built; empty where nothing is there."""
    try:
        own = read_manifest(store)["meta"].get("store", {})
    except UserError:
        return ""
    return f", in place of a store of {own.get('num_chunks', 0):,} chunks that was there"
