"""Facts whose keys are an encoder's, and tables that differ from them in nothing but their keys.

Shape legend: N facts, D key dimension, K dimension of the encoder, V values, E code dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from retrieval.errors import UserError
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.trained_ffn import KeyTable, unit_rows
from retromem.panels.limits.encoder_keys import CITIES, RANDOM, SHAPED


@dataclass(frozen=True, kw_only=True)
class LimitFacts:
    """By whose keys they have: tables of one relation, and pairs of tables."""

    tables: dict[str, KeyTable]
    relations: dict[str, tuple[KeyTable, KeyTable]]
    """two facts of each subject, one of each relation; a relation's values have codes of their own"""
    encoder_keys_NK: Float[Tensor, "N K"]
    """of all subjects, before they were turned"""


def common_values(
    value_ids_N: Int64[ndarray, " N"], num_values: int
) -> tuple[Int64[ndarray, " M"], Int64[Tensor, " M"]]:
    """The facts whose value is among the most common, and new ids of their values: 0 for the most common."""
    ranked = np.argsort(-np.bincount(value_ids_N), kind="stable")[:num_values]
    new_id = {int(value): rank for rank, value in enumerate(ranked)}
    kept_M = np.flatnonzero(np.isin(value_ids_N, ranked))
    return kept_M, torch.tensor([new_id[int(value)] for value in value_ids_N[kept_M]], dtype=torch.int64)


def beside(of_a: KeyTable, of_b: KeyTable, *, own_codes: bool) -> KeyTable:
    """Both in one table: A's rows and, where each has codes of its own, A's values first."""
    ids_B = of_b.value_ids_N + len(of_a.codes_VE) if own_codes else of_b.value_ids_N
    return KeyTable(
        keys_ND=torch.cat([of_a.keys_ND, of_b.keys_ND]),
        value_ids_N=torch.cat([of_a.value_ids_N, ids_B]),
        codes_VE=torch.cat([of_a.codes_VE, of_b.codes_VE]) if own_codes else of_a.codes_VE,
    )


def shaped(keys_ND: Float[Tensor, "N D"], generator: torch.Generator) -> Float[Tensor, "N D"]:
    """Gaussian keys with the mean and the covariance of these, of unit length."""
    mean_D, covariance_DD = keys_ND.double().mean(0), torch.cov(keys_ND.double().T)
    # Tiny directions may come out a little below 0.
    factor_DD = torch.linalg.cholesky(covariance_DD + 1e-6 * torch.eye(len(mean_D)).double())
    drawn_ND = mean_D + torch.randn(keys_ND.shape, generator=generator).double() @ factor_DD.T
    return functional.normalize(drawn_ND).float()


def limit_facts(sets: Sequence[KnowledgeSet], dim: int, num_values: int, *, seed: int) -> LimitFacts:
    """From the twins of two relations, with keys; the second has some of the subjects of the first.

    Keys of the encoder are seen in `dim` directions that are drawn and orthogonal. UserError where it has fewer.
    """
    keys_NK, other_keys_NK = (torch.from_numpy(np.asarray(one.facts().cues[0].keys_QD)) for one in sets)
    if keys_NK.shape[1] < dim:
        raise UserError(f"dim is {dim}, but the encoder's keys have {keys_NK.shape[1]} dimensions: ask for fewer")
    generator = torch.Generator().manual_seed(seed)
    turn_KD = torch.linalg.qr(torch.randn(keys_NK.shape[1], dim, generator=generator)).Q
    kept_N, ids_N = common_values(sets[0].value_ids_N, num_values)
    keys_ND = functional.normalize(keys_NK[kept_N] @ turn_KD)
    codes_VE = unit_rows(2 * num_values, dim, generator)
    of_cities = KeyTable(keys_ND=keys_ND, value_ids_N=ids_N, codes_VE=codes_VE[:num_values])
    tables = {
        CITIES: of_cities,
        RANDOM: replace(of_cities, keys_ND=unit_rows(len(keys_ND), dim, generator)),
        SHAPED: replace(of_cities, keys_ND=shaped(keys_ND, generator)),
    }

    other_N, other_ids_N = common_values(sets[1].value_ids_N, num_values)
    row_of = {name: row for row, name in enumerate(_subjects(sets[0], kept_N))}
    pairs = [(row_of[name], row) for row, name in enumerate(_subjects(sets[1], other_N)) if name in row_of]
    firsts, seconds = ([pair[side] for pair in pairs] for side in (0, 1))
    first = KeyTable(keys_ND=keys_ND[firsts], value_ids_N=ids_N[firsts], codes_VE=codes_VE[:num_values])
    second = KeyTable(
        keys_ND=functional.normalize(other_keys_NK[other_N][seconds] @ turn_KD),
        value_ids_N=other_ids_N[seconds],
        codes_VE=codes_VE[num_values:],
    )
    random = [replace(one, keys_ND=unit_rows(len(pairs), dim, generator)) for one in (first, second)]
    return LimitFacts(
        tables=tables,
        relations={CITIES: (first, second), RANDOM: (random[0], random[1])},
        encoder_keys_NK=keys_NK,
    )


def _subjects(knowledge: KnowledgeSet, chosen_N: Int64[ndarray, " N"]) -> list[str]:
    assert knowledge.text is not None
    return [knowledge.text.subjects[row] for row in knowledge.rows_N[chosen_N].tolist()]
