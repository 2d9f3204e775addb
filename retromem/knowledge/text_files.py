"""A user's file as bytes or as text: packed or not, on this machine or wherever a data set has it."""

import bz2
import codecs
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from retrieval.errors import UserError

PACKED = (".gz", ".bz2", ".xz", ".zst")
"""endings of packed files; how one is packed, its content says"""


def unpacked_name(name: str) -> str:
    """`facts.csv.gz` -> `facts.csv`."""
    return Path(name).with_suffix("").as_posix() if name.lower().endswith(PACKED) else name


def read_bytes(file: Path | str) -> bytes:
    """A file's content, unpacked when it is gzip, bzip2, xz or zstd; `file` may be an address as data sets have them.

    Raises UserError for a file that is missing, a folder, unreadable or damaged.
    """
    try:
        if "://" in str(file):
            import fsspec

            with fsspec.open(str(file), "rb") as opened:
                content: bytes = opened.read()
        else:
            content = Path(file).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file") from None
    except IsADirectoryError:
        raise UserError(f"{file} is a folder; give a file in it") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None
    for magic, (kind, unpack) in _PACKERS.items():
        if content.startswith(magic):
            try:
                return unpack(content)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
                raise UserError(f"{file} is a damaged or truncated {kind} file; make or fetch it again") from None
    return content


def files_below(folder: Path) -> list[Path]:
    """Whatever lies in a folder and its folders and is none itself, by name: links without an aim too, and what lies in
    folders that are linked, each folder once. What is hidden by a dot is left out.
    """
    found: list[Path] = []
    seen: set[str] = set()
    waiting, linked = [folder], list[Path]()
    while waiting or linked:
        place = waiting.pop() if waiting else linked.pop(0)  # a folder's own place comes before links to it
        if (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        for path in sorted(place.iterdir()):
            if path.name.startswith("."):
                continue
            if not path.is_dir():
                found.append(path)
            elif path.is_symlink():
                linked.append(path)
            else:
                waiting.append(path)
    return sorted(found)


def read_text(file: Path | str) -> str:
    """A UTF-8 file as text, unpacked, without a byte-order mark; UserError as of `read_bytes` and `decoded`."""
    return decoded(read_bytes(file), file)


def decoded(content: bytes, file: Path | str) -> str:
    """UTF-8 as text, without a byte-order mark; UserError with the line of what is none."""
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        line = before.count(b"\n") + 1
        raise UserError(
            f"{file}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def _unpack_zstd(content: bytes) -> bytes:
    import pyarrow

    unpacked: bytes = pyarrow.CompressedInputStream(pyarrow.BufferReader(content), "zstd").read()
    return unpacked


_PACKERS: Mapping[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": ("gzip", gzip.decompress),
    b"BZh": ("bzip2", bz2.decompress),
    b"\xfd7zXZ\x00": ("xz", lzma.decompress),
    b"\x28\xb5\x2f\xfd": ("zstd", _unpack_zstd),
}
