"""Forward and backward pass of product keys and one-neuron experts, written out as operations on fixed buffers.

The best slots of a head lie among few pairs of its best sub-keys: of the i-th of one half and the j-th of the other
only those with i j <= K. Scores, weights and gradients are kept for these pairs alone; pairs that are not read weigh 0.
What is read is one product with the whole table. Keys come last, so that all else runs along the batch.

Shape legend: B batch, D input dimension, H heads, Q dimension of all queries, C of half of one, N sub-keys of a half,
K slots that a head reads, T sub-keys that can be part of one (the smaller of N and K), P pairs, J = H P, S = N^2 slots,
E output dimension, G = 2 H halves of queries.
"""

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.choice_passes import choice_of, kept
from models.layer_passes import ACTIVATION_PASSES, Affine, HiddenLayer
from models.product_keys import OneNeuronExperts, ProductKeyMemory, ProductKeys
from models.rounding import Operation


def _pairs_that_can_win(num_sub_keys: int, top_k: int) -> list[tuple[int, int]]:
    """Ranks of sub-keys in their halves, from 0. Every pair of i better ones and j better ones is at least as good."""
    best = range(min(num_sub_keys, top_k))
    return [(i, j) for i in best for j in best if (i + 1) * (j + 1) <= top_k]


class _Retrieval:
    """From the input to weights of pairs and their slots, and from the gradient of these weights back."""

    def __init__(
        self,
        retrieval: ProductKeys,
        x_BD: Float[Tensor, "B D"],
        weights: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
    ) -> None:
        heads, num_sub_keys, batch = retrieval.heads, retrieval.num_sub_keys, len(x_BD)
        pairs, new = _pairs_that_can_win(num_sub_keys, retrieval.top_k), x_BD.new_empty
        best = min(num_sub_keys, retrieval.top_k)
        w_query_DQ, sub_keys_GNC = weights["retrieval.w_query_DQ"], weights["retrieval.sub_keys_H2NC"].flatten(0, 1)
        query_GCB = new(2 * heads, sub_keys_GNC.shape[2], batch)
        score_GNB, best_GTB = new(2 * heads, num_sub_keys, batch), new(2 * heads, best, batch)
        at_GTB = torch.empty_like(best_GTB, dtype=torch.int64)
        # Sums over the two sub-keys of a pair are products with a matrix: the halves of a head are one column.
        both_P2T, slot_P2T = x_BD.new_zeros(2, len(pairs), 2 * best)
        for pair, (i, j) in enumerate(pairs):
            both_P2T[pair, i] = both_P2T[pair, best + j] = 1
            slot_P2T[pair, i], slot_P2T[pair, best + j] = num_sub_keys, 1
        score_HPB, softmax_HPB, part_HPB = new(3, heads, len(pairs), batch)
        sum_H1B = new(heads, 1, batch)
        self.weight_HPB, self.weight_gradient_HPB = new(2, heads, len(pairs), batch)
        self.slot_JB: Int64[Tensor, "J B"] = at_GTB.new_empty(heads * len(pairs), batch)
        halves, chosen = choice_of(score_GNB, best), choice_of(score_HPB, retrieval.top_k)
        compare, over_HPB = chosen.among_all()

        def of_pairs(matrix_P2T: Tensor, x_GTB: Tensor, out: Tensor) -> Operation:
            return partial(torch.bmm, matrix_P2T.expand(heads, -1, -1), x_GTB.view(heads, 2 * best, batch), out=out)

        self.forward: list[Operation] = [
            partial(torch.mm, w_query_DQ.T, x_BD.T, out=query_GCB.view(-1, batch)),
            partial(torch.bmm, sub_keys_GNC, query_GCB, out=score_GNB),
            *halves.find,
            *halves.places(out=at_GTB),
            partial(best_GTB.copy_, at_GTB),
            of_pairs(slot_P2T, best_GTB, part_HPB),
            partial(self.slot_JB.copy_, part_HPB.view(-1, batch)),
            partial(torch.gather, score_GNB, 1, at_GTB, out=best_GTB),
            of_pairs(both_P2T, best_GTB, score_HPB),
            *chosen.find,
            compare,
            # The first pair is the best of all.
            partial(torch.sub, score_HPB, score_HPB[:, :1], out=softmax_HPB),
            softmax_HPB.exp_,
            kept(softmax_HPB, over_HPB, out=softmax_HPB),
            partial(torch.sum, softmax_HPB, dim=1, keepdim=True, out=sum_H1B),
            partial(softmax_HPB.div_, sum_H1B),
        ]
        if retrieval.scored:
            self.forward.append(partial(torch.mul, softmax_HPB, score_HPB, out=self.weight_HPB))
        else:
            self.weight_HPB = softmax_HPB
        # The scores have been read: a buffer less is one that the cache need not hold.
        score_gradient_GNB, query_gradient_GCB = score_GNB, torch.empty_like(query_GCB)
        self.backward: list[Operation] = [
            # With s the softmax and w the weight, d(score) = dw w - s sum(dw w), and dw s where w is s times the score.
            partial(torch.mul, self.weight_gradient_HPB, self.weight_HPB, out=part_HPB),
            partial(torch.sum, part_HPB, dim=1, keepdim=True, out=sum_H1B),
            *([partial(part_HPB.addcmul_, self.weight_gradient_HPB, softmax_HPB)] if retrieval.scored else []),
            partial(part_HPB.addcmul_, softmax_HPB, sum_H1B, value=-1),
            partial(torch.bmm, both_P2T.T.expand(heads, -1, -1), part_HPB, out=best_GTB.view(heads, 2 * best, batch)),
            score_gradient_GNB.zero_,
            partial(score_gradient_GNB.scatter_, 1, at_GTB, best_GTB),
            partial(
                torch.bmm,
                *(score_gradient_GNB, query_GCB.transpose(1, 2)),
                out=gradients["retrieval.sub_keys_H2NC"].flatten(0, 1),
            ),
            partial(torch.bmm, sub_keys_GNC.transpose(1, 2), score_gradient_GNB, out=query_gradient_GCB),
            partial(torch.mm, x_BD.T, query_gradient_GCB.view(-1, batch).T, out=gradients["retrieval.w_query_DQ"]),
        ]


