"""Facts as they come out of a file, and which of them a comparison can use.

A fact is (subject, relation, value) with one value for each (subject, relation). Whatever breaks that, or gives the
answer away in the question, is left out and counted, so that the report can say what was measured.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from retrieval.errors import UserError
from retrieval.words import UNIT
from retromem.knowledge.names import tidied

# Letters with a stroke and ligatures have no decomposition in Unicode, yet people type Lodz for Łódź.
_STROKES = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}
)
_ASCII_WORD = re.compile("[a-z0-9]+")


def fold(text: str) -> str:
    """The text without accents and case: NFKD, combining marks removed, casefolded, stroke letters replaced (ł -> l).

    fold(a + b) == fold(a) + fold(b), and folding twice changes nothing.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold().translate(_STROKES)


def words(text: str) -> list[str]:
    """The folded words of a text: runs of letters, marks and digits, and each character of scripts without spaces;
    punctuation separates and is no word.
    """
    return _words_of_folded(_folded(text))


def _folded(text: str) -> str:
    """Folding takes Korean syllables apart; here they are whole again."""
    folded = fold(text)
    return folded if folded.isascii() else unicodedata.normalize("NFC", folded)


def _words_of_folded(folded: str) -> list[str]:
    if folded.isascii():
        return _ASCII_WORD.findall(folded)
    folded = UNIT.sub(r" \g<0> ", folded)
    return "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in folded).split()


