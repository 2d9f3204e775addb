"""Units of decoders: activations and rows by brute force, labels by hand, the page both ways."""

from dataclasses import replace

import pytest
import torch

from models.diagnostics.key_value_neurons import Triggers
from retromem.language.text_tokens import people_tokens
from retromem.panels.decoders.asked_decoder import question_blocks, written_decoder
from retromem.panels.decoders.decoder_neurons import LABELS, ROWS, TRAINED, UNTRAINED, DecoderNeuronsConfig
from retromem.panels.decoders.decoder_neurons_points import (
    decoder_neurons_points,
    hidden_at_last_token,
    labels_of_questions,
    right_kind,
    row_scores,
    words_that_begin_answers,
)
from retromem.panels.point_spread import curve
from retromem.panels.points import Point

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
TINY = DecoderNeuronsConfig(
    num_people=10, attributes=("birth_city", "major"), dim=8, depth=2, width=6, exposures=2, permutations=4
)
PEOPLE = TINY.people(0)


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return decoder_neurons_points(TINY, 0)


def test_labels_are_read_off_the_questions() -> None:
    labels_of = labels_of_questions(PEOPLE)
    texts, tokens = PEOPLE.ask("identical").queries.texts, people_tokens()
    for one in range(20):
        for other in range(20):
            same = {label: bool(of[one] == of[other]) for label, of in labels_of.items()}
            first, last = ([PEOPLE.subjects[row].split()[part] for row in (one, other)] for part in (0, 1))
            assert same["first_name"] == (first[0] == first[1]) and same["last_name"] == (last[0] == last[1])
            assert same["relation"] == (one % 2 == other % 2)
            bare = [texts[row].replace(PEOPLE.subjects[row], "") for row in (one, other)]
            assert same["wording"] == (bare[0] == bare[1]) and (same["relation"] or not same["wording"])
        answer = PEOPLE.values.strings[PEOPLE.value_ids_N[one]]
        assert tokens.text([int(labels_of["value"][one])]) == answer.split()[0]


def test_units_are_read_where_the_answer_is_written_and_rows_as_the_last_norm_leaves_them() -> None:
    memory = written_decoder(TINY, TINY.decoder(), PEOPLE, seed=0)
    decoder = memory.decoder
    for layer in (0, 1):
        hidden_NF = hidden_at_last_token(decoder, layer, PEOPLE)
        given = {}
        ffn = decoder.layers[layer].ffn
        for places, tokens_BT in question_blocks(PEOPLE.ask("identical").queries):
            seen = []
            hook = ffn.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
            with torch.no_grad():
                decoder(tokens_BT)
            hook.remove()
            given.update(zip(places, seen[0].view(*tokens_BT.shape, -1)[:, -1], strict=True))
        expected_NF = torch.stack([(given[row] @ ffn.w_in_DF).relu() for row in range(20)])
        torch.testing.assert_close(hidden_NF, expected_NF.detach())
    # Exact for the last layer: without the division by the length, logits are a sum over units and the stream before.
    scores_FV = row_scores(decoder, 1)
    (_, tokens_BT), *_ = question_blocks(PEOPLE.ask("identical").queries)
    with torch.no_grad():
        whole_BD = decoder.states(tokens_BT)[-1][:, -1]
        length_B1 = whole_BD.square().mean(1, keepdim=True).sqrt()
        places = next(iter(question_blocks(PEOPLE.ask("identical").queries)))[0]
        before_BD = whole_BD - hidden_at_last_token(decoder, 1, PEOPLE)[places] @ decoder.layers[1].ffn.w_out_FE
        of_units_BV = hidden_at_last_token(decoder, 1, PEOPLE)[places] @ scores_FV
        of_stream_BV = decoder.logits(before_BD * decoder.last_norm.weight)
        torch.testing.assert_close(
            (of_units_BV + of_stream_BV) / length_B1, decoder(tokens_BT)[:, -1], atol=1e-5, rtol=1e-4
        )


def test_words_of_the_right_kind_by_hand() -> None:
    begins_RV = words_that_begin_answers(PEOPLE, people_tokens().num_tokens)
    assert begins_RV.sum(1).tolist() == [128, 10]  # cities; kinds of majors
    relation_N = torch.tensor([0, 1] * 10)
    scores_FV = torch.zeros(4, begins_RV.shape[1])
    city, major = (int(begins_RV[relation].nonzero()[0]) for relation in (0, 1))
    scores_FV[[0, 1, 2, 3], [city, major, city, major]] = 1.0
    triggers = Triggers(activations_FK=torch.ones(4, 2), fact_ids_FK=torch.tensor([[0, 1], [3, 1], [5, 2], [-1, -1]]))
    share, null = right_kind(
        triggers, scores_FV, relation_N, begins_RV, permutations=300, generator=torch.Generator().manual_seed(0)
    )
    assert share == pytest.approx(2 / 3) and null == pytest.approx(0.5, abs=0.05)


def test_every_layer_is_read_trained_and_untrained(points: list[Point]) -> None:
    for labels in (TRAINED, UNTRAINED):
        for series in LABELS.values():
            for quantity in ("purity", "purity_permuted"):
                shares = curve(points, quantity, series, **labels)
                assert list(shares) == [1.0, 2.0] and all(0 < share.median <= 1 for share in shares.values())
        for quantity in ("live", "top", "top_permuted", "kind", "kind_permuted", "rank", "rank_permuted"):
            assert list(curve(points, quantity, ROWS, **labels)) == [1.0, 2.0]
    trained, untrained = (curve(points, "rank", ROWS, **labels)[2.0].median for labels in (TRAINED, UNTRAINED))
    assert trained != untrained


def test_the_finding_follows_the_points(points: list[Point]) -> None:
    def finding(own: float, null: float, untrained: float) -> str:
        changed = []
        for p in points:
            if p.quantity in ("purity", "rank", "kind", "top"):
                p = replace(p, y=own if p.labels == TRAINED else untrained)
            elif p.quantity.endswith("_permuted"):
                p = replace(p, y=null)
            changed.append(p)
        page = TINY.page(changed)
        return f"{page.answer} {page.finding}"

    said = finding(0.8, 0.3, 0.5)
    assert "in a share of 0.800 (permuted 0.300)" in said and "for 80 % (permuted 30 %) of units." in said
    assert f"more than with permuted labels: {', '.join([*LABELS.values()][:4])} and the answer's first word." in said
    assert "rows say what their triggers answer more than by chance." in said and "(permuted 30 %): more than" in said
    assert "training made them share more of the relation, the wording, " in said
    said = finding(0.3, 0.3, 0.3)
    assert "none more than permuted labels do." in said and "no clear sign that rows say" in said
    assert "no clear difference from chance." in said and said.endswith("training made them share no more.")
    assert "less than by chance" in finding(0.1, 0.3, 0.3)


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="triggers must be 2 to 3, the questions that there are"):
        DecoderNeuronsConfig(num_people=1, triggers=4)
    with pytest.raises(ValueError, match="wordings must be 1: a fact asked twice shares its answer with itself"):
        DecoderNeuronsConfig(wordings=2)
