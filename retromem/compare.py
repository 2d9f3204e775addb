"""The comparison from Python: a knowledge set, a few memories, rows as a table.

from models.ffn_kinds import DenseConfig
from retromem.compare import compare
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig

weights = FFNMemoryConfig(ffn=DenseConfig(kind="gelu", width=32))
rows = compare(keys_set(KeysConfig()), [weights, FaissMemoryConfig()], num_facts=[256])
pandas.DataFrame(rows)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from retrieval.embedding_cache import EmbeddingCache, users_embeddings
from retrieval.encoder_config import EncoderConfig
from retrieval.errors import UserError
from retrieval.given_encoder import Encodes, as_encoder
from retromem.knowledge.cities import spare_city_names
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.text_keys import CachedTextKeys, TextCollector
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.search_bounds import refuse_search
from retromem.measure.settings import MeasureConfig, SmallestSearch
from retromem.measure.smallest_search import find_smallest
from retromem.memories.dial import dial_of
from retromem.rows import Row, SmallestRow
from retromem.seam import MemoryConfig, needs_keys


def compare(
    knowledge: KnowledgeSet,
    memories: Sequence[MemoryConfig],
    *,
    num_facts: Sequence[int],
    seeds: Sequence[int] = (0,),
    twins: Sequence[bool] = (False,),
    halves: bool = False,
    encoder: str | EncoderConfig | Encodes | None = None,
    measures: MeasureConfig | None = None,
    cache: Path | None = None,
) -> list[Row]:
    """Judge each memory on the same facts, questions and estimator, one after the other in this process.

    One row for each memory, size, seed, twin and phrasing. `halves` judges on half of the facts, as pairs need it: they
    are taught on the other half. `encoder`: a model's name or folder, its config, or any object with `encode`. `cache`:
    a folder for its vectors, that of the user's caches where empty. UserError where a size is larger than the set;
    Refused where an index cannot be trained on so few facts.
    """
    measures = measures or MeasureConfig()
    variants = [
        (knowledge.twin(seed=seed) if twin or knowledge.uniform else knowledge, seed)
        for twin in ((False,) if knowledge.uniform else twins)  # a twin of uniform values is another draw of them
        for seed in seeds
    ]
    prefixes = [(variant.prefix(size), seed) for variant, seed in variants for size in num_facts]
    cost = EncoderCost()
    if knowledge.text is not None and any(needs_keys(memory) for memory in memories):
        keys, cost = encoded(prefixes, memories, encoder, measures, cache, halves=halves)
        prefixes = [(prefix.with_keys(keys), seed) for prefix, seed in prefixes]
    rows: list[Row] = []
    for prefix, seed in prefixes:
        setting = Setting(study=knowledge.name, role="arm", seed=seed, halves=halves)
        for memory in memories:
            rows += judge(memory, prefix, setting=setting, measures=measures, encoder=cost).rows
    return rows


def smallest(
    knowledge: KnowledgeSet,
    family: MemoryConfig,
    *,
    num_facts: int,
    accuracy: float = 0.99,
    phrasing: Literal["identical", "heldout"] = "identical",
    seed: int = 0,
    twin: bool = False,
    encoder: str | EncoderConfig | Encodes | None = None,
    measures: MeasureConfig | None = None,
    cache: Path | None = None,
) -> SmallestRow:
    """The fewest storage bytes in which a memory of this family answers the first N facts so well, by a search.

    `family`: a memory whose dial is left open, such as `FaissMemoryConfig(factory="LSH", rotate_to=24)`. `accuracy`: of
    the questions as they were written (`identical`), or paraphrased (`heldout`). UserError for a family without a
    dial, for too few questions and for bounds that cannot hold the facts.
    """
    if dial_of(family) is None:
        raise UserError(f"{family.name} has no dial, so there is no smallest of its family")
    measures = measures or MeasureConfig()
    search = SmallestSearch(accuracy=accuracy, phrasing=phrasing)
    prefix = (knowledge.twin(seed=seed) if twin or knowledge.uniform else knowledge).prefix(num_facts)
    cost = EncoderCost()
    if knowledge.text is not None:
        keys, cost = encoded([(prefix, seed)], [family], encoder, measures, cache, halves=False)
        prefix = prefix.with_keys(keys)
    dim = prefix.ask("identical", num=1).queries.key_vectors().shape[1]
    refuse_search(search, [family], prefix, dim=dim, measures=measures, path=knowledge.name)
    setting = Setting(study=knowledge.name, role="arm", seed=seed)
    return find_smallest(family, prefix, search, setting=setting, measures=measures, encoder=cost)[1]


def encoded(
    prefixes: Sequence[tuple[KnowledgeSet, int]],
    memories: Sequence[MemoryConfig],
    given: str | EncoderConfig | Encodes | None,
    measures: MeasureConfig,
    folder: Path | None,
    *,
    halves: bool,
) -> tuple[CachedTextKeys, EncoderCost]:
    """Keys of all that these prefixes will be taught, written and asked, by a cache in `folder`; and their cost."""
    names = spare_city_names()
    cache, encoder = EmbeddingCache(folder or users_embeddings()), as_encoder(given)
    collector = TextCollector(names, encoder.prompts)
    statements = any(memory.stores == "statements" for memory in memories)
    for prefix, seed in prefixes:
        collect_texts(prefix.with_keys(collector), measures, statements=statements, halves=halves, seed=seed)
    cache.encode_missing(encoder, collector.texts)
    keys = CachedTextKeys(cache, encoder.content_hash, centred=True, names_off_the_set=names, prompts=encoder.prompts)
    cost = EncoderCost(
        seconds_per_text=cache.seconds_per_text(encoder.content_hash),
        single_text_ms=encoder.single_text_ms(collector.texts[:60]),
        file_bytes=encoder.file_bytes,
    )
    return keys, cost


def collect_texts(
    knowledge: KnowledgeSet, measures: MeasureConfig, *, statements: bool, halves: bool, seed: int
) -> None:
    """Go through all that will be taught, written and asked, so that the collector behind the set notes its texts."""
    if halves:
        taught, knowledge = knowledge.split(0.5, seed=seed)
        taught.facts(statements=True)  # learnt from, and never asked
    knowledge.facts(statements=statements)
    for phrasing in knowledge.phrasings():
        knowledge.ask(phrasing, num=measures.most(phrasing))
