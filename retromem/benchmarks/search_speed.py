"""Searches for capacities and smallest memories beside plain bisection with whole trainings, in time and outcome.

The reference doubles from 16, halves its bracket, and trains every time to the last step, by autograd and torch.optim.
Ours begins at a law, chooses what to ask next by how the last training ended, ends a training that has succeeded or
will not, and steps as written out. The law and the bound that abandons were fitted on other kinds and dimensions
(`make bench ONLY=curves`).

One thread each, and the seconds that this thread ran: what else runs takes none of them.
"""

import csv
import io
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from itertools import chain
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from scipy import stats

from models.any_ffn import AnyFFNConfig
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig, LinearConfig, TopKConfig
from models.memory_kinds import ProductKeysConfig
from retrieval.atomic import write_text
from retrieval.embedding_cache import EMBEDDINGS
from retrieval.encoder_config import EncoderConfig
from retromem.benchmarks.in_turns import Timed
from retromem.benchmarks.search_pairs import Pair, capacity_pair, smallest_pair
from retromem.compare import encoded
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.measure.settings import MeasureConfig

Say = Callable[[str], None]

_KINDS: tuple[AnyFFNConfig, ...] = (
    LinearConfig(),
    DenseConfig(kind="relu"),
    GatedConfig(kind="swiglu"),
    TopKConfig(active_share=0.1),
    ExpertsConfig(experts=8, top_k=2),
    ProductKeysConfig(heads=4),
)
_SEEDS_OF_DIM = {"quick": {16: 5, 32: 1, 64: 1}, "full": {16: 10, 32: 5, 64: 5}}
"""a thousand facts are few: where success is noisy, five pairs tell no 3 %"""
_SEEDS_OF_CITIES = {"quick": 1, "full": 5}
_CITIES = 1000
_BAND = 0.03


def measure(say: Say, folder: Path, tier: str) -> Iterator[Timed]:
    """The pairs go to `folder`/search.csv as they come. Quick: five seeds of 16 inputs, one of 32, 64 and cities."""
    groups: list[list[Any]] = [
        [delayed(capacity_pair)(kind, dim, seed) for seed in range(num_seeds)]
        for dim, num_seeds in _SEEDS_OF_DIM[tier].items()
        for kind in _KINDS
    ]
    groups.append([delayed(smallest_pair)(facts, seed) for seed, facts in enumerate(_cities(_SEEDS_OF_CITIES[tier]))])
    found = Parallel(n_jobs=-1, return_as="generator")(chain.from_iterable(groups))
    pairs: list[Pair] = []
    for group in groups:
        own = [next(found) for _ in group]
        pairs += own
        _keep(pairs, folder)
        yield _timed(own[0].searched, own)
        say(_told(own))
    yield _timed("all of them", pairs)
    for unit in dict.fromkeys(pair.unit for pair in pairs):
        say(_told([pair for pair in pairs if pair.unit == unit]))


def _cities(num_seeds: int) -> list[KnowledgeSet]:
    """The twin of each seed, with its keys."""
    whole = build_knowledge(TextConfig(source="cities", num_written=1, pool=2, max_calibration=256))
    prefixes = [(whole.twin(seed=seed).prefix(_CITIES), seed) for seed in range(num_seeds)]
    keys, _ = encoded(prefixes, [], EncoderConfig(), MeasureConfig(), EMBEDDINGS, halves=False)
    return [prefix.with_keys(keys) for prefix, _ in prefixes]


def _keep(pairs: Sequence[Pair], folder: Path) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in fields(Pair)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(one) for one in pairs)
    write_text(folder / "search.csv", table.getvalue())


def _timed(searched: str, pairs: Sequence[Pair]) -> Timed:
    """Sums, for the longest searches are those that somebody waits for."""
    ours, reference = sum(one.seconds for one in pairs), sum(one.reference_seconds for one in pairs)
    return Timed(
        benchmark=f"{searched}, {len(pairs)} searches",
        ours="ours",
        reference="bisections with whole trainings",
        ours_ms=1e3 * ours,
        reference_ms=1e3 * reference,
        ratio=ours / reference,
        turns=len(pairs),
    )


def _told(pairs: Sequence[Pair]) -> str:
    def total(name: str) -> int:
        return sum(getattr(one, name) for one in pairs)

    ms, reference_ms = (
        1e3 * sum(getattr(one, f"{whose}seconds") for one in pairs) / total(f"{whose}steps")
        for whose in ("", "reference_")
    )
    false, succeeded = total("falsely_abandoned"), total("succeeded")
    share = false / max(1, false + succeeded)
    return (
        f"{'':12}{equivalence(pairs)}\n"
        f"{'':12}{total('trainings') / len(pairs):.1f} trainings a search, where the reference has "
        f"{total('reference_trainings') / len(pairs):.1f}, and "
        f"{total('steps') / total('reference_steps'):.3f} of its steps; {ms:.2f} ms a step, "
        f"{reference_ms:.2f} by autograd\n"
        f"{'':12}{total('abandoned')} trainings were abandoned, and {succeeded} succeeded; {false} of those abandoned "
        f"do so when they are trained to their end: {share:.1%} of all that would"
    )


def equivalence(pairs: Sequence[Pair]) -> str:
    """Whether both find the same: two one-sided t tests of the log ratio, at 5 %; one pair says nothing of it."""
    logs = [math.log(one.found / one.reference_found) for one in pairs]
    if len(logs) == 1:
        return f"{math.exp(logs[0]):.3f} times what the reference finds"
    mean, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    reach = float(stats.t.ppf(0.95, len(logs) - 1)) * error
    low, high = math.exp(mean - reach), math.exp(mean + reach)
    within = low > 1 - _BAND and high < 1 + _BAND
    return (
        f"{math.exp(mean):.3f} times what the reference finds (90 % interval {low:.3f} to {high:.3f}): "
        f"{'equivalent' if within else 'not shown to be equivalent'} within {_BAND:.0%}"
    )
