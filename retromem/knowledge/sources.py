"""Where the facts of a study come from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from os import stat
from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

from retrieval.errors import UserError
from retromem.configuration import is_of_others
from retromem.knowledge.cities import CITY_WORDINGS, cities, city_timezones
from retromem.knowledge.fact_columns import parse_columns
from retromem.knowledge.fact_files import read_facts
from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.from_table import text_set
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.label_noise import LabelNoise
from retromem.knowledge.wordings import (
    Wordings,
    check_covers,
    drop_value_in_wording,
    generic_wordings,
    read_wordings,
)


@runtime_checkable
class KnowledgeSource(Protocol):
    """The config of a knowledge set: a frozen dataclass whose field `source` names it. Its fields say all of the set:
    equal ones give equal sets."""

    @property
    def source(self) -> str: ...

    def __hash__(self) -> int: ...

    def build(self) -> KnowledgeSet:
        """The whole set, without keys of any encoder. UserError for what is wrong with a user's file."""
        ...


@dataclass(frozen=True, kw_only=True)
class TextConfig(LabelNoise):
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

    def build(self, *, several_values: bool = False) -> KnowledgeSet:
        """The whole set. `several_values`: a subject of the user's file keeps all of its values, for an index that is
        no part of a comparison."""
        table, wordings = _table(self, several_values)
        knowledge = text_set(
            drop_value_in_wording(table, wordings),
            wordings,
            num_written=self.num_written,
            pool=self.pool,
            max_calibration=self.max_calibration,
            seed=self.seed,
            several_values=several_values,
        )
        return knowledge.with_label_noise(self.label_noise)


SOURCES: Mapping[str, str] = {
    **dict.fromkeys(("cities", "city_timezones", "file"), "retromem.knowledge.sources:TextConfig"),
    "keys": "retromem.knowledge.random_keys:KeysConfig",
    "token_pairs": "retromem.knowledge.random_keys:TokenPairsConfig",
    "biographies": "retromem.knowledge.biographies:BiographiesConfig",
    "near_duplicates": "retromem.knowledge.near_duplicates:NearDuplicatesConfig",
}
"""`module:Class` by `source`"""

KnowledgeConfig = Annotated[KnowledgeSource, "source", "retromem.knowledge.sources:SOURCES"]


def build_knowledge(config: KnowledgeConfig) -> KnowledgeSet:
    """The whole set, without keys of any encoder; built once as long as its files stay what they are."""
    files = (config.file, config.phrasings) if isinstance(config, TextConfig) else ()
    return _built(config, tuple(_last_change(file) for file in files if file))


@lru_cache(maxsize=16)
def _built(config: KnowledgeConfig, last_changes: tuple[tuple[int, int] | None, ...]) -> KnowledgeSet:
    try:
        return config.build()
    except Exception as error:
        if isinstance(error, UserError) or not is_of_others(config):
            raise
        raise UserError(f"{config.source}: its build fails ({type(error).__name__}: {error})") from error


def _last_change(file: str) -> tuple[int, int] | None:
    """None where there is no such file, which its reader will say."""
    try:
        found = stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


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
