"""Invented people as records: a name and the person's values, each in its place.

    <begin> Ann Lee 7 March 1901 Arkendale Arberill Academy Urban Ethics Kesdell Airways <end>

Shape legend: N people, T tokens of a record, A attributes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from models.token_batches import padded
from retromem.knowledge.biographies import BiographiesConfig
from retromem.language.text_tokens import people_tokens


@dataclass(frozen=True)
class PeopleRecords:
    """Tokens, and what each of them is part of."""

    tokens_NT: Int64[Tensor, "N T"]
    lengths_N: Int64[Tensor, " N"]
    is_name_NT: Bool[Tensor, "N T"]
    attribute_NT: Int64[Tensor, "N T"]
    """number of the attribute that the token is part of; -1: none"""
    num_values_A: list[int]
    """that there are of each"""


def people_records(config: BiographiesConfig) -> PeopleRecords:
    """Of all people of the set. What follows from another attribute (the city of work, once the employer is known) adds
    nothing and is left out."""
    knowledge, tokens = config.build(), people_tokens()
    relations, strings = knowledge.values.relations, knowledge.values.strings
    assert knowledge.text is not None and strings is not None
    told = [number for number, name in enumerate(relations) if name != "work_city" or "employer" not in relations]
    num_people = knowledge.num_facts // len(relations)
    names = tokens.ids(list(knowledge.text.subjects[:: len(relations)]))
    values_PA = knowledge.value_ids_N.reshape(num_people, len(relations))
    spelt = tokens.ids(list(strings))
    texts, parts = [], []
    for person in range(num_people):
        text, part = [tokens.begin, *names[person]], [-1, *[-2] * len(names[person])]
        for place, number in enumerate(told):
            value = spelt[int(values_PA[person, number])]
            text += value
            part += [place] * len(value)
        texts.append([*text, tokens.end])
        parts.append([*part, -1])
    tokens_NT, lengths_N = padded(texts)
    parts_NT, _ = padded(parts, fill=-1)
    num_values_R = knowledge.values.num_candidates_R()
    return PeopleRecords(
        tokens_NT=tokens_NT,
        lengths_N=lengths_N,
        is_name_NT=parts_NT == -2,
        attribute_NT=torch.where(parts_NT >= 0, parts_NT, -1),
        num_values_A=num_values_R[np.array(told)].tolist(),
    )
