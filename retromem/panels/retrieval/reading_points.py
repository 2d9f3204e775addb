"""The points of the panel on real documents.

Shape legend: P passages, Q questions, K ranked passages.
"""

from collections.abc import Sequence

import numpy as np

from retrieval.errors import Refused
from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retrieval.splitting import holds
from retromem.knowledge.reading_sets import Question, ReadingSet
from retromem.panels.panel_config import Encoded, Vectors
from retromem.panels.points import Point
from retromem.panels.retrieval.document_reading import GIVEN, Cut, ReadingConfig
from retromem.panels.retrieval.ranked_recall import READ, right_passages, trained_rankers
from retromem.panels.retrieval.rankers import plain_queries
from retromem.reading.answer_overlap import exact_match, f1
from retromem.reading.extractive_reader import ExtractiveReader, Lesson, teach

_RANKED = 5
_OTHERS = 2  # passages without the answer, beside the right one while the reader is taught


def reading_points(config: ReadingConfig, encoded: Encoded, seed: int) -> list[Point]:
    """Of every cut and ranker, of the reader too."""
    assert isinstance(encoded, Vectors), "passages have no wording to be centred by"
    documents, cuts = config.documents(seed), config.cuts(seed)
    rng = np.random.default_rng([seed, 0x5EAD])
    taught, others = documents.halves()
    asked = [others[row] for row in rng.permutation(len(others))[: config.num_asked].tolist()]
    lessons = lessons_of(documents, taught, list(cuts.values()), rng)
    if not lessons or not asked:
        raise Refused(f"{config.file}: too few questions are left to teach a reader and to ask it; read more documents")
    held = {label: holds(cut.passages, _spans(asked)) for label, cut in cuts.items()}
    if not any(holds_QP.any() for holds_QP in held.values()):
        raise Refused(f"{config.file}: no answer lies whole in a passage; take more sentences a passage (sizes)")
    reader = teach(lessons, encoded.tokens, config.reader, config.training, seed=seed)
    counted = {
        "documents": len(documents.documents),
        "questions taught": len(lessons),
        "questions asked": len(asked),
        "parameters of the reader": reader.num_params,
    }
    points = [Point(quantity=name, series="", y=float(number), seed=seed) for name, number in counted.items()]
    questions = [question.text for question in asked]
    answers = [documents.answer(question) for question in asked]
    queries = plain_queries(questions, encoded, is_document=False)
    for label, cut in cuts.items():
        holds_QP = held[label]
        points.append(Point(quantity="passages", series=label, y=float(len(cut.texts)), seed=seed))
        found = {}
        whole = np.flatnonzero(holds_QP.any(axis=1)).tolist()
        given = [[cut.texts[int(holds_QP[row].argmax())]] for row in whole]
        if whole:
            found[GIVEN] = _read(reader, [questions[row] for row in whole], given, [answers[row] for row in whole], "")
        stored = plain_queries(cut.texts, encoded, is_document=True)
        for name, ranker in trained_rankers(config.rankers, stored, max(READ)):
            ranked_QK = ranker.search(queries)
            found[name] = {"bytes_a_passage": ranker.num_bytes / len(cut.texts)}
            found[name] |= right_passages(ranked_QK, holds_QP)
            for number in READ:
                read = [
                    [cut.texts[place] for place in ranked if place >= 0] for ranked in ranked_QK[:, :number].tolist()
                ]
                found[name] |= _read(reader, questions, read, answers, f"_from_{number}")
        points += [
            Point(quantity=quantity, series=label, labels={"ranker": name}, y=y, seed=seed)
            for name, its in found.items()
            for quantity, y in its.items()
        ]
    return points


def _read(
    reader: ExtractiveReader,
    questions: Sequence[str],
    passages: Sequence[Sequence[str]],
    answers: Sequence[str],
    suffix: str,
) -> dict[str, float]:
    """Exact match and F1, means over the questions; nothing is read where no passage was found."""
    rows = [row for row, own in enumerate(passages) if own]
    found = reader.read([questions[row] for row in rows], [passages[row] for row in rows])
    exact = sum(exact_match(read.text, answers[row]) for row, read in zip(rows, found, strict=True))
    overlap = sum(f1(read.text, answers[row]) for row, read in zip(rows, found, strict=True))
    return {f"exact{suffix}": exact / len(questions), f"f1{suffix}": overlap / len(questions)}


def lessons_of(
    documents: ReadingSet, taught: Sequence[Question], cuts: Sequence[Cut], rng: np.random.Generator
) -> list[Lesson]:
    """Every question once, in one of the cuts; a question whose answer is cut in two there teaches nothing.

    Passages of the other half of the documents are no part of a lesson, not even as wrong ones.
    """
    lessons = []
    parts = np.array_split(rng.permutation(len(taught)), len(cuts))
    for cut, part in zip(cuts, parts, strict=True):
        questions = [taught[row] for row in part.tolist()]
        if not questions:
            continue
        own_P = [row for row, passage in enumerate(cut.passages) if passage.document < documents.num_taught]
        if not own_P:
            continue
        lexical = LexicalIndex.build([cut.texts[row] for row in own_P], LexicalSpec())
        found_QK = lexical.search([own.text for own in questions], _RANKED)[0]
        ranked_QK = np.where(found_QK < 0, -1, np.array(own_P)[found_QK])
        holds_QP = holds(cut.passages, _spans(questions))
        for question, holds_P, ranked in zip(questions, holds_QP, ranked_QK.tolist(), strict=True):
            wrong = [place for place in ranked if place >= 0 and not holds_P[place]][:_OTHERS]
            if not holds_P.any() or len(wrong) < _OTHERS:
                continue
            right = int(holds_P.argmax())
            before = cut.lead[right] - cut.passages[right].start
            lessons.append(
                Lesson(
                    question=question.text,
                    passage=cut.texts[right],
                    start=question.start + before,
                    end=question.end + before,
                    others=tuple(cut.texts[place] for place in wrong),
                )
            )
    return lessons


def _spans(questions: Sequence[Question]) -> list[tuple[int, int, int]]:
    return [(question.document, question.start, question.end) for question in questions]
