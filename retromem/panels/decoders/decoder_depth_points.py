"""Points of decoders over depth: how alike tokens are after each layer, before and after training, and what is held.

Shape legend: B questions of one length, T their tokens, D dimension of the stream.
"""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor

from models.decoder import Decoder
from models.diagnostics.matrix_rank import activation_ranks, effective_rank
from models.diagnostics.token_similarity import averaged_over_the_past, distance_from_one_vector, mean_cosine
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.panels.decoders.asked_decoder import held, question_blocks, written_decoder
from retromem.panels.decoders.decoder_depth import ARMS, AVERAGING, OF_TOKENS, DecoderDepthConfig
from retromem.panels.points import Point


def decoder_depth_points(config: DecoderDepthConfig, seed: int) -> list[Point]:
    """Every arm, untrained and trained."""
    people = config.people(seed)
    blocks = [tokens_BT for _, tokens_BT in question_blocks(people.ask("identical").queries)]
    points = [Point(quantity="demand_per_fact", series="demand", y=people.demand_bits() / people.num_facts, seed=seed)]

    def add(when: str, series: str, states: list[list[Tensor]], seed: int | None = seed) -> None:
        for layer, of_blocks in enumerate(states):
            for quantity, y in of_states(of_blocks).items():
                points.append(Point(quantity=f"{quantity}_{when}", series=series, x=float(layer), y=y, seed=seed))

    for arm in ARMS:
        add("untrained", arm, _written_states(config, arm, people, blocks, points, trained=False, seed=seed))
        add("trained", arm, _written_states(config, arm, people, blocks, points, trained=True, seed=seed))
    add("untrained", AVERAGING, _averaged_states(config, people, blocks, seed=seed), seed=None)
    return points


def _written_states(
    config: DecoderDepthConfig,
    arm: str,
    people: KnowledgeSet,
    blocks: list[Tensor],
    points: list[Point],
    *,
    trained: bool,
    seed: int,
) -> list[list[Tensor]]:
    memory = written_decoder(config, config.arm(arm), people, seed=seed, trained=trained)
    if trained:
        found = held(memory, people)
        for quantity in ("accuracy", "bits_per_fact"):
            points.append(Point(quantity=quantity, series=arm, y=getattr(found, quantity), seed=seed))
    return states_of(memory.decoder, blocks)


@torch.no_grad()
def states_of(decoder: Decoder, blocks: list[Tensor]) -> list[list[Tensor]]:
    """For the tokens and after each layer: the states of each block, computed in float64."""
    double = deepcopy(decoder).double()
    return [list(of_layer) for of_layer in zip(*(double.states(tokens_BT) for tokens_BT in blocks), strict=True)]


@torch.no_grad()
def _averaged_states(
    config: DecoderDepthConfig, people: KnowledgeSet, blocks: list[Tensor], *, seed: int
) -> list[list[Tensor]]:
    memory = written_decoder(config, config.arm(next(iter(ARMS))), people, seed=seed, trained=False)
    states = [[memory.decoder.embedded(tokens_BT).double() for tokens_BT in blocks]]
    for _ in range(config.depth):
        states.append([averaged_over_the_past(x_BTD) for x_BTD in states[-1]])
    return states


def of_states(blocks_BTD: list[Tensor]) -> Mapping[str, float]:
    """Each quantity of OF_TOKENS: means over the texts, and the rank of all last tokens."""

    def mean(of_block: list[Tensor]) -> float:
        return float(torch.cat(of_block).mean())

    found = {
        "cosine": mean([mean_cosine(x_BTD) for x_BTD in blocks_BTD]),
        "distance": mean([distance_from_one_vector(x_BTD) for x_BTD in blocks_BTD]),
        "token_rank": mean([effective_rank(torch.linalg.svdvals(x_BTD.double())) for x_BTD in blocks_BTD]),
        "fact_rank": float(activation_ranks([x_BTD[:, -1] for x_BTD in blocks_BTD]).effective),
    }
    assert found.keys() == OF_TOKENS.keys()
    return found
