"""A user's own documents: text files, or a folder of them."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import UserError
from retromem.knowledge.text_files import decoded, files_below

SUFFIXES = (".txt", ".text", ".md", ".markdown")
"""in capitals too"""


@dataclass(frozen=True, kw_only=True)
class Documents:
    """In the order of their names."""

    names: tuple[str, ...]
    """paths within the folder"""
    texts: tuple[str, ...]
    """without byte-order marks, which are no part of a text"""
    num_left_out: dict[str, int]
    """ending -> files of the folder that are of another kind, or without any text"""

    @property
    def remarks(self) -> list[str]:
        """What was not read, for people."""
        listed = ", ".join(f"{count:,} {ending}" for ending, count in sorted(self.num_left_out.items()))
        return [f"left out: {listed} (read are {', '.join(SUFFIXES)} files with some text)"] if listed else []


def _name(path: Path) -> str:
    """In UTF-8 whatever the locale; bytes that are none are shown as numbers."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")


def read_documents(path: Path) -> Documents:
    """One file, or all text and Markdown files of a folder and its folders, linked ones too, hidden ones left out.

    Raises:
        UserError: nothing is there, a file is no UTF-8, or there is no text in any.
    """
    if path.is_dir():
        files = files_below(path)
        names = [_name(file.relative_to(path)) for file in files]
    else:
        if path.suffix.lower() not in SUFFIXES and path.exists():
            raise UserError(f"{path}: is no {', '.join(SUFFIXES)} file; save it as text, facts are given by --facts")
        files, names = [path], [_name(Path(path.name))]
    texts: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for name, file in zip(names, files, strict=True):
        if path.is_dir() and not file.is_file():
            left_out["dead links" if file.is_symlink() else "no files"] += 1
            continue
        if file.suffix.lower() not in SUFFIXES and file != path:
            left_out[file.suffix.lower() or "without ending"] += 1
            continue
        try:
            text = decoded(file.read_bytes(), file).replace("\ufeff", "")
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror}; name a text file or a folder") from None
        if text.strip():
            texts[name] = text
        else:
            left_out["empty"] += 1
    found = Documents(names=tuple(texts), texts=tuple(texts.values()), num_left_out=dict(left_out))
    if not texts:
        said = f"; {found.remarks[0]}" if left_out else ""
        raise UserError(f"{path}: holds no text; wanted are {', '.join(SUFFIXES)} files with some{said}")
    return found
