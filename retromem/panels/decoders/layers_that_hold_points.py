"""Points of the layers that hold: bits lost without a branch, and bits that decoders of one FFN hold.

Shape legend: D dimension of the stream.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.diagnostics.branch_ablation import Branch, ablated, mean_outputs
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.memories.closed_book_memory import ClosedBookMemory
from retromem.panels.decoders.asked_decoder import Held, held, question_blocks, written_decoder
from retromem.panels.decoders.layers_that_hold import (
    ALL_FFNS,
    PARTS,
    TO_MEAN,
    TO_ZEROS,
    WHOLE,
    LayersThatHoldConfig,
)
from retromem.panels.points import Point


def layers_that_hold_points(config: LayersThatHoldConfig, seed: int) -> list[Point]:
    """Every arm trained and asked, the whole decoder with its branches ablated too."""
    people = config.people(seed)
    points = [Point(quantity="demand_per_fact", series="demand", y=people.demand_bits() / people.num_facts, seed=seed)]
    for arm, decoder in config.arms().items():
        memory = written_decoder(config, decoder, people, seed=seed)
        found = held(memory, people)
        num_params = sum(weight.numel() for weight in memory.decoder.parameters())
        measured = {"bits_per_fact": found.bits_per_fact, "accuracy": found.accuracy, "num_params": float(num_params)}
        points += [Point(quantity=quantity, series=arm, y=y, seed=seed) for quantity, y in measured.items()]
        if arm == WHOLE:
            points += _ablations(memory, people, found, seed=seed)
    return points


def _ablations(memory: ClosedBookMemory, people: KnowledgeSet, whole: Held, *, seed: int) -> list[Point]:
    points = []
    means = mean_outputs(memory.decoder, [tokens for _, tokens in question_blocks(people.ask("identical").queries)])
    zeros = {branch: torch.zeros_like(mean_D) for branch, mean_D in means.items()}
    for labels, given in ((TO_ZEROS, zeros), (TO_MEAN, means)):
        for series, layer, chosen in _chosen(given):
            with ablated(memory.decoder, chosen):
                left = held(memory, people)
            lost = {
                "bits_lost": whole.bits_per_fact - left.bits_per_fact,
                "accuracy_lost": whole.accuracy - left.accuracy,
            }
            for quantity, y in lost.items():
                points.append(Point(quantity=quantity, series=series, labels=labels, x=layer, y=y, seed=seed))
    return points


def _chosen(given_D: Mapping[Branch, Tensor]) -> list[tuple[str, float | None, dict[Branch, Tensor]]]:
    """(series, layer from 1, what is ablated): each branch by itself, and all FFNs."""
    single: list[tuple[str, float | None, dict[Branch, Tensor]]] = [
        (PARTS[part], float(layer + 1), {(layer, part): vector_D}) for (layer, part), vector_D in given_D.items()
    ]
    ffns = {branch: vector_D for branch, vector_D in given_D.items() if branch[1] == "ffn"}
    return [*single, (ALL_FFNS, None, ffns)]
