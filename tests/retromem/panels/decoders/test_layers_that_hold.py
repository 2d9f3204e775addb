"""Layers that hold: arms of equal parameters, ablations by weights of zero, the page both ways."""

from dataclasses import replace

import pytest
import torch

from retromem.panels.decoders.asked_decoder import held, written_decoder
from retromem.panels.decoders.layers_that_hold import (
    ALL_FFNS,
    NO_FFN,
    PARTS,
    TO_MEAN,
    TO_ZEROS,
    WHOLE,
    LayersThatHoldConfig,
    alone_in,
)
from retromem.panels.decoders.layers_that_hold_points import layers_that_hold_points
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
TINY = LayersThatHoldConfig(
    num_people=24, attributes=("birth_city",), dim=8, depth=2, width=8, exposures=40, batch_size=24, learning_rate=1e-2
)


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return layers_that_hold_points(TINY, 0)


def number(points: list[Point], quantity: str, series: str, x: float | None = None, **labels: str) -> float:
    found = spread_at(points, quantity, series, x, **labels)
    assert found is not None
    return found.median


def test_a_single_ffn_is_as_large_as_all_together() -> None:
    config = LayersThatHoldConfig()
    whole = config.whole.num_params(100)
    for layer in range(1, 5):
        alone = config.with_one_ffn(layer)
        assert [at for at in range(4) if alone.of_layer(at) is not None] == [layer - 1]
        assert whole - 2 * config.dim < alone.num_params(100) <= whole
        assert alone.ffn.size == 257  # three norms less make room for one unit
    assert config.with_one_ffn(0).num_params(100) == whole - 4 * (2 * 32 * 64 + 32)
    assert list(config.arms()) == [WHOLE, *(alone_in(layer) for layer in range(1, 5)), NO_FFN]


def test_what_is_lost_is_what_a_read_out_of_zeros_loses(points: list[Point]) -> None:
    people = TINY.people(0)
    whole = written_decoder(TINY, TINY.whole, people, seed=0)
    kept = held(whole, people)
    assert kept.bits_per_fact > 1
    for layer in (0, 1):
        memory = written_decoder(TINY, TINY.whole, people, seed=0)
        with torch.no_grad():
            memory.decoder.layers[layer].ffn.w_out_FE.zero_()
        left = held(memory, people)
        for quantity, lost in (
            ("bits_lost", kept.bits_per_fact - left.bits_per_fact),
            ("accuracy_lost", kept.accuracy - left.accuracy),
        ):
            assert number(points, quantity, PARTS["ffn"], layer + 1.0, **TO_ZEROS) == pytest.approx(lost, abs=1e-4)
    with torch.no_grad():
        memory.decoder.layers[0].ffn.w_out_FE.zero_()
    lost = kept.bits_per_fact - held(memory, people).bits_per_fact
    assert number(points, "bits_lost", ALL_FFNS, **TO_ZEROS) == pytest.approx(lost, abs=1e-4)


def test_every_branch_is_ablated_in_both_ways_and_every_arm_is_counted(points: list[Point]) -> None:
    for labels in (TO_ZEROS, TO_MEAN):
        for series in PARTS.values():
            lost = [number(points, "bits_lost", series, float(layer), **labels) for layer in (1, 2)]
            assert all(bits <= number(points, "bits_per_fact", WHOLE) + 1e-9 for bits in lost)
    both = [number(points, "bits_lost", PARTS["ffn"], 1.0, **labels) for labels in (TO_ZEROS, TO_MEAN)]
    assert both[0] != both[1]
    sizes = [number(points, "num_params", arm) for arm in TINY.arms()]
    assert sizes == [decoder.num_params(2022) for decoder in TINY.arms().values()]


def test_the_finding_follows_the_points(points: list[Point]) -> None:
    def page(lost: tuple[float, float], every: float, attention: float, alone: tuple[float, float], none: float) -> str:
        given = {
            ("bits_lost", PARTS["ffn"], 1.0): lost[0],
            ("bits_lost", PARTS["ffn"], 2.0): lost[1],
            ("bits_lost", ALL_FFNS, None): every,
            ("bits_lost", PARTS["attention"], 1.0): attention,
            ("bits_lost", PARTS["attention"], 2.0): attention,
            ("bits_per_fact", alone_in(1), None): alone[0],
            ("bits_per_fact", alone_in(2), None): alone[1],
            ("bits_per_fact", NO_FFN, None): none,
            ("bits_per_fact", WHOLE, None): 5.0,
        }
        made = TINY.page([replace(p, y=given.get((p.quantity, p.series, p.x), p.y)) for p in points])
        return f"{made.answer} {made.finding}"

    said = page((3.0, 1.0), 3.9, 2.0, (4.0, 6.0), 2.0)
    assert "Of 5.00 bits a fact the decoder loses most, 3.00, without the FFN of layer 1 of 2." in said
    assert "hold 4.00 bits a fact with it in layer 1, 6.00 in layer 2, more." in said
    assert "3.00 (layer 1) and 1.00 (layer 2), most clearly in layer 1." in said and ": losses add up." in said
    assert "more than the FFN in layer 2." in said and "the best, with layer 2, more than FFNs in all layers" in said
    assert said.endswith("attention and embeddings hold 2.00: FFNs add to it.")
    said = page((1.0, 2.0), 4.0, 5.0, (4.0, 4.5), 6.0)
    assert "without the FFN of layer 2 of 2" in said
    assert "hold 4.50 bits a fact with it in layer 2, no fewer than in any other." in said
    assert ": layers stand in for each other." in said and "more than the FFN in every layer." in said
    assert "less than FFNs in all layers hold" in said and ": FFNs are no help here." in said
    said = page((2.0, 2.0), 3.0, 1.0, (4.0, 5.0), 5.0)
    assert "no layer clearly ahead" in said and ": a fact needs several of them." in said
    assert "in no layer more than the FFN." in said and ": FFNs make no clear difference." in said
