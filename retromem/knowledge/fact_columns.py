"""Which column of a user's file holds which part of a fact: by its name, by its place, or one text for all rows."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from retrieval.errors import UserError
from retromem.knowledge.names import tidied

REQUIRED = ("subject", "relation", "value")
OPTIONAL = ("popularity", "aliases")
Row = tuple[str, Mapping[str, object]]
"""where it stands, for messages, and its cells by column"""
_OUTSIDE_QUOTES = re.compile(r""",(?=(?:[^"]*"[^"]*")*[^"]*$)""")


def did_you_mean(name: str, known: list[str]) -> str:
    """'; did you mean 'x'?' for the nearest of the known names, '' where none is near."""
    by_fold = {candidate.casefold(): candidate for candidate in known}
    nearest = difflib.get_close_matches(name.casefold(), by_fold, n=1)
    return f"; did you mean '{by_fold[nearest[0]]}'?" if nearest else ""


def split_columns(text: str | None) -> tuple[str, ...]:
    """`subject=name,relation="capital of"` -> its parts; a comma in quotes parts nothing."""
    return tuple(part.strip() for part in _OUTSIDE_QUOTES.split(text)) if text else ()


def parse_columns(pairs: Sequence[str]) -> dict[str, str]:
    """`ours=theirs` each, or places alone, in turn of those of subject, relation and value that no other part names:
    ("1", "2", "3") or ("1", 'relation="capital of"', "2"), which may have lost its quotes in a shell.
    """
    places = [pair for pair in pairs if pair.isdecimal()]
    named = {pair.partition("=")[0].strip() for pair in pairs}
    columns = dict(zip([ours for ours in REQUIRED if ours not in named], places, strict=False))
    for pair in [*places[len(columns) :], *(pair for pair in pairs if not pair.isdecimal())]:
        ours, _, theirs = (part.strip() for part in pair.partition("="))
        if not theirs:
            raise UserError(f"columns: {ours!r} should read ours=theirs, such as subject=name")
        if ours in columns:
            raise UserError(f"columns: {ours!r} is given twice; give it once")
        is_text = bool(places) and ours in REQUIRED and not theirs.isdecimal() and theirs[0] not in "\"'"
        columns[ours] = f'"{theirs}"' if is_text else theirs
    return columns


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where the parts of a fact stand."""

    names: Mapping[str, str]
    """our name -> that of the file; without a header, its place, 1 for the first"""
    constants: Mapping[str, str] = field(default_factory=dict)
    """our name -> text of every row"""
    has_header: bool = True
    """False where columns are given by their places"""
    required: tuple[str, ...]
    """names of the file that must be there"""

    def missing_in(self, found: Iterable[str]) -> list[str]:
        """Of the required ones, those that are not there."""
        there = set(found)
        return [name for name in self.required if name not in there and name != self._unquoted_relation]

    @property
    def _unquoted_relation(self) -> str | None:
        """A relation of several words may be a quoted text whose quotes the shell has taken away."""
        relation = self.names.get("relation", "")
        return relation if self.has_header and " " in relation else None

    def cell(self, record: Mapping[str, object], ours: str) -> object:
        """What a row says; None where it has no such column."""
        if ours in self.constants:
            return self.constants[ours]
        name = self.names[ours]
        if name == self._unquoted_relation and ours == "relation" and name not in record:
            return name
        return record.get(name)

    def require(self, where: str, found: Sequence[str], *, advice: str = "") -> None:
        """UserError where a required column is missing among the found ones; with advice where none was found."""
        missing = self.missing_in(found)
        if not missing:
            return
        near = did_you_mean(missing[0], list(found))
        if not self.has_header:
            near = "; give the names of its columns in place of their numbers"
        elif not near and missing[0] == self.names.get("relation") and "relation" not in self.constants:
            near = """; for one relation of all rows give a text in quotes: 'relation="capital of"'"""
        elif not near and len(missing) == len(self.required):
            near = advice
        label = "column" if len(missing) == 1 else "columns"
        said = ", ".join(map(repr, missing))
        raise UserError(f"{where}: {label} {said} missing, found {listed(found) or 'none'}{near}")


def columns_of(given: Mapping[str, str]) -> Columns:
    """From what the user gave: our name -> a name, a place, or a text in quotes. UserError for what cannot be."""
    for ours in given:
        if ours not in REQUIRED + OPTIONAL:
            near = did_you_mean(ours, [*REQUIRED, *OPTIONAL])
            raise UserError(f"columns: '{ours}' is none of {', '.join(REQUIRED + OPTIONAL)}{near}")
    constants = {ours: theirs[1:-1] for ours, theirs in given.items() if re.fullmatch(r"\"[^\"]+\"|'[^']+'", theirs)}
    theirs = {ours: tidied(name) for ours, name in given.items() if ours not in constants}
    has_header = not theirs or not all(name.isdecimal() for name in theirs.values())
    if not has_header:
        theirs = {ours: str(int(place)) for ours, place in theirs.items()}
        without = [ours for ours in REQUIRED if ours not in given]
        if without or "0" in theirs.values():
            wanted = f"{without[0]}=2" if without else "1 for the first column"
            also = f""", or a text for all rows, {without[0]}="capital of" """ if without else ""
            raise UserError(f"columns: by their numbers all of {', '.join(REQUIRED)} are given; write {wanted}{also}")
    taken = set(theirs.values())
    names = {ours: ours for ours in REQUIRED if has_header and ours not in constants} | theirs
    names |= {
        ours: ours for ours in OPTIONAL if has_header and ours not in {**names, **constants} and ours not in taken
    }
    for ours, name in names.items():
        if list(names.values()).count(name) > 1:
            raise UserError(
                f"columns: {ours} is '{name}', and so is another; give each a column of its own, "
                f"""or a text for all rows in quotes: '{ours}="{name}"'"""
            )
    required = [name for ours, name in names.items() if ours in REQUIRED or ours in theirs]
    return Columns(names=names, constants=constants, has_header=has_header, required=tuple(required))


def column_names(names: Sequence[str], where: str) -> list[str]:
    """Tidied; UserError where two columns are called the same, for only one of them could be read."""
    found = [tidied(name) for name in names]
    for name in found:
        if name and found.count(name) > 1:
            raise UserError(f"{where}: two columns are called '{name}'; rename one of them")
    return found


def listed(names: Sequence[str], most: int = 12) -> str:
    """So many of the names, and how many there are more."""
    shown = ", ".join(name if len(name) <= 40 else f"{name[:40]}..." for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
