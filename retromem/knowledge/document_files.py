"""A user's own documents: text files, or a folder of them."""

from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import UserError

SUFFIXES = (".txt", ".md")


@dataclass(frozen=True, kw_only=True)
class Documents:
    """In the order of their names."""

    names: tuple[str, ...]
    """paths within the folder"""
    texts: tuple[str, ...]


def read_documents(path: Path) -> Documents:
    """One file, or all .txt and .md files of a folder and its folders, hidden ones left out.

    Raises:
        UserError: nothing is there, a file is no UTF-8, or there is no text in any.
    """
    if path.is_dir():
        files = sorted(file for suffix in SUFFIXES for file in path.rglob(f"*{suffix}") if file.is_file())
        files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        names = [file.relative_to(path).as_posix() for file in files]
    else:
        if path.suffix not in SUFFIXES and path.exists():
            raise UserError(f"{path}: is no {' or '.join(SUFFIXES)} file; facts are given by --facts")
        files, names = [path], [path.name]
    try:
        texts = [file.read_bytes().decode() for file in files]
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}; name a text file or a folder") from None
    except UnicodeDecodeError:
        broken = next(file for file in files if not _is_utf8(file))
        raise UserError(f"{broken}: is no UTF-8 text") from None
    if not any(text.strip() for text in texts):
        raise UserError(f"{path}: holds no text; wanted are {' and '.join(SUFFIXES)} files with some")
    return Documents(names=tuple(names), texts=tuple(texts))


def _is_utf8(file: Path) -> bool:
    try:
        file.read_bytes().decode()
    except UnicodeDecodeError:
        return False
    return True
