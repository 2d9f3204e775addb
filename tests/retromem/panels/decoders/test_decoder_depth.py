"""Depth in decoders: states by brute force, every arm, the page both ways."""

from dataclasses import replace

import pytest
import torch

from retromem.panels.decoders.asked_decoder import held, question_blocks, written_decoder
from retromem.panels.decoders.decoder_depth import ARMS, AVERAGING, BARE, WITHOUT_FFN, DecoderDepthConfig
from retromem.panels.decoders.decoder_depth_points import decoder_depth_points, of_states, states_of
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.points import Point

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
TINY = DecoderDepthConfig(num_people=4, attributes=("birth_city",), dim=8, depth=2, width=4, exposures=1)


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return decoder_depth_points(TINY, 0)


def test_tokens_that_are_alike_are_of_rank_one() -> None:
    alike_BTD = torch.tensor([2.0, 1.0, -1.0]).expand(5, 4, 3)
    found = of_states([alike_BTD, alike_BTD[:, :2]])
    assert found["cosine"] == pytest.approx(1) and found["token_rank"] == pytest.approx(1)
    assert found["distance"] == pytest.approx(0) and found["fact_rank"] == 0
    apart_BTD = torch.eye(3).expand(2, 3, 3)
    told = of_states([apart_BTD, torch.diag(torch.tensor([1.0, 1.0, -1.0])).expand(2, 3, 3)])
    assert told["cosine"] == pytest.approx(0) and told["token_rank"] == pytest.approx(3)
    assert told["fact_rank"] == pytest.approx(1)  # last tokens differ in one direction


def test_states_are_those_of_the_stream_before_and_after_each_layer() -> None:
    people = TINY.people(0)
    memory = written_decoder(TINY, TINY.arm("serial"), people, seed=0, trained=False)
    blocks = list(question_blocks(people.ask("identical").queries))
    assert sorted(place for places, _ in blocks for place in places) == [0, 1, 2, 3]
    states = states_of(memory.decoder, [tokens_BT for _, tokens_BT in blocks])
    assert len(states) == 3 and [len(of_layer) for of_layer in states] == [len(blocks)] * 3
    for number, (_, tokens_BT) in enumerate(blocks):
        last_BTD = memory.decoder.normalised(states[-1][number].float())
        torch.testing.assert_close(last_BTD, memory.decoder.hidden(tokens_BT), atol=1e-5, rtol=1e-4)


def test_every_arm_is_what_it_is_called(points: list[Point]) -> None:
    skipless = [arm for arm in ARMS if TINY.arm(arm).residual == "none"]
    assert skipless == ["bare attention", "attention and FFN without skips"]
    assert {TINY.arm(arm).residual for arm in ARMS} == {"none", "plain", "layerscale", "rezero", "deepnorm"}
    assert [arm for arm in ARMS if TINY.arm(arm).of_layer(0) is None] == list(WITHOUT_FFN)
    assert [arm for arm in ARMS if TINY.arm(arm).parallel] == ["parallel"]
    for arm in ARMS:
        assert list(curve(points, "distance_untrained", arm)) == [0.0, 1.0, 2.0]
        assert list(curve(points, "fact_rank_trained", arm)) == [0.0, 1.0, 2.0]
        assert spread_at(points, "accuracy", arm) is not None
    assert list(curve(points, "distance_untrained", AVERAGING)) == [0.0, 1.0, 2.0]
    untrained = curve(points, "cosine_untrained", "ReZero")  # its branches begin at 0
    assert untrained[0.0] == untrained[2.0] != curve(points, "cosine_trained", "ReZero")[2.0]


@pytest.mark.slow
def test_bits_are_those_of_a_row() -> None:
    config = replace(TINY, exposures=300, dim=16, learning_rate=1e-2)
    people = config.people(0)
    found = held(written_decoder(config, config.arm("serial"), people, seed=0), people)
    assert found.accuracy == 1 and 6.5 < found.bits_per_fact <= 7
    nothing = held(written_decoder(config, config.arm("serial"), people, seed=0, trained=False), people)
    assert nothing.accuracy < 0.5 and nothing.bits_per_fact < 1


def test_the_finding_follows_the_points(points: list[Point]) -> None:
    def finding(**at_the_end: float) -> str:
        changed = []
        for p in points:
            name = {BARE: "bare", "attention with skips": "skips", "attention and FFN without skips": "ffn"}.get(
                p.series
            )
            if p.quantity == "distance_untrained" and p.x == 2.0 and name in at_the_end:
                p = replace(p, y=at_the_end[name])
            if p.quantity == "distance_untrained" and p.series == BARE and p.x in (0.0, 1.0):
                p = replace(p, y={0.0: 1.0, 1.0: 0.5}[p.x])
            changed.append(p)
        return TINY.page(changed).finding

    said = finding(bare=0.01, skips=0.6, ffn=0.02)
    assert "1.00 at first, is then 0.0100 in bare attention and 0.600 in attention with skips" in said
    assert "skip connections keep tokens apart." in said and "FFNs slow the fall." in said
    assert "divides the distance by 2.00 to 50.0, the first by 2.00 and the last by 50.0: ever faster" in said
    said = finding(bare=0.4, skips=0.2, ffn=0.2)
    assert "they bring them together." in said and "FFNs hasten the fall." in said and ": not ever faster." in said
    assert "no clear difference is made by skip connections." in finding(bare=0.4, skips=0.4)


def test_one_layer_shows_no_depth() -> None:
    with pytest.raises(ValueError, match="depth must be 2 or more"):
        DecoderDepthConfig(depth=1)
    with pytest.raises(ValueError, match="wordings must be 1 to 9, not 10"):
        DecoderDepthConfig(wordings=10)
