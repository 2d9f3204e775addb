"""Where the facts of a study come from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from os import stat
from pathlib import Path
from typing import Literal

from retrieval.errors import UserError
from retromem.knowledge.biographies import BiographiesConfig, biographies_set
from retromem.knowledge.cities import CITY_WORDINGS, cities, city_timezones
from retromem.knowledge.fact_columns import parse_columns
from retromem.knowledge.fact_files import read_facts
from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.from_table import text_set
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.near_duplicates import NearDuplicatesConfig, near_duplicates_set
from retromem.knowledge.random_keys import KeysConfig, TokenPairsConfig, keys_set, token_pairs_set
from retromem.knowledge.wordings import (
    Wordings,
    check_covers,
    drop_value_in_wording,
    generic_wordings,
    read_wordings,
)


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Facts in wordings: cities and their countries or time zones, or the user's own file."""

    source: Literal["cities", "city_timezones", "file"]
    file: str | None = None
    """CSV, TSV, JSON or Parquet with subject, relation, value, packed or not, a folder of such files, or
    `hf:org/name[:config][@split]` (source: file)"""
    name: str | None = None
    """of the set, in the report; that of the file where empty (source: file)"""
    phrasings: str | None = None
    """YAML or JSON with the wordings of each relation; generic ones where empty (source: file)"""
    columns: tuple[str, ...] = ()
    """`ours=theirs` for columns of the file with other names, `relation="text"` for one of all rows, or the places of
    subject, relation and value in a file without a header (source: file)"""
    num_written: int = 1
    """W, wordings a fact is written in"""
    pool: int | None = None
    """wordings dealt to the facts, at most; all that may be written where empty"""
    max_calibration: int = 512
    """questions that fit (T, eps), at most"""
    seed: int = 0
    """of the one shuffle, and of the dealing of wordings"""


KnowledgeConfig = TextConfig | KeysConfig | TokenPairsConfig | BiographiesConfig | NearDuplicatesConfig


def build_knowledge(config: KnowledgeConfig, *, several_values: bool = False) -> KnowledgeSet:
    """The whole set, without keys of any encoder; built once as long as its files stay what they are.

    `several_values`: a subject of the user's file keeps all of its values, for an index that is no part of a
    comparison. UserError for whatever is wrong with a user's file.
    """
    files = (config.file, config.phrasings) if isinstance(config, TextConfig) else ()
    return _built(config, tuple(_last_change(file) for file in files if file), several_values)


def _last_change(file: str) -> tuple[int, int] | None:
    """None where there is no such file, which its reader will say."""
    try:
        found = stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=4)
def _built(
    config: KnowledgeConfig, last_changes: tuple[tuple[int, int] | None, ...], several_values: bool
) -> KnowledgeSet:
    if isinstance(config, KeysConfig):
        return keys_set(config)
    if isinstance(config, TokenPairsConfig):
        return token_pairs_set(config)
    if isinstance(config, BiographiesConfig):
        return biographies_set(config)
    if isinstance(config, NearDuplicatesConfig):
        return near_duplicates_set(config)
    table, wordings = _table(config, several_values)
    return text_set(
        drop_value_in_wording(table, wordings),
        wordings,
        num_written=config.num_written,
        pool=config.pool,
        max_calibration=config.max_calibration,
        seed=config.seed,
        several_values=several_values,
    )


def _table(config: TextConfig, several_values: bool) -> tuple[FactTable, Mapping[str, Wordings]]:
    if config.source == "cities":
        return cities(), CITY_WORDINGS
    if config.source == "city_timezones":
        return city_timezones(), CITY_WORDINGS
    if config.file is None:
        raise UserError("a study with `source: file` needs `file:`, the path of its facts (make report FACTS=...)")
    table = read_facts(config.file, columns=parse_columns(config.columns), several_values=several_values)
    table = replace(table, name=config.name or table.name)
    relations = sorted(set(table.relations))
    if config.phrasings is None:
        return table, {relation: generic_wordings(relation) for relation in relations}
    wordings = read_wordings(Path(config.phrasings))
    check_covers(wordings, relations, Path(config.phrasings))
    repeated = sum(wordings[relation].num_repeated for relation in relations)
    if repeated:
        table = replace(table, notes=(*table.notes, f"{repeated} question wordings repeat others and were left out"))
    return table, wordings