def holds(text: str, part: str) -> bool:
    """Whether `part` occurs in `text` as whole words, accents, case and punctuation apart.

    Whole words, because Oman is no hint at Romania: a substring rule would throw out facts that leak nothing. A part
    without a single word (an emoji, "++") is searched as it stands.
    """
    part_words = words(part)
    if not part_words:
        return part in text
    folded = _folded(text)
    if part_words[0] not in folded:  # the quick way out of nearly every call
        return False
    text_words = _words_of_folded(folded)
    num = len(part_words)
    return any(text_words[i : i + num] == part_words for i in range(len(text_words) - num + 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class FactRow:
    """One row of a source, before anything was judged."""

    subject: str
    relation: str
    value: str
    popularity: float | None = None
    """of all rows of a source or of none"""
    aliases: tuple[str, ...] = ()
    """other names of the subject"""


@dataclass(frozen=True, kw_only=True)
class FactTable:
    """Facts in the order of their source; no (subject, relation) twice, unless several values were asked for."""

    name: str
    subjects: tuple[str, ...]
    relations: tuple[str, ...]
    values: tuple[str, ...]
    popularity: tuple[float, ...] | None
    """in the unit of the source (people, page views); None where the source has none"""
    aliases: tuple[tuple[str, ...], ...]
    """other names of each subject, maybe none"""
    dropped: Mapping[str, int]
    """reason -> number of rows of the source left out for it; every row counts once"""
    attribution: str | None
    """what the licence of the source wants to be said"""
    notes: tuple[str, ...]
    """one-line remarks for the report"""

    def __len__(self) -> int:
        return len(self.subjects)

    def without(self, rows: Collection[int], reason: str) -> "FactTable":
        """The table without these rows, counted as `reason`. Raises UserError when no fact is left."""
        if not rows:
            return self
        out = frozenset(rows)
        kept = [row for row in range(len(self)) if row not in out]
        dropped = {**self.dropped, reason: self.dropped.get(reason, 0) + len(out)}
        if not kept:
            raise _nothing_left(self.name, dropped)
        return replace(
            self,
            subjects=tuple(self.subjects[row] for row in kept),
            relations=tuple(self.relations[row] for row in kept),
            values=tuple(self.values[row] for row in kept),
            popularity=None if self.popularity is None else tuple(self.popularity[row] for row in kept),
            aliases=tuple(self.aliases[row] for row in kept),
            dropped=dropped,
        )


def clean(
    rows: Sequence[FactRow],
    *,
    name: str,
    source: str,
    dropped: Mapping[str, int] | None = None,
    attribution: str | None = None,
    notes: tuple[str, ...] = (),
    several_values: bool = False,
) -> FactTable:
    """The facts that can be compared, their names tidied; a row left out counts under the first reason that fits:

    - `empty`: subject, relation or value is blank;
    - `duplicate`: an earlier row has the same subject, relation and value (the first one stays);
    - `several_values`: other rows give other values for its (subject, relation); all of them go, unless the caller
      can hold `several_values`;
    - `value_in_subject`, `subject_in_value`: one holds the other as whole words (see `holds`), so the question
      gives the answer away, or the answer the question.

    Aliases that cannot serve as the name in a question (blank, the subject itself, holding the value, also the name
    or an alias of another subject) are left out one by one and counted in a note; their facts stay.

    `dropped` are rows that the caller left out before. Raises UserError, naming `source`, when no fact is left.
    """
    reasons = Counter(dropped or {})
    stripped: dict[tuple[str, str, str], FactRow] = {}
    for row in rows:
        fact = (tidied(row.subject), tidied(row.relation), tidied(row.value))
        if not all(fact):
            reasons["empty"] += 1
        elif fact in stripped:
            reasons["duplicate"] += 1
        else:
            stripped[fact] = row
    num_values = Counter((subject, relation) for subject, relation, _ in stripped)

    kept: dict[tuple[str, str, str], FactRow] = {}
    for fact, row in stripped.items():
        subject, relation, value = fact
        if num_values[subject, relation] > 1 and not several_values:
            reasons["several_values"] += 1
        elif holds(subject, value):
            reasons["value_in_subject"] += 1
        elif holds(value, subject):
            reasons["subject_in_value"] += 1
        else:
            kept[fact] = row
    if not kept:
        raise _nothing_left(source, reasons)

    aliases, num_aliases_out = _usable_aliases(kept)
    if num_aliases_out:
        notes = (*notes, f"aliases left out (blank, repeated, ambiguous or telling the value): {num_aliases_out:,}")
    popularity = [row.popularity for row in kept.values() if row.popularity is not None]
    assert len(popularity) in (0, len(kept)), "popularity of some rows only"
    subjects, relations, values = zip(*kept, strict=True)
    return FactTable(
        name=name,
        subjects=subjects,
        relations=relations,
        values=values,
        popularity=tuple(popularity) if popularity else None,
        aliases=aliases,
        dropped=dict(reasons),
        attribution=attribution,
        notes=notes,
    )


def _usable_aliases(kept: Mapping[tuple[str, str, str], FactRow]) -> tuple[tuple[tuple[str, ...], ...], int]:
    """Aliases that name one subject alone, and the number of those left out."""
    owners: dict[str, str | None] = {}  # folded name or alias -> its folded subject, None when it names several
    for (subject, _, _), row in kept.items():
        owner = fold(subject)
        for called in (subject, *row.aliases):
            folded = fold(called.strip())
            if owners.setdefault(folded, owner) != owner:
                owners[folded] = None
    usable = []
    num_out = 0
    for (subject, _, value), row in kept.items():
        own: dict[str, str] = {}
        for alias in map(str.strip, row.aliases):
            folded = fold(alias)
            clear = folded and folded not in own and folded != fold(subject) and owners[folded] is not None
            if clear and not holds(alias, value) and not holds(value, alias):
                own[folded] = alias
            else:
                num_out += 1
        usable.append(tuple(own.values()))
    return tuple(usable), num_out


def _nothing_left(source: str, reasons: Mapping[str, int]) -> UserError:
    counts = ", ".join(f"{num:,} {reason}" for reason, num in reasons.items())
    return UserError(
        f"{source}: no fact is left (left out: {counts}); a fact needs one value for each subject and relation, "
        "and neither subject nor value may hold the other"
    )
