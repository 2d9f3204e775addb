"""Measure every claim of a tier, each in a process of its own, and set the numbers beside the published ones."""

import math
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from retrieval.errors import UserError
from retromem.method import describe_machine, versions
from retromem.report.reproduction_page import write_reproduction
from retromem.reproduce.claim import Claim, Tier
from retromem.rows import ReproducedRow
from retromem.run_cells import prepare_workers

TIERS: tuple[Tier, ...] = get_args(Tier)


def claims_of(tier: str, *, limit_small: Path | None = None) -> list[Claim]:
    """Every claim of the tier; full holds the quick ones too. UserError for another name.

    `limit_small`: the folder with LIMIT-small, which is not ours to ship; without it its row is left out.
    """
    from retromem.reproduce import (
        elhage,
        faiss_bytes,
        gardner,
        hanin_rolnick,
        hopfield,
        independent_trial,
        krauth_mezard,
        limit_small_words,
        linsefors_bushnaq,
        moment_curve_sets,
        nichani,
        ribbon,
        weller,
        willshaw,
    )

    if tier not in TIERS:
        raise UserError(f"TIER={tier}: is no tier; name one of {', '.join(TIERS)}")
    of_weights = (
        nichani,
        linsefors_bushnaq,
        elhage,
        hanin_rolnick,
        hopfield,
        willshaw,
        gardner,
        krauth_mezard,
        independent_trial,
    )
    sources = (*of_weights, weller, moment_curve_sets, faiss_bytes, ribbon)
    claims = [claim for source in sources for claim in source.CLAIMS]
    claims += [limit_small_words.claim_for(limit_small)] if limit_small else []
    return [claim for claim in claims if tier == "full" or claim.tier == "quick"]


def named(claims: Sequence[Claim], words: str) -> list[Claim]:
    """Those whose source or setting holds the words, in any case; UserError where there is none."""
    found = [claim for claim in claims if words.casefold() in f"{claim.source}, {claim.setting}".casefold()]
    if not found:
        sources = ", ".join(dict.fromkeys(claim.source for claim in claims))
        raise UserError(
            f"ONLY={words}: is in no source or setting of this tier (TIER=full has more); sources are {sources}"
        )
    return found


def measured(claim: Claim) -> ReproducedRow:
    """The claim beside our number, or beside the reason why there is none."""
    warnings.filterwarnings("ignore", module="lightning")  # loaders and workers that are meant
    start, ours, reason = time.perf_counter(), None, ""
    try:
        ours = float(claim.measure())
    except Exception:
        reason = traceback.format_exc(limit=-3)
    return _row(claim, ours=ours, seconds=time.perf_counter() - start, reason=reason)


_KILLED = "The pool of workers broke before this number was there; run the command again."


def _row(claim: Claim, *, ours: float | None = None, seconds: float = 0.0, reason: str = "") -> ReproducedRow:
    return ReproducedRow(
        source=claim.source,
        setting=claim.setting,
        published=claim.published,
        ours=ours,
        ratio=None if ours is None or not claim.published else ours / claim.published,
        passes=ours is not None and math.isfinite(ours) and claim.band[0] <= ours <= claim.band[1],
        unit=claim.unit,
        low=claim.band[0],
        high=claim.band[1],
        tier=claim.tier,
        seconds=seconds,
        reason=reason,
    )


def reproduce(
    claims: Sequence[Claim], folder: Path, *, command: str, num_workers: int, say: Callable[[str], None]
) -> list[ReproducedRow]:
    """Measure, say each number as it comes, write table, page and results.csv; rows in the order of the claims."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    start = time.perf_counter()
    seconds = sum(claim.seconds_expected for claim in claims) / num_workers
    say(f"{len(claims)} published numbers, about {max(1, round(seconds / 60))} min in {num_workers} processes")
    prepare_workers()
    longest_first = sorted(range(len(claims)), key=lambda number: -claims[number].seconds_expected)
    pool = Parallel(n_jobs=max(2, num_workers), pre_dispatch=num_workers, batch_size=1, return_as="generator_unordered")
    found: dict[int, ReproducedRow] = {}
    try:
        for number, row in pool(delayed(_numbered)(number, claims[number]) for number in longest_first):
            found[number] = row
            say(f"  {len(found)}/{len(claims)} {said(row)}")
    except BrokenProcessPool:
        say("  a worker process was killed (out of memory?): the numbers that are missing count as failed")
    rows = [found.get(number) or _row(claims[number], reason=_KILLED) for number in range(len(claims))]
    method = {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        **describe_machine(),
        "versions": ", ".join(f"{package} {version}" for package, version in versions().items()),
        "seconds": f"{time.perf_counter() - start:.0f} in {num_workers} processes",
    }
    write_reproduction(rows, folder, method=method)
    return rows


def _numbered(number: int, claim: Claim) -> tuple[int, ReproducedRow]:
    return number, measured(claim)


def said(row: ReproducedRow) -> str:
    """One line."""
    ours = "no number" if row.ours is None else f"{row.ours:.4g}"
    verdict = "passes" if row.passes else "FAILS"
    return f"{verdict}: {row.source}, {row.setting}: {ours} against {row.published:g} {row.unit} ({row.seconds:.0f} s)"
