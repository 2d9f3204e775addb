"""How a fact is said and how it is asked: templates with {subject}, and {value} in statements alone.

Questions hold no value, so that what learns them has to store the answer. They are split before anything runs into
wordings that may be written, one that calibrates, and wordings held out for the test.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from retrieval.errors import UserError
from retromem.knowledge.fact_columns import did_you_mean
from retromem.knowledge.fact_table import FactTable, fold, holds, words
from retromem.knowledge.names import tidied
from retromem.knowledge.text_files import read_text
from retromem.knowledge.yaml_keys import TextLoader

SUBJECT = "{subject}"
VALUE = "{value}"

_KEYS = ("statement", "seen", "heldout")
_PREPOSITIONS = frozenset(["as", "at", "by", "for", "from", "in", "into", "of", "on", "to", "under", "with"])


@dataclass(frozen=True, kw_only=True)
class Wordings:
    """The templates of one relation. No question is among two of written, calibrate and heldout."""

    statements: tuple[str, ...]
    """with {subject} and {value}: for stores that read"""
    written: tuple[str, ...]
    """questions that may be written, at least one; dealt to the facts"""
    calibrate: str | None
    """None where there are too few: then a tenth of the facts or the written cues calibrate"""
    heldout: tuple[str, ...]
    """questions never written; may be none"""
    num_repeated: int = 0
    """wordings of the file left out because they ask the same as an earlier one once {value} is gone"""

    @property
    def questions(self) -> tuple[str, ...]:
        calibrate = () if self.calibrate is None else (self.calibrate,)
        return self.written + calibrate + self.heldout

    @property
    def identity(self) -> list[object]:
        """All that a set made with them depends on."""
        return [self.statements, self.written, self.calibrate, self.heldout]


def fill(template: str, subject: str, value: str | None = None) -> str:
    """The template about this subject (and value). Braces in either stay what they are."""
    if value is None:
        assert VALUE not in template, f"a statement needs a value: {template}"
        return template.replace(SUBJECT, subject)
    # Split first: a value that reads "{subject}" must not be filled in turn.
    return subject.join(part.replace(VALUE, value) for part in template.split(SUBJECT))


def read_wordings(path: Path) -> dict[str, Wordings]:
    """Relation -> wordings of a phrasings file, JSON when its name ends in .json, else YAML.

    A relation has either a mapping with `statement` (text or list), `seen` (list) and `heldout` (list, may be missing),
    or a plain list of k wordings with both placeholders: the first is the statement, the questions are all of them
    with {value} removed, of which the last quarter (rounded up) is held out, none when k = 1. With two or more seen
    questions and one held out, the last seen one calibrates and is not written.

    Raises UserError naming file, relation and template for anything that breaks these rules.
    """
    content = _parse(path, read_text(path))
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: a phrasings file wants one entry a relation, with its templates")
    return {
        tidied(relation): _of_relation(templates, f"{path}, relation '{relation}'")
        for relation, templates in content.items()
    }


def check_covers(wordings: Mapping[str, Wordings], relations: Collection[str], path: Path) -> None:
    """Raises UserError, naming the file, when a relation of the facts has no templates."""
    missing = sorted(set(relations) - set(wordings))
    if missing:
        others = ", ".join(map(repr, missing[1:])) if len(missing) <= 6 else f"{len(missing) - 1} more"
        more = f" (and {others})" if len(missing) > 1 else ""
        near = did_you_mean(missing[0], list(wordings))
        raise UserError(f"{path}: no templates for relation '{missing[0]}'{more} of the facts{near or '; add them'}")


def drop_value_in_wording(table: FactTable, wordings: Mapping[str, Wordings]) -> FactTable:
    """The table without facts whose value stands in one of their own filled questions as whole words.

    Counted as `value_in_wording`. It happens where a template names a value ("Which country ...?") or completes one
    ("the city of {subject} City"). Raises UserError when no fact is left.
    """
    questions = {
        relation: [fold(template) for template in wordings[relation].questions] for relation in set(table.relations)
    }
    first_words = {value: (words(value) or [value])[0] for value in set(table.values)}
    leaking = []
    for row, (subject, relation, value) in enumerate(zip(table.subjects, table.relations, table.values, strict=True)):
        folded = fold(subject)
        filled = [template.replace(SUBJECT, folded) for template in questions[relation]]
        # `holds` is exact and slow; that the first word occurs at all is rare.
        if any(first_words[value] in question and holds(question, value) for question in filled):
            leaking.append(row)
    return table.without(leaking, "value_in_wording")


def generic_wordings(relation: str) -> Wordings:
    """Wordings that fit any relation, made from its name: `birthPlace` -> What is the birth place of {subject}?

    A name that ends in a preposition (`capital_of`, `bornIn`, `works_for`) is read as what the subject is or does.
    """
    name = _humanise(relation)
    if name.split()[-1] not in _PREPOSITIONS or len(name.split()) == 1:
        return Wordings(
            statements=(f"The {name} of {SUBJECT} is {VALUE}.",),
            written=(
                f"What is the {name} of {SUBJECT}?",
                f"{SUBJECT}'s {name} is",
                f"Please name the {name} that belongs to {SUBJECT}.",
                f"For {SUBJECT}, the {name} is known to be",
            ),
            calibrate=f"Which {name} does {SUBJECT} have?",
            heldout=(f"Tell me {SUBJECT}'s {name}.", f"I wonder about {SUBJECT}: what would its {name} be?"),
        )
    # works_for, is_part_of, has_role_in bring their own verb; born_in and capital_of do not.
    verb = name.split()[0]
    clause = f"{SUBJECT} {name}" if re.search("[^s]s$", verb) else f"{SUBJECT} is {name}"
    return Wordings(
        statements=(f"{clause} {VALUE}.",),
        written=(
            clause,
            f"Complete the sentence: {clause}",
            f"It is well known that {clause}",
            f"What comes next? {clause}",
        ),
        calibrate=f"According to the records, {clause}",
        heldout=(f"Everybody agrees that {clause}", f"As a matter of fact, {clause}"),
    )


def _humanise(relation: str) -> str:
    """'capital_of' -> 'capital of', 'birthPlace' and 'http://x.org/birthPlace' -> 'birth place', 'P19' -> 'P19'."""
    last = [part for part in re.split(r"[/#]", relation) if any(c.isalnum() for c in part)][-1:]
    spaced = re.sub(r"(?<=[a-z\d])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", "".join(last))
    parts = re.sub(r"[\W_]+", " ", spaced).split()
    return " ".join(part.lower() if part[1:].islower() else part for part in parts) or "answer"


def _parse(path: Path, text: str) -> object:
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text, object_pairs_hook=partial(_each_once, str(path)))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
        except RecursionError:
            raise UserError(f"{path}: nested too deeply for a phrasings file") from None
    try:
        content: object = yaml.load(text, Loader=TextLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else f"{path}"
        problem = getattr(error, "problem", None) or "a character that YAML does not know"
        raise UserError(f"{where}: not YAML ({problem}); put templates that begin with {{ in quotes") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply for a phrasings file") from None
    return content


def _each_once(path: str, pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Of two values under one name Python would take the last in silence."""
    names = [tidied(name) for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: {name!r} comes twice; keep one of them")
    return dict(pairs)


def _of_relation(templates: object, where: str) -> Wordings:
    if isinstance(templates, list):
        return _from_plain_list(_texts(templates, where), where)
    if isinstance(templates, dict):
        return _from_mapping(templates, where)
    raise UserError(f"{where}: wants a list of wordings, or {', '.join(_KEYS)} with their templates")


def _from_plain_list(wordings: Sequence[str], where: str) -> Wordings:
    statement = _checked(wordings[0], where, needs_value=True)
    questions = [_without_value(_checked(wording, where)) for wording in wordings]
    num_heldout = -(-len(questions) // 4) if len(questions) > 1 else 0
    num_seen = len(questions) - num_heldout
    seen = _distinct(questions[:num_seen], ())
    return _split((statement,), seen, _distinct(questions[num_seen:], seen), num_wordings=len(questions))


def _from_mapping(templates: Mapping[str, object], where: str) -> Wordings:
    for key in templates:
        if key not in _KEYS:
            near = did_you_mean(key, list(_KEYS))
            raise UserError(f"{where}: unknown key '{key}', known are {', '.join(_KEYS)}{near}")
    for key in ("statement", "seen"):
        if key not in templates:
            raise UserError(f"{where}: '{key}' is missing; give its templates")
    given = templates["statement"]
    statements = _texts([given] if isinstance(given, str) else given, f"{where}, 'statement'")
    seen = _texts(templates["seen"], f"{where}, 'seen'")
    # An absent key, `heldout: []` and a bare `heldout:` all say that nothing is held out.
    heldout = _texts(templates["heldout"], f"{where}, 'heldout'") if templates.get("heldout") else []

    statements = [_checked(statement, where, needs_value=True) for statement in statements]
    seen = [_checked(question, where, needs_value=False) for question in seen]
    heldout = [_checked(question, where, needs_value=False) for question in heldout]
    seen_keys = {_key(question) for question in seen}
    for question in heldout:
        if _key(question) in seen_keys:
            raise UserError(f"{where}: '{question}' is held out and seen; take it out of one of them")
    return _split(tuple(statements), _distinct(seen, ()), _distinct(heldout, ()), num_wordings=len(seen) + len(heldout))


def _split(statements: tuple[str, ...], seen: list[str], heldout: list[str], *, num_wordings: int) -> Wordings:
    calibrates = len(seen) >= 2 and len(heldout) >= 1
    return Wordings(
        statements=statements,
        written=tuple(seen[:-1] if calibrates else seen),
        calibrate=seen[-1] if calibrates else None,
        heldout=tuple(heldout),
        num_repeated=num_wordings - len(seen) - len(heldout),
    )


def _texts(templates: object, where: str) -> list[str]:
    if not isinstance(templates, list):
        raise UserError(f"{where}: wants a list of templates")
    if not templates:
        raise UserError(f"{where}: the list is empty; give at least one template")
    for template in templates:
        if not isinstance(template, str):
            raise UserError(f"{where}: {json.dumps(template)} is no text; put every template in quotes")
    return templates


def _checked(template: str, where: str, *, needs_value: bool | None = None) -> str:
    """The tidied template; `needs_value` None = with or without."""
    rest = template.replace(SUBJECT, "").replace(VALUE, "")
    if "{" in rest or "}" in rest:
        raise UserError(f"{where}: '{template}' has other braces than {SUBJECT} and {VALUE}; write these two alone")
    if SUBJECT not in template:
        raise UserError(f"{where}: '{template}' is without {SUBJECT}; say where the subject goes")
    if needs_value is True and VALUE not in template:
        raise UserError(f"{where}: statement '{template}' is without {VALUE}; say where the value goes")
    if needs_value is False and VALUE in template:
        raise UserError(f"{where}: question '{template}' holds {VALUE}, its own answer; take it out")
    return _tidied(template)


def _tidied(template: str) -> str:
    return re.sub(r" (?=[.,;:?!)\]])", "", tidied(template))


def _without_value(wording: str) -> str:
    """The wording as a question: {value} goes, and with it what only made sense around it.

    '{value}'s capital is {subject}.' -> 'capital is {subject}'; 'The {value}-owned {subject}' -> 'The owned {subject}'.
    """
    if VALUE not in wording:
        return wording
    question = re.sub(r"\{value\}(?:['’]s\b|-(?=\w))?", " ", wording)
    question = re.sub(r"\(\s*\)|\[\s*\]|\"\s*\"|'\s*'|“\s*”", " ", question)
    return _tidied(question).strip(" .,;:-–")


def _key(question: str) -> tuple[str, ...]:
    """What two questions share that ask the same: punctuation, case and a / an apart."""
    return tuple("a" if word == "an" else word for word in words(question))


def _distinct(questions: Sequence[str], earlier: Sequence[str]) -> list[str]:
    seen = {_key(question) for question in earlier}
    distinct: dict[tuple[str, ...], str] = {}
    for question in questions:
        if _key(question) not in seen:
            distinct.setdefault(_key(question), question)
    return list(distinct.values())
