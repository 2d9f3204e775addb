"""Points of hidden units of decoders: what their triggers share, what their output rows say, labels permuted.

Shape legend: N questions, T tokens, F hidden units, D dimension of the stream, V tokens of the vocabulary, R relations.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from models.decoder import Decoder
from models.diagnostics.key_value_neurons import (
    Triggers,
    key_value_agreement,
    top_triggers,
    trigger_purity,
)
from models.ffn import HiddenLayerFFN
from models.self_attention import rotation_of
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.language.text_tokens import people_tokens
from retromem.panels.decoders.asked_decoder import held, question_blocks, written_decoder
from retromem.panels.decoders.decoder_neurons import (
    ASKED,
    LABELS,
    ROWS,
    TRAINED,
    UNTRAINED,
    WITHIN_RELATION,
    DecoderNeuronsConfig,
)
from retromem.panels.points import Point


def decoder_neurons_points(config: DecoderNeuronsConfig, seed: int) -> list[Point]:
    """Every layer, trained and untrained."""
    people = config.people(seed)
    labels_of = labels_of_questions(people)
    points = []
    for labels in (TRAINED, UNTRAINED):
        memory = written_decoder(config, config.decoder(), people, seed=seed, trained=labels == TRAINED)
        accuracy = held(memory, people).accuracy
        points.append(Point(quantity="accuracy", series=ASKED, labels=labels, y=accuracy, seed=seed))
        for layer in range(config.depth):
            generator = torch.Generator().manual_seed(40_000 + seed)
            for series, read in _readings(config, memory.decoder, layer, people, labels_of, generator).items():
                for quantity, y in read.items():
                    points.append(Point(quantity=quantity, series=series, labels=labels, x=layer + 1.0, y=y, seed=seed))
    return points


def labels_of_questions(people: KnowledgeSet) -> Mapping[str, Int64[Tensor, " N"]]:
    """Each of LABELS as a number from 0, for the questions as written; the value as the answer's first token."""
    queries = people.ask("identical").queries
    assert queries.texts is not None and people.values.strings is not None
    names = [subject.split() for subject in people.subjects]
    values = [people.values.strings[value] for value in people.value_ids_N.tolist()]
    found = {
        "relation": torch.from_numpy(people.relation_ids_N),
        "wording": _numbered(
            [text.replace(subject, "") for text, subject in zip(queries.texts, people.subjects, strict=True)]
        ),
        "first_name": _numbered([first for first, _ in names]),
        "last_name": _numbered([last for _, last in names]),
        "value": torch.tensor([ids[0] for ids in people_tokens().ids(values)]),
    }
    assert found.keys() == LABELS.keys()
    return found


def _numbered(labels: Sequence[str]) -> Int64[Tensor, " N"]:
    number_of = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return torch.tensor([number_of[label] for label in labels])


@torch.no_grad()
def hidden_at_last_token(decoder: Decoder, layer: int, people: KnowledgeSet) -> Float[Tensor, "N F"]:
    """Activations of the units of this layer, counted from 0, where the answer's first token is written."""
    module = decoder.layers[layer]
    rows: dict[int, Tensor] = {}
    ffn = dict(decoder.ffns())[layer]
    assert isinstance(ffn, HiddenLayerFFN)
    for places, tokens_BT in question_blocks(people.ask("identical").queries):
        x_BTD = decoder.states(tokens_BT)[layer]
        rotation = rotation_of(torch.arange(tokens_BT.shape[1]), decoder.config.dim // decoder.config.heads, x_BTD)
        given_BD = module.ffn_input(x_BTD, rotation)[:, -1]  # type: ignore[operator]
        rows.update(zip(places, ffn.hidden(given_BD), strict=True))
    return torch.stack([rows[place] for place in range(len(rows))])


@torch.no_grad()
def row_scores(decoder: Decoder, layer: int) -> Float[Tensor, "F V"]:
    """What the row of each unit of this layer, counted from 0, adds to the logits where nothing comes in between, but
    for the length that the last norm divides by."""
    ffn = dict(decoder.ffns())[layer]
    assert isinstance(ffn, HiddenLayerFFN)
    gain_D = torch.ones(())
    if decoder.last_norm is not None:
        gain_D = decoder.last_norm.get_parameter("weight")
    return decoder.logits(ffn.w_out_FE * gain_D)


def _readings(
    config: DecoderNeuronsConfig,
    decoder: Decoder,
    layer: int,
    people: KnowledgeSet,
    labels_of: Mapping[str, Tensor],
    generator: torch.Generator,
) -> dict[str, dict[str, float]]:
    """Quantities by series."""
    hidden_NF, scores_FV = hidden_at_last_token(decoder, layer, people), row_scores(decoder, layer)
    triggers = top_triggers([hidden_NF], num_triggers=config.triggers)
    relation_N, permutations = labels_of["relation"], config.permutations
    read: dict[str, dict[str, float]] = {}
    for label, series in LABELS.items():
        found = trigger_purity(
            triggers,
            labels_of[label],
            permutations=permutations,
            generator=generator,
            groups_N=relation_N if label in WITHIN_RELATION else None,
        )
        read[series] = {"purity": found.observed, "purity_permuted": found.null_mean}
    agreement = key_value_agreement(
        triggers,
        scores_FV,
        labels_of["value"],
        torch.zeros_like(relation_N),
        torch.full_like(relation_N, scores_FV.shape[1]),
        permutations=permutations,
        generator=generator,
        groups_N=relation_N,
    )
    begins_RV = words_that_begin_answers(people, scores_FV.shape[1])
    of_kind = right_kind(triggers, scores_FV, relation_N, begins_RV, permutations=permutations, generator=generator)
    read[ROWS] = {
        "live": float((triggers.fact_ids_FK[:, 0] >= 0).double().mean()),
        "top": agreement.top.observed,
        "top_permuted": agreement.top.null_mean,
        "rank": agreement.reciprocal_rank.observed,
        "rank_permuted": agreement.reciprocal_rank.null_mean,
        "kind": of_kind[0],
        "kind_permuted": of_kind[1],
    }
    return read


def words_that_begin_answers(people: KnowledgeSet, num_tokens: int) -> Bool[Tensor, "R V"]:
    """Of each relation, the first tokens of its values."""
    assert people.values.strings is not None
    starts = people.values.starts
    begins_RV = torch.zeros(len(people.values.relations), num_tokens, dtype=torch.bool)
    for relation, (first, end) in enumerate(pairwise(starts)):
        ids = people_tokens().ids(people.values.strings[first:end])
        begins_RV[relation, [answer[0] for answer in ids]] = True
    return begins_RV


def right_kind(
    triggers: Triggers,
    scores_FV: Float[Tensor, "F V"],
    relation_N: Int64[Tensor, " N"],
    begins_RV: Bool[Tensor, "R V"],
    *,
    permutations: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Share of the units with triggers whose highest word begins an answer of the first trigger's relation; the mean of
    the same with relations permuted over the questions."""
    first_F = triggers.fact_ids_FK[:, 0]
    live_F = first_F >= 0
    top_F = scores_FV.argmax(1)

    def share(relation_N: Tensor) -> float:
        return float(begins_RV[relation_N[first_F[live_F]], top_F[live_F]].double().mean())

    null = [share(relation_N[torch.randperm(len(relation_N), generator=generator)]) for _ in range(permutations)]
    return share(relation_N), sum(null) / len(null)
