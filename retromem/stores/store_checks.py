"""What a store says of itself: whether its files are those that were written, and how many vectors it finds again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.errors import UserError
from retrieval.generations import while_written
from retrieval.sealed_folder import strangers, verify_sealed


def verify_store(store: Path) -> str:
    """Sizes and hashes of every file; UserError that names the first wrong one, or one that is not the store's."""

    def verified() -> dict[str, Any]:
        manifest = verify_sealed(store)
        if others := strangers(store, manifest):
            raise UserError(
                f"{store / others[0]}: is not in the manifest; the store is whole without it, so move it away"
            )
        return manifest

    manifest = while_written(store, verified)
    total = sum(entry["bytes"] for entry in manifest["files"].values())
    whole = f"{store}: whole; {len(manifest['files'])} files, {total:,} bytes, every sha256 as written"
    return "\n".join([whole, *self_test(manifest)])


def self_test(manifest: Mapping[str, Any]) -> list[str]:
    """What the manifest of a chunk store says of its indexes; other kinds have none."""
    own = manifest["meta"].get("store")
    if own is None:
        return []
    tests = [segment["self_test"] for segment in own["segments"]]
    sampled, found = sum(test["sampled"] for test in tests), sum(test["found"] for test in tests)
    return [
        f"  self-test: recall@1 {found / sampled:.3f} ({found:,} of {sampled:,} stored vectors that were asked for"
        f" themselves), {own['num_chunks']:,} chunks of {own['dim']} dimensions in {own['index']['factory']}"
        + (f", and {own['num_deleted']:,} deleted ones that a compaction would remove" if own["num_deleted"] else "")
    ]
