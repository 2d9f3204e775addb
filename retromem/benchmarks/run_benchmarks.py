"""Run the benchmarks, say each ratio as it comes, and keep them as a table."""

import csv
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from itertools import chain
from pathlib import Path

from retrieval.atomic import write_text
from retrieval.errors import UserError
from retromem.benchmarks import (
    decoder_speed,
    encoder_speed,
    engine_speed,
    index_cost,
    million_chunks,
    search_speed,
    step_speed,
    training_curves,
    training_speed,
)
from retromem.benchmarks.in_turns import Timed
from retromem.run.doctor import device_name
from retromem.run.method import describe_machine, versions

Say = Callable[[str], None]
_TIERS = ("quick", "full")
_BY_NAME_ALONE = ("search", "curves")
"""they take minutes to hours"""

_BENCHMARKS: dict[str, Callable[[Say, Path, str], Iterator[Timed]]] = {
    "index": lambda *_: index_cost.measure(),
    "encoder": lambda say, *_: encoder_speed.measure(say),
    "engines": lambda *_: engine_speed.measure(),
    "training": lambda *_: chain(step_speed.measure(), training_speed.measure()),
    "search": lambda say, folder, tier: chain(step_speed.measure(), search_speed.measure(say, folder, tier)),
    "curves": lambda say, _, tier: training_curves.measure(say, tier),
    "decoder": lambda *_: decoder_speed.measure(),
    "million": lambda say, *_: million_chunks.measure(say),
}


def run_benchmarks(only: str | None, folder: Path, *, say: Say, tier: str = "quick") -> list[Timed]:
    """All but the long ones, or one; results in `folder`/results.csv. UserError for a name that there is not."""
    if only is not None and only not in _BENCHMARKS:
        raise UserError(f"bench {only}: there is no such benchmark; name one of {', '.join(_BENCHMARKS)}")
    if tier not in _TIERS:
        raise UserError(f"TIER={tier}: is no tier; name one of {', '.join(_TIERS)}")
    about = {"date": time.strftime("%Y-%m-%d"), **describe_machine(), "gpu": device_name(), **versions()}
    for key, value in about.items():
        say(f"{key:<12} {value}")
    found: list[Timed] = []
    for name in [only] if only else [name for name in _BENCHMARKS if name not in _BY_NAME_ALONE]:
        for timed in _BENCHMARKS[name](say, folder, tier):
            found.append(timed)
            say(
                f"{timed.ratio:8.3f} x  {timed.benchmark}: {timed.ours} {timed.ours_ms:.3g} ms, "
                f"{timed.reference} {timed.reference_ms:.3g} ms"
            )
    if not found:
        return found
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in fields(Timed)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(timed) for timed in found)
    write_text(folder / "results.csv", table.getvalue())
    return found
