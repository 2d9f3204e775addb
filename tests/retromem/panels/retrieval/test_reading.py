"""Documents about invented towns, read with the real encoder: its tokens are what the reader reads."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retrieval.errors import UserError
from retromem.knowledge.cities import spare_city_names
from retromem.panels.retrieval.document_reading import GIVEN, ReadingConfig
from retromem.panels.retrieval.reading_points import _read, lessons_of
from retromem.reading.extractive_reader import ExtractiveReader, Found
from retromem.reading.reader_training import ReaderTraining
from retromem.run.panel_cells import PanelCell
from retromem.run.run_cell import Workplace, measure_panel, texts_of

RIVERS = ["Danube", "Volga", "Loire", "Tagus", "Elbe", "Po", "Ebro", "Rhine"]


def documents(folder: Path) -> Path:
    """One town a document, one question about each sentence but the last."""
    rng = np.random.default_rng(0)
    data = []
    for town in spare_city_names()[:60]:
        river, year, count = rng.choice(RIVERS), int(rng.integers(900, 1900)), int(rng.integers(10, 90))
        parts = [
            (f"{town} lies on the river {river}. ", "On which river does {} lie?", str(river)),
            (f"Its first church was built in {year}. ", "In which year did {} get a church?", str(year)),
            (f"It has {count} bridges. ", "How many bridges does {} have?", str(count)),
            ("People like the market there.", "", ""),
        ]
        context, asked = "", []
        for sentence, question, answer in parts:
            if question:
                start = len(context) + sentence.rindex(answer)
                asked.append(
                    {"question": question.format(town), "answers": [{"text": answer, "answer_start": start}], "id": "x"}
                )
            context += sentence
        data.append({"title": town, "paragraphs": [{"context": context, "qas": asked}]})
    path = folder / "towns.json"
    path.write_text(json.dumps({"data": data}))
    return path


def measured(panel: ReadingConfig, folder: Path, model: EncoderConfig) -> dict[tuple[str, str], float]:
    encoder = Encoder(model)
    cell = PanelCell(name="it", panel=panel, seed=0, encoder_hash=encoder.content_hash, encoder=model)
    EmbeddingCache(folder).encode_missing(encoder, texts_of([cell]))
    workplace = Workplace(cells_folder="", cache_folder=str(folder))
    points = measure_panel(cell, workplace)
    assert "F1 of what is read" in panel.page(points).finding
    return {(point.quantity, point.name): point.y for point in points}


@pytest.mark.slow
def test_titles_find_the_passage_and_a_reader_reads_what_it_was_taught_on_other_towns(tmp_path: Path) -> None:
    panel = ReadingConfig(
        file=str(documents(tmp_path)), sizes=(1, 4), rankers=("bm25",), training=ReaderTraining(steps=60)
    )
    found = measured(panel, tmp_path, EncoderConfig())
    assert found["questions taught", ""] >= 80 and found["questions asked", ""] == 90
    # A sentence does not say which town it is about, its title does; a whole document does.
    assert found["right_at_1", "1 sentence, bm25"] < 0.7 < found["right_at_1", "1 sentence, titled, bm25"]
    assert found["right_at_1", "4 sentences, bm25"] > 0.95
    for cut in ("1 sentence, titled", "4 sentences"):
        assert found["f1", f"{cut}, {GIVEN}"] > 0.7
        assert found["f1_from_1", f"{cut}, bm25"] <= found["f1", f"{cut}, {GIVEN}"] + 0.05


class FirstWord(ExtractiveReader):
    """Reads the first word of the first passage."""

    def __init__(self) -> None: ...

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[str]]) -> list[Found]:
        return [Found(text=own[0].split()[0], passage=0, start=0, end=1) for own in passages]


def test_a_question_for_which_nothing_was_found_is_not_answered() -> None:
    passages = [["Danube flows"], [], ["Volga flows"], ["Elbe flows", "Rhine flows"]]
    found = _read(FirstWord(), ["?"] * 4, passages, ["the Danube", "Po", "Loire", "Elbe river"], "_from_5")
    # Right, not answered, wrong, and half right: one word of one and of two.
    assert found == {"exact_from_5": 1 / 4, "f1_from_5": pytest.approx((1 + 2 / 3) / 4)}


def test_no_passage_of_a_judged_document_stands_in_a_lesson(tmp_path: Path) -> None:
    config = ReadingConfig(file=str(documents(tmp_path)), sizes=(1, 4))
    read, cuts = config.documents(0), config.cuts(0)
    taught, _ = read.halves()
    lessons = lessons_of(read, taught, list(cuts.values()), np.random.default_rng(0))
    towns = read.titles[: read.num_taught]
    assert len(lessons) > 80 and all(len(lesson.others) == 2 for lesson in lessons)
    own = {
        text
        for cut in cuts.values()
        for text, passage in zip(cut.texts, cut.passages, strict=True)
        if passage.document < read.num_taught
    }
    assert all(text in own for lesson in lessons for text in (lesson.passage, *lesson.others))
    assert all(any(town in lesson.question for town in towns) for lesson in lessons)
    for lesson in lessons:
        assert lesson.passage[lesson.start : lesson.end] in " ".join(RIVERS) or lesson.passage[lesson.start].isdigit()


def test_an_encoder_without_tokens_is_one_line() -> None:
    with pytest.raises(UserError, match="hashed-trigrams: has no tokens"):
        Encoder(EncoderConfig(model="hashed-trigrams")).tokens(["a text"])


@pytest.mark.slow
def test_tokens_stand_where_they_are_said_to_and_lie_near_the_vector_of_their_text() -> None:
    encoder = Encoder(EncoderConfig(precision="float32"))
    texts = ["Geneva lies on a lake.", "A lake", "", "Où est Zürich ?"]
    for text, tokens in zip(texts, encoder.tokens(texts), strict=True):
        assert len(tokens.ids) == len(tokens.spans) == len(tokens.vectors_TD)
        assert "".join(text[start:end] for start, end in tokens.spans) == text.replace(" ", "")
        if text:
            mean = tokens.vectors_TD.mean(axis=0)
            (vector,) = encoder.encode([text])
            assert vector @ mean / np.linalg.norm(mean) > 0.9
