"""Which kinds of FFN have a forward and backward pass that is written out, and the pass of each.

Shape legend: B batch, D input dimension.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from models.expert_passes import expert_layer
from models.experts import ExpertsFFN
from models.ffn import FFN, DenseFFN, GatedFFN, LinearMap
from models.layer_passes import ACTIVATION_PASSES, RELU, Affine, HiddenLayer, dense_layer, gated_layer, winners_layer
from models.precisions import BITS, Precision
from models.product_key_passes import memory_layer
from models.product_keys import OneNeuronExperts, ProductKeyMemory
from models.topk import TopKFFN

MOST_EXPERT_UNITS = 400
"""hidden units of all routed experts: all are computed, so that beyond some 450 (at 512 facts a step; 320 at 4,096)
autograd is faster, which computes the chosen ones alone"""
MOST_SLOTS_A_READ = 64
"""slots of a memory for each slot read: likewise the whole table is multiplied"""
MOST_SLOTS_A_HEAD = 16
"""that each head reads: each is one more round of the choice"""
FEWEST_BITS_OF_SUB_KEYS = 6
"""where they are rounded in training: coarser ones are equal to others, and which of two equal slots is read must then
be settled as torch.topk will settle it once they are stored"""


def has_passes(ffn: FFN, rounds_to: Precision | None) -> bool:
    """Whether a pass is written out for this FFN, its weights rounded to this precision at every step, and pays.

    Left to autograd: stacks, hashed lookup, annealed winners, experts balanced by biases, normalised queries, and what
    the limits above exclude. Kinds are compared by their very class: one that is derived may ask for something else.
    """
    kind = type(ffn)
    if kind in (LinearMap, DenseFFN, GatedFFN):
        return True
    if isinstance(ffn, TopKFFN):
        return kind is TopKFFN and not ffn.annealed
    if isinstance(ffn, ExpertsFFN):
        config, routed = ffn.config, ffn.w_out_SFE.shape[:2].numel()
        return kind is ExpertsFFN and config.balancing != "bias" and routed <= MOST_EXPERT_UNITS
    if isinstance(ffn, ProductKeyMemory | OneNeuronExperts):
        return kind in (ProductKeyMemory, OneNeuronExperts) and _has_memory_passes(ffn, rounds_to)
    return False


def _has_memory_passes(ffn: ProductKeyMemory | OneNeuronExperts, rounds_to: Precision | None) -> bool:
    retrieval = ffn.retrieval
    if retrieval.norm != "none" or retrieval.top_k > MOST_SLOTS_A_HEAD:
        return False
    if rounds_to is not None:
        precision = ffn.stored_apart(rounds_to).get("retrieval.sub_keys_H2NC", rounds_to)
        if BITS[precision] < FEWEST_BITS_OF_SUB_KEYS:
            return False
    return retrieval.num_sub_keys**2 <= MOST_SLOTS_A_READ * retrieval.heads * retrieval.top_k


def layers_of(
    ffn: FFN, x_BD: Float[Tensor, "B D"], weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
) -> tuple[HiddenLayer | None, Affine]:
    """Its hidden units, None for a linear map, which has none; and its read-out. By name, what they read and write."""

    def affine(weight: str, bias: str) -> Affine:
        return Affine(weights[weight], gradients[weight], weights.get(bias), gradients.get(bias))

    match ffn:
        case LinearMap():
            return None, affine("w_DE", "no bias")
        case ExpertsFFN():
            return expert_layer(ffn, x_BD, weights, gradients)
        case ProductKeyMemory() | OneNeuronExperts():
            return memory_layer(ffn, x_BD, weights, gradients)
    inputs, read_out = affine("w_in_DF", "b_in_F"), affine("w_out_FE", "b_out_E")
    match ffn:
        case GatedFFN():
            return gated_layer(x_BD, ACTIVATION_PASSES[ffn.kind], affine("w_gate_DF", "b_gate_F"), inputs), read_out
        case DenseFFN():
            return dense_layer(x_BD, ACTIVATION_PASSES[ffn.kind], inputs), read_out
        case TopKFFN() if ffn.winners < ffn.units:
            return winners_layer(x_BD, inputs, ffn.winners, straight_through=ffn.straight_through), read_out
        case _:
            return dense_layer(x_BD, RELU, inputs), read_out
