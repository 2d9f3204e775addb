"""Willshaw's associative memory: one bit a synapse, switched on where an active cue unit meets an active target unit.

Willshaw, Buneman and Longuet-Higgins 1969 (Nature 222:960). A pattern is the list of its active units, of which there
are few; the memory is the OR of all outer products of cue and target. A synapse, once on, stays on: facts are added in
any order, one by one, and none can be taken out.

Shape legend: P patterns, B batch of cues, F cue units, U target units, K active units of a cue, L active units of a
target, T target units that are named.
"""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


def willshaw_memory(
    cues_PK: Int64[Tensor, "P K"], targets_PL: Int64[Tensor, "P L"], *, cue_units: int, target_units: int
) -> Bool[Tensor, "F U"]:
    """The synapses that are on: w_fu where any pattern has both cue unit f and target unit u active.

    Of random patterns a share 1 - (1 - K L / (F U))^P is on. IndexError for a unit that there is not.
    """
    w_FU = torch.zeros(cue_units, target_units, dtype=torch.bool)
    for units_P in cues_PK.T:
        w_FU[units_P[:, None], targets_PL] = True
    return w_FU


def lit_synapses(w_FU: Bool[Tensor, "F U"], cues_BK: Int64[Tensor, "B K"]) -> Int64[Tensor, "B U"]:
    """For each target unit, how many of the active cue units have their synapse to it on: 0 to K."""
    lit_BU = torch.zeros(len(cues_BK), w_FU.shape[1], dtype=torch.int16)
    for units_B in cues_BK.T:
        lit_BU += w_FU[units_B]
    return lit_BU.long()


def fired_units(w_FU: Bool[Tensor, "F U"], cues_BK: Int64[Tensor, "B K"]) -> Bool[Tensor, "B U"]:
    """Recall by threshold: the target units that every active cue unit lights.

    Of a cue as it was written these are all units of its target, and false ones where other patterns happen to cover
    the whole cue.
    """
    fired_BU = torch.ones(len(cues_BK), w_FU.shape[1], dtype=torch.bool)
    for units_B in cues_BK.T:
        fired_BU &= w_FU[units_B]
    return fired_BU
