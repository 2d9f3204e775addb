"""Bits of names and values in decoders: records, the loss of each part, the page both ways."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.decoder_config import DecoderConfig
from models.ffn_kinds import DenseConfig
from retromem.knowledge.biographies import NUM_NAMES, BiographiesConfig
from retromem.language.people_records import people_records
from retromem.language.text_tokens import people_tokens
from retromem.panels.decoders.decoder_capacity import DEMAND, PER_TOTAL, DecoderCapacityConfig, shown
from retromem.panels.decoders.decoder_capacity_points import decoder_capacity_points, held_bits
from retromem.panels.points import Point

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
PEOPLE = BiographiesConfig(num_people=12, seed=3)
TINY = DecoderCapacityConfig(
    num_people=(12,),
    exposures=(1, 120),
    num_birth_years=4,
    dim=16,
    ffn=DenseConfig(width=32),
    batch_size=12,
    learning_rate=0.01,
)


def test_a_record_is_a_name_and_the_values_that_nothing_else_tells() -> None:
    records, knowledge, tokens = people_records(PEOPLE), PEOPLE.build(), people_tokens()
    relations = knowledge.values.relations
    assert len(relations) == 6 and records.num_values_A == [336 * 4, 128, 192, 100, 256]  # no city of work
    for person in range(12):
        row = records.tokens_NT[person]
        assert tokens.text(row[records.is_name_NT[person]].tolist()) == knowledge.text.subjects[6 * person]
        for place, relation in enumerate(relations[:5]):
            value = knowledge.values.strings[knowledge.value_ids_N[6 * person + relations.index(relation)]]
            assert tokens.text(row[records.attribute_NT[person] == place].tolist()) == value
        marks = [row[0], row[records.lengths_N[person] - 1]]
        assert marks == [tokens.begin, tokens.end]
        assert (
            int((records.is_name_NT[person] | (records.attribute_NT[person] >= 0)).sum())
            == records.lengths_N[person] - 2
        )
    assert people_records(replace(PEOPLE, attributes=("work_city",))).num_values_A == [128]


def test_the_loss_of_each_part_is_summed_where_it_stands() -> None:
    records, tokens = people_records(PEOPLE), people_tokens()
    decoder = DecoderConfig(dim=8, depth=1).build(tokens.num_tokens, generator=torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        log_probs = decoder(records.tokens_NT).double().log_softmax(-1)
    names, values = 0.0, 0.0
    for person in range(12):
        for at in range(1, int(records.lengths_N[person]) - 1):
            nats = -float(log_probs[person, at - 1, records.tokens_NT[person, at]])
            if records.is_name_NT[person, at]:
                names += nats
            else:
                values += nats
    found = held_bits(decoder, records)
    ways = sum(math.log2(NUM_NAMES - person) for person in range(12))
    assert found.name_bits == pytest.approx(ways - names / math.log(2), rel=1e-5)
    assert found.value_bits == pytest.approx(12 * np.log2(records.num_values_A).sum() - values / math.log(2), rel=1e-5)
    assert found.total_bits == 0  # nothing was learnt


def test_more_exposures_hold_more_and_never_more_than_there_was() -> None:
    points = decoder_capacity_points(TINY, 0)

    def bits(exposures: int, **labels: str) -> float:
        (point,) = (
            p for p in points if (p.quantity, p.series, dict(p.labels)) == (PER_TOTAL, shown(exposures), labels)
        )
        return point.y

    assert bits(1) < 0.3 * bits(120) < bits(120) < bits(120, **DEMAND)
    assert bits(120) > 0.6 * bits(120, **DEMAND)
    by_size = {p.quantity: p.y for p in points if p.series == shown(120) and not p.labels}
    embeddings = 16 * people_tokens().num_tokens
    num_params = TINY.decoder.num_params(people_tokens().num_tokens)
    assert by_size["bits_per_non_embedding_param"] * (num_params - embeddings) == pytest.approx(bits(120) * num_params)


def test_the_page_says_what_was_full_and_what_was_not() -> None:
    config = DecoderCapacityConfig()

    def of(exposures: int, people: float, held: float, demand: float) -> list[Point]:
        point = Point(quantity=PER_TOTAL, series=shown(exposures), x=people, y=held, seed=0)
        return [point, replace(point, labels=DEMAND, y=demand)]

    points = [*of(100, 1000.0, 0.5, 0.52), *of(100, 4000.0, 0.9, 2.2), *of(1000, 1000.0, 0.52, 0.52)]
    page = config.page([*points, *of(1000, 4000.0, 1.9, 2.0)])
    assert "After 1,000 exposures 1.90 bits per parameter, at 4,000 people" in page.answer
    assert "after 100 (4,000 people);" in page.finding
    assert "nearly all that there was: a lower bound" in page.finding
    assert page.finding.count("lower bound") == 1


def test_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="the names that there are"):
        DecoderCapacityConfig(num_people=(10**6,))
    with pytest.raises(ValueError, match="dim must be a multiple"):
        DecoderCapacityConfig(dim=30)
