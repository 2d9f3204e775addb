"""Data sets, of the Hugging Face hub or of a local folder: which files hold the rows that are asked for.

The library says which files a config and a split are made of; our own readers read them, so that a table is the same
strings with `hf:` before it and without. What they cannot read, the library streams.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from retrieval.errors import UserError
from retromem.knowledge.arrow_rows import Labels, ReadFile, arrow_rows, named, one_line
from retromem.knowledge.configured_rows import configured_reader, is_usual
from retromem.knowledge.fact_columns import Columns, Row
from retromem.knowledge.text_files import files_below

HUB = "hf:"
_REFERENCE = re.compile(r"(?P<place>[^@]+?)(?::(?P<config>[^@:/]+))?(?:@(?P<split>[^@]+))?")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """`hf:place[:config][@split]`, taken apart; a place that is there may hold any sign."""

    text: str
    place: str
    config: str | None = None
    split: str | None = None

    @property
    def name(self) -> str:
        return Path(self.place).name or Path(self.place).resolve().name


def parse_reference(text: str) -> Reference:
    """UserError where it reads otherwise."""
    rest = text.removeprefix(HUB)
    ends = [len(rest), *(found.start() for found in re.finditer("[:@]", rest))]
    for end in sorted(ends, reverse=True):
        place, found = rest[:end], re.fullmatch(r"(?::([^:@/]+))?(?:@([^/]+))?", rest[end:])
        if found is not None and place and os.path.exists(place):
            return Reference(text=text, place=place, config=found[1], split=found[2])
    found = _REFERENCE.fullmatch(rest)
    if found is None:
        raise UserError(f"{text}: should read hf:org/name[:config][@split], or hf:folder[@split]")
    if rest.startswith(("/", ".", "~")):
        raise UserError(f"{text}: there is no such folder")
    return Reference(text=text, **found.groupdict())


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` has written it."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def dataset_rows(
    reference: Reference, columns: Columns, read_file: ReadFile, can_read: Callable[[str], bool]
) -> tuple[Iterator[Row], list[str]]:
    """Every row, and remarks. Without a split: `train`, or the only one there is.

    `read_file`: our own reader, of files whose names `can_read` knows. UserError, one line, for whatever cannot be had.
    """
    try:
        if is_saved(Path(reference.place)):
            return _saved(reference, columns)
        return _of_builder(reference, columns, read_file, can_read)
    except UserError:
        raise
    except Exception as error:  # of the hub, of the network, of a builder: each has its own
        raise UserError(f"{reference.text} cannot be read: {one_line(error)}") from None


def _saved(reference: Reference, columns: Columns) -> tuple[Iterator[Row], list[str]]:
    from datasets import DatasetDict, load_from_disk

    found = load_from_disk(reference.place)
    remarks: list[str] = []
    if isinstance(found, DatasetDict):
        split, remarks = _split(reference, list(found))
        found = found[split]
    elif reference.split is not None:
        raise UserError(f"{reference.text}: was saved without splits; leave @{reference.split} out")
    tables = found.with_format("arrow").iter(batch_size=1000)
    batches = (batch for table in tables for batch in table.to_batches())
    return arrow_rows(reference.text, batches, columns, _labels(found.features)), remarks


def _of_builder(
    reference: Reference, columns: Columns, read_file: ReadFile, can_read: Callable[[str], bool]
) -> tuple[Iterator[Row], list[str]]:
    from datasets import get_dataset_config_names, load_dataset_builder

    with _plainly_named(Path(reference.place)) as place:
        try:
            builder = load_dataset_builder(place, reference.config)
        except ValueError as error:
            if not str(error).startswith("Config name is missing"):
                raise
            configs = get_dataset_config_names(place)
            raise UserError(
                f"{reference.text}: has the configs {', '.join(configs)}; name one, such as "
                f"{HUB}{reference.place}:{configs[0]}"
            ) from None
        config, labels = builder.config, _labels(builder.info.features)
        files_of = {
            str(split): [file if "://" in file else str(Path(file).resolve()) for file in files]
            for split, files in (config.data_files or {}).items()
        }
        own = files_of and all(can_read(file) for files in files_of.values() for file in files)
        reader = (read_file if is_usual(config) else configured_reader(config)) if own else None
        if reader is not None:
            split, remarks = _split(reference, list(files_of))
            return (row for file in files_of[split] for row in reader(file, columns, labels)), remarks
        all_rows: Any = builder.as_streaming_dataset()
        split, remarks = _split(reference, list(all_rows))
        return _streamed(reference, all_rows[split]), remarks


def _streamed(reference: Reference, rows: Any) -> Iterator[Row]:
    try:
        labels = _labels(rows.features)
        for number, record in enumerate(rows, start=1):
            with_names = {name: named(record[name], names) for name, names in labels.items()}
            yield f"{reference.text}, row {number}", {**record, **with_names}
    except Exception as error:
        raise UserError(f"{reference.text} cannot be read: {one_line(error)}") from None


def _split(reference: Reference, splits: Sequence[str]) -> tuple[str, list[str]]:
    """The one that is read, and a remark about others."""
    split = reference.split or ("train" if "train" in splits else splits[0])
    others = [other for other in splits if other != split]
    if split not in splits or (others and reference.split is None and split != "train"):
        config = f":{reference.config}" if reference.config else ""
        such = f"{HUB}{reference.place}{config}@{splits[0]}"
        raise UserError(f"{reference.text}: has the splits {', '.join(splits)}; name one, such as {such}")
    unread = others if reference.split is None else []
    return split, [f"splits that were not read: {', '.join(unread)}"] if unread else []


def _labels(features: Any) -> Labels:
    """Columns of numbers that stand for names."""
    from datasets import ClassLabel

    return {name: feature.names for name, feature in (features or {}).items() if isinstance(feature, ClassLabel)}


@contextmanager
def _plainly_named(place: Path) -> Iterator[str]:
    """The library reads [ ] * ? in a folder's name as a pattern, and no folders that are linked: then the files are
    shown to it in another folder.
    """
    is_linked = place.is_dir() and any(path.is_symlink() and path.is_dir() for path in place.rglob("*"))
    if not is_linked and not (place.is_dir() and re.search(r"[][*?]", str(place.resolve()))):
        yield str(place)
        return
    with TemporaryDirectory() as other:
        for file in files_below(place):
            if file.is_file():
                link = Path(other) / file.relative_to(place)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.resolve())
        yield other
