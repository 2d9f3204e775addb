"""What `decoder_capacity` measures: decoders trained on records, and the loss of each name and value.

Shape legend: N people, T tokens of a record, A attributes, V tokens of the vocabulary, B records of a block.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from models.decoder import Decoder
from models.decoder_budget import DecoderBudget
from models.decoder_training import DecoderModule, fit_decoder
from models.token_batches import ShuffledPasses, ShuffledTexts
from retromem.knowledge.biographies import NUM_NAMES, BiographiesConfig
from retromem.language.people_records import PeopleRecords, people_records
from retromem.language.text_tokens import people_tokens
from retromem.measure.bit_complexity import KnowledgeBits, knowledge_bits
from retromem.panels.decoders.decoder_capacity import (
    DEMAND,
    PER_ACTIVE,
    PER_BESIDE,
    PER_TOTAL,
    DecoderCapacityConfig,
    shown,
)
from retromem.panels.points import Point

_AT_ONCE = 512


def decoder_capacity_points(config: DecoderCapacityConfig, seed: int) -> list[Point]:
    """Bits per parameter by exposures and people, and what there was to hold."""
    points = []
    num_tokens, decoder = people_tokens().num_tokens, config.decoder
    sizes = {
        PER_TOTAL: decoder.num_params(num_tokens),
        PER_BESIDE: decoder.num_params(num_tokens) - decoder.num_embedding_params(num_tokens),
        PER_ACTIVE: decoder.num_active_params(num_tokens),
    }
    for people in config.num_people:
        records = people_records(
            BiographiesConfig(num_people=people, num_birth_years=config.num_birth_years, seed=seed)
        )
        for exposures in config.exposures:
            bits = held_bits(trained(config, records, exposures, seed), records)
            own = {name: bits.total_bits / size for name, size in sizes.items()}
            own |= {"name_bits_per_person": bits.name_bits / people, "value_bits_per_person": bits.value_bits / people}
            point = Point(quantity=PER_TOTAL, series=shown(exposures), x=float(people), y=0.0, seed=seed)
            points += [replace(point, quantity=name, y=y) for name, y in own.items()]
            points.append(replace(point, labels=DEMAND, y=bits.demand_bits / sizes[PER_TOTAL]))
    return points


def trained(config: DecoderCapacityConfig, records: PeopleRecords, exposures: int, seed: int) -> Decoder:
    """On every token of the records, in so many passes."""
    generator = torch.Generator().manual_seed(seed)
    decoder = config.decoder.build(people_tokens().num_tokens, generator=generator)
    places_T = torch.arange(records.tokens_NT.shape[1])
    learnt_NT = (places_T > 0) & (places_T < records.lengths_N[:, None])
    num_people = len(records.tokens_NT)
    passes = ShuffledPasses(num_people, exposures=exposures, batch_size=config.batch_size, seed=seed)
    asked_N = torch.ones(num_people, dtype=torch.bool)
    budget = DecoderBudget(
        exposures=exposures,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        goal_nats=0.0,
        computes_in=config.computes_in,
        max_seconds=1e9,
    )
    batches = ShuffledTexts(records.tokens_NT, learnt_NT, records.lengths_N, asked_N, passes)
    fit_decoder(DecoderModule(decoder, batches, budget), accelerator="auto", name=f"decoder-{num_people}-{exposures}")
    return decoder


def held_bits(decoder: Decoder, records: PeopleRecords) -> KnowledgeBits:
    """Of the names and values of all people."""
    nats_NT = _nats(decoder, records.tokens_NT)
    of_values = [
        (nats_NT * (records.attribute_NT == number).numpy()).sum(1) for number in range(len(records.num_values_A))
    ]
    return knowledge_bits(
        (nats_NT * records.is_name_NT.numpy()).sum(1),
        np.stack(of_values, axis=1),
        num_names=NUM_NAMES,
        num_values_A=records.num_values_A,
    )


@torch.inference_mode()
def _nats(decoder: Decoder, tokens_NT: Tensor) -> Float64[ndarray, "N T"]:
    """Loss of each token after those before it; 0 for the first."""
    nats_NT = np.zeros(tuple(tokens_NT.shape))
    for start in range(0, len(tokens_NT), _AT_ONCE):
        tokens_BT = tokens_NT[start : start + _AT_ONCE]
        log_probs_BTV = decoder(tokens_BT[:, :-1]).float().log_softmax(-1)
        of_next_BT = log_probs_BTV.gather(2, tokens_BT[:, 1:, None])[:, :, 0]
        nats_NT[start : start + len(tokens_BT), 1:] = -of_next_BT.double().numpy()
    return nats_NT