def memory_layer(
    ffn: ProductKeyMemory | OneNeuronExperts,
    x_BD: Float[Tensor, "B D"],
    weights: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
) -> tuple[HiddenLayer, Affine]:
    """The weight of every slot, times its unit where it has one; and what the slots hold."""
    retrieval = _Retrieval(ffn.retrieval, x_BD, weights, gradients)
    weight_JB, weight_gradient_JB = retrieval.weight_HPB.flatten(0, 1), retrieval.weight_gradient_HPB.flatten(0, 1)
    name = "values_SE" if isinstance(ffn, ProductKeyMemory) else "v_SE"
    num_slots = len(weights[name])
    weight_SB, gradient_SB = x_BD.new_empty(2, num_slots, len(x_BD))
    forward: list[Operation] = [
        *retrieval.forward,
        weight_SB.zero_,
        partial(weight_SB.scatter_add_, 0, retrieval.slot_JB, weight_JB),
    ]
    backward: list[Operation] = []
    h_SB = weight_SB
    if isinstance(ffn, OneNeuronExperts):
        activation = ACTIVATION_PASSES[ffn.activation]
        before_SB, after_SB, h_SB, unit_gradient_SB = x_BD.new_empty(4, num_slots, len(x_BD))
        unit_SB, activate = activation.forward(before_SB, after_SB)
        forward += [
            partial(torch.mm, weights["u_SD"], x_BD.T, out=before_SB),
            *activate,
            partial(torch.mul, weight_SB, unit_SB, out=h_SB),
        ]
        backward = [
            partial(torch.mul, gradient_SB, weight_SB, out=unit_gradient_SB),
            partial(gradient_SB.mul_, unit_SB),
            *activation.backward(unit_gradient_SB, before_SB, unit_SB),
            partial(torch.mm, unit_gradient_SB, x_BD, out=gradients["u_SD"]),
        ]
    backward.append(partial(torch.gather, gradient_SB, 0, retrieval.slot_JB, out=weight_gradient_JB))
    backward += retrieval.backward
    return HiddenLayer(h_SB.T, gradient_SB.T, forward, backward), Affine(weights[name], gradients[name], None, None)
