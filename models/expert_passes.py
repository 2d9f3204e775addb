"""Forward and backward pass of a mixture of experts, written out as operations on fixed buffers.

All experts are computed for every key, and those that were not chosen are multiplied by 0. It is the same function as
routing each key, for `experts / top_k` times the FLOPs and a fraction of the operations: a small mixture is faster so.
Units come first and keys last, so that an expert, its gate and the softmax over experts run along the batch.

Shape legend: B batch, D input dimension, S routed experts, F hidden units of one expert, R those of all routed experts,
X those of the shared ones, U of both, E output dimension, P all rows that meet the input (S + U, or S + 2 U if gated).
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from models.choice_passes import choice_of, kept
from models.experts import ExpertsFFN
from models.layer_passes import ACTIVATION_PASSES, Activation, Affine, HiddenLayer
from models.rounding import Operation

_ATEN = torch.ops.aten


class _Inputs:
    """Weights that meet the input, as rows of one matrix: one product where each of them would be one."""

    def __init__(
        self,
        groups: Sequence[Sequence[str]],
        x_BD: Float[Tensor, "B D"],
        weights: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
    ) -> None:
        """By name, weights of shape (..., D, F)."""
        batch, dim = x_BD.shape
        names = [name for group in groups for name in group]
        rows = {name: weights[name].numel() // dim for name in names}
        w_PD, w_gradient_PD = x_BD.new_empty(2, sum(rows.values()), dim)
        product_PB, gradient_PB = x_BD.new_empty(2, len(w_PD), batch)
        of_groups = [sum(rows[name] for name in group) for group in groups]
        self.products, self.gradients = product_PB.split(of_groups), gradient_PB.split(of_groups)
        """of each group of names"""
        self.forward: list[Operation] = []
        self.backward: list[Operation] = [partial(torch.mm, gradient_PB, x_BD, out=w_gradient_PD)]
        parts = (w_PD.split([*rows.values()]), w_gradient_PD.split([*rows.values()]))
        for name, w_RD, gradient_RD in zip(names, *parts, strict=True):
            weight, gradient = weights[name].mT, gradients[name].mT
            self.forward.append(partial(w_RD.view(weight.shape).copy_, weight))
            self.backward.append(partial(gradient.copy_, gradient_RD.view(weight.shape)))
        self.forward.append(partial(torch.mm, w_PD, x_BD.T, out=product_PB))


class _Units:
    """Hidden units as if every expert answered, from the products with the input; and their way back."""

    def __init__(self, activation: Activation, inputs: _Inputs, gradient_UB: Float[Tensor, "U B"]) -> None:
        input_UB, *gate_UB = inputs.products[1:]
        input_gradient_UB, *gate_gradient_UB = inputs.gradients[1:]
        before_UB, before_gradient_UB = inputs.products[-1], inputs.gradients[-1]
        after_UB, h_UB = torch.empty_like(gradient_UB), torch.empty_like(gradient_UB)
        active_UB, self.forward = activation.forward(before_UB, after_UB)
        if gate_UB:
            self.h_UB = h_UB
            self.forward = [*self.forward, partial(torch.mul, active_UB, input_UB, out=h_UB)]
            self.backward: list[Operation] = [
                partial(torch.mul, gradient_UB, active_UB, out=input_gradient_UB),
                partial(torch.mul, gradient_UB, input_UB, out=gate_gradient_UB[0]),
            ]
        else:
            self.h_UB = active_UB
            self.backward = [partial(input_gradient_UB.copy_, gradient_UB)]
        self.backward += activation.backward(before_gradient_UB, before_UB, active_UB)


class _Gates:
    """Of the chosen experts S times the softmax over all, 0 of the others; and their way back."""

    def __init__(
        self, ffn: ExpertsFFN, logits_SB: Float[Tensor, "S B"], logits_gradient_SB: Float[Tensor, "S B"]
    ) -> None:
        num_experts = len(logits_SB)
        softmax_SB, self.gates_SB, self.gradient_SB = logits_SB.new_empty(3, *logits_SB.shape)
        choice = choice_of(logits_SB[None], ffn.config.top_k)
        compare, over_1SB = choice.among_all()
        self.forward: list[Operation] = [
            partial(torch.softmax, logits_SB, 0, out=softmax_SB),
            *choice.find,
            compare,
            kept(softmax_SB, over_1SB[0], out=self.gates_SB),
            partial(self.gates_SB.mul_, num_experts),
        ]
        self.backward: list[Operation] = [
            kept(self.gradient_SB, over_1SB[0], out=self.gradient_SB),
            partial(self.gradient_SB.mul_, num_experts),
            *_balancing(ffn, over_1SB[0], self.gradient_SB),
            partial(
                _ATEN._softmax_backward_data.out,
                *(self.gradient_SB, softmax_SB, 0, softmax_SB.dtype),
                grad_input=logits_gradient_SB,
            ),
        ]


def _balancing(ffn: ExpertsFFN, over_SB: Tensor, softmax_gradient_SB: Tensor) -> list[Operation]:
    """Adds the gradient of the auxiliary loss, in which how often each expert is chosen is a constant."""
    if ffn.config.balancing != "auxiliary":
        return []
    num_experts, batch = over_SB.shape
    ones_SB, chosen_SB, uses_S1 = torch.ones_like(over_SB), torch.empty_like(over_SB), over_SB.new_empty(num_experts, 1)
    # coefficient * S * sum of (share of the choices) * (mean softmax)
    of_one_use = ffn.config.auxiliary_coefficient * num_experts / (batch * ffn.config.top_k) / batch
    return [
        kept(ones_SB, over_SB, out=chosen_SB),
        partial(torch.sum, chosen_SB, dim=1, keepdim=True, out=uses_S1),
        partial(softmax_gradient_SB.add_, uses_S1, alpha=of_one_use),
    ]


def expert_layer(
    ffn: ExpertsFFN, x_BD: Float[Tensor, "B D"], weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
) -> tuple[HiddenLayer, Affine]:
    """Hidden units times the gate of their expert; and the matrices that read them out, one below the other.

    For experts that no bias balances.
    """
    assert ffn.bias_S is None
    (num_experts, units, _), batch = weights["w_out_SFE"].shape, len(x_BD)
    of_all = (("w_router_DS",), ("w_in_SDF", "shared_in_DF"), ("w_gate_SDF", "shared_gate_DF"))
    groups = [[name for name in group if name in weights] for group in of_all]
    inputs = _Inputs([group for group in groups if group], x_BD, weights, gradients)
    h_UB, gradient_UB = x_BD.new_empty(2, *inputs.products[1].shape)
    own = _Units(ACTIVATION_PASSES[ffn.config.activation], inputs, gradient_UB)
    gates = _Gates(ffn, inputs.products[0], inputs.gradients[0])
    read_out, join, part = _read_out(weights, gradients)
    routed = num_experts * units

    def by_expert(x_UB: Tensor) -> Tensor:
        return x_UB[:routed].view(num_experts, units, batch)

    forward: list[Operation] = [
        *(*inputs.forward, *gates.forward, *own.forward, *join),
        partial(torch.mul, by_expert(own.h_UB), gates.gates_SB[:, None], out=by_expert(h_UB)),
        *([partial(h_UB[routed:].copy_, own.h_UB[routed:])] if len(h_UB) > routed else []),
    ]
    # The gradient of the read-out has been taken: the hidden units are needed no more.
    of_gates_SFB = by_expert(h_UB)
    backward: list[Operation] = [
        *part,
        partial(torch.mul, by_expert(gradient_UB), by_expert(own.h_UB), out=of_gates_SFB),
        partial(torch.sum, of_gates_SFB, dim=1, out=gates.gradient_SB),
        partial(by_expert(gradient_UB).mul_, gates.gates_SB[:, None]),
        *(*gates.backward, *own.backward, *inputs.backward),
    ]
    return HiddenLayer(h_UB.T, gradient_UB.T, forward, backward), read_out


def _read_out(
    weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
) -> tuple[Affine, list[Operation], list[Operation]]:
    """One matrix for all hidden units; what joins it, and what takes its gradient apart again."""
    w_RE, gradient_RE = weights["w_out_SFE"].flatten(0, 1), gradients["w_out_SFE"].flatten(0, 1)
    if "shared_out_FE" not in weights:
        return Affine(w_RE, gradient_RE, None, None), [], []
    w_XE, gradient_XE = weights["shared_out_FE"], gradients["shared_out_FE"]
    w_UE, gradient_UE = w_RE.new_empty(2, len(w_RE) + len(w_XE), w_RE.shape[1])
    join: list[Operation] = [partial(torch.cat, [w_RE, w_XE], out=w_UE)]
    part: list[Operation] = [
        partial(gradient_RE.copy_, gradient_UE[: len(w_RE)]),
        partial(gradient_XE.copy_, gradient_UE[len(w_RE) :]),
    ]
    return Affine(w_UE, gradient_UE, None, None), join, part
