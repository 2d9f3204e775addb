"""The dial of an index of one code a vector: the dimensions that the vectors are rotated to, and with them the bits."""

import math
import re

from retromem.memories.dial import Dial, Load

_HIGHEST = 4096
_PRODUCT = re.compile(r"PQ(\d+)x(\d+)(np|fs)?")
_WRITTEN_BITS, _REWORDED_BITS = 8, 16
"""a code has about so many more than it takes to count the facts, where it is asked as written and paraphrased"""


def dial_of_index(factory: str, rotate_to: int | None) -> Dial | None:
    """None without a rotation, and for codes of a size of their own (`LSH24`, product codes inside of lists or graphs).

    The parts of a product code grow with the dimensions: each part keeps as many of them.
    """
    if rotate_to is None:
        return None
    if _PRODUCT.fullmatch(factory):
        a_part = _dims_of_a_part(factory, rotate_to)
        return Dial(name="rotate_to", low=a_part, high=_HIGHEST // a_part * a_part, step=a_part) if a_part else None
    fixes_its_bits = re.search(r"PQ|LSH\d|OPQ|PCA|RR\d", factory)
    return None if fixes_its_bits else Dial(name="rotate_to", low=1, high=_HIGHEST)


def turned_factory(factory: str, rotate_to: int | None, setting: int) -> str:
    """The index string for so many dimensions."""
    found = _PRODUCT.fullmatch(factory)
    if not found or rotate_to is None:
        return factory
    return f"PQ{setting // _dims_of_a_part(factory, rotate_to)}x{found[2]}{found[3] or ''}"


def searched_factory(factory: str) -> str:
    """The index string with `*` in place of what the dial changes."""
    return re.sub(r"^PQ\d+", "PQ*", factory)


def _dims_of_a_part(factory: str, rotate_to: int) -> int:
    """0 where the dimensions cannot be cut into so many parts."""
    found = _PRODUCT.fullmatch(factory)
    assert found
    num_parts = int(found[1])
    return 0 if num_parts == 0 or rotate_to % num_parts else rotate_to // num_parts


def code_bits(factory: str, rotate_to: int) -> int | None:
    """Bits of one vector's code; None for codes that are as good as the vectors."""
    found = _PRODUCT.fullmatch(factory)
    if found:
        return int(found[1]) * int(found[2])
    return rotate_to if factory == "LSH" else None


def first_rotation(factory: str, rotate_to: int, load: Load) -> float:
    """Dimensions of about as many bits as it takes to tell the facts apart."""
    bits = math.log2(load.num_facts + 1) + (_REWORDED_BITS if load.reworded else _WRITTEN_BITS)
    own = code_bits(factory, rotate_to)
    return rotate_to if own is None else bits * rotate_to / own


def most_bits_of_index(factory: str, rotate_to: int, load: Load) -> float:
    """Each code that there is can stand for one value of each relation."""
    bits = code_bits(factory, rotate_to)
    if bits is None or bits > 60:
        return math.inf
    return load.num_relations * 2.0**bits * math.log2(max(2, load.num_candidates))


def index_in_words(factory: str, rotate_to: int | None, bandwidth: float | None = None) -> str:
    """`24 random bits a vector`, `24 bits a vector: a code of 6 parts, vectors rotated to 48 dimensions`."""
    rotated = "" if rotate_to is None else f", vectors rotated to {rotate_to} dimensions"
    if bandwidth is not None:
        rotated = f", of {rotate_to} random waves"
    bits = None if rotate_to is None else code_bits(factory, rotate_to)
    if factory == "LSH" and bits:
        bits_text = f"{bits} random bits a vector" if bits > 1 else "1 random bit a vector"
        return bits_text if bandwidth is None else f"{bits_text}, signs of waves"
    found = _PRODUCT.fullmatch(factory)
    return (f"{bits} bits a vector: a code of {found[1]} parts" if found else factory) + rotated
