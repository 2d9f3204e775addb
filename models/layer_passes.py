"""Forward and backward pass of an FFN of one layer, written out as operations on buffers that are made once.

A pass is built for one input buffer and then run as often as that buffer is filled anew: nothing is allocated and no
graph is recorded, which is what a step of a small FFN spends most of its time on.

Shape legend: B batch, D input dimension, F hidden units, E code dimension, I inputs and O outputs of one matrix.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.rounding import Operation

_ATEN = torch.ops.aten


class Activation(NamedTuple):
    """A function of each hidden unit, and its derivative."""

    forward: Callable[[Tensor, Tensor], tuple[Tensor, list[Operation]]]
    """of (pre-activations, a buffer): where the activations will be, which may be in either"""
    backward: Callable[[Tensor, Tensor, Tensor], list[Operation]]
    """of (gradient, pre-activations, activations): the gradient times the derivative, in place"""


def _relu_gradient(gradient: Tensor, on: Tensor) -> list[Operation]:
    """Kept where `on` is above 0."""
    return [partial(_ATEN.threshold_backward.grad_input, gradient, on, 0, grad_input=gradient)]


RELU = Activation(
    lambda before, _: (before, [partial(torch.relu_, before)]),
    lambda gradient, _, after: _relu_gradient(gradient, after),
)
GELU = Activation(
    lambda before, after: (after, [partial(_ATEN.gelu.out, before, out=after)]),
    lambda gradient, before, _: [partial(_ATEN.gelu_backward.grad_input, gradient, before, grad_input=gradient)],
)
SILU = Activation(
    lambda before, after: (after, [partial(_ATEN.silu.out, before, out=after)]),
    lambda gradient, before, _: [partial(_ATEN.silu_backward.grad_input, gradient, before, grad_input=gradient)],
)
SIGMOID = Activation(
    lambda before, _: (before, [partial(torch.sigmoid_, before)]),
    lambda gradient, _, after: [partial(_ATEN.sigmoid_backward.grad_input, gradient, after, grad_input=gradient)],
)
IDENTITY = Activation(lambda before, _: (before, []), lambda *_: [])
ACTIVATION_PASSES: Mapping[str, Activation] = {
    **{"relu": RELU, "gelu": GELU, "silu": SILU, "identity": IDENTITY},
    **{"reglu": RELU, "geglu": GELU, "swiglu": SILU, "glu": SIGMOID, "bilinear": IDENTITY},
}
"""of the kinds in models.ffn.ACTIVATIONS"""


@dataclass(frozen=True)
class Affine:
    """x W + b: what is read, and where the gradients of both go."""

    w_IO: Tensor
    w_gradient_IO: Tensor
    b_O: Tensor | None
    b_gradient_O: Tensor | None

    def forward(self, x_BI: Tensor, *, out: Tensor) -> list[Operation]:
        if self.b_O is None:
            return [partial(torch.mm, x_BI, self.w_IO, out=out)]
        return [partial(torch.addmm, self.b_O, x_BI, self.w_IO, out=out)]

    def backward(self, x_BI: Tensor, gradient_BO: Tensor) -> list[Operation]:
        """Of the weights alone."""
        found: list[Operation] = [partial(torch.mm, x_BI.T, gradient_BO, out=self.w_gradient_IO)]
        if self.b_gradient_O is not None:
            found.append(partial(torch.sum, gradient_BO, dim=0, out=self.b_gradient_O))
        return found


class HiddenLayer(NamedTuple):
    """Buffers and operations of hidden units."""

    h_BF: Float[Tensor, "B F"]
    """once `forward` was run"""
    gradient_BF: Float[Tensor, "B F"]
    """to be filled before `backward`, which overwrites it"""
    forward: list[Operation]
    backward: list[Operation]


def dense_layer(x_BD: Float[Tensor, "B D"], activation: Activation, inputs: Affine) -> HiddenLayer:
    """activation(x W_in)."""
    before_BF, after_BF, gradient_BF = x_BD.new_empty(3, len(x_BD), inputs.w_IO.shape[1])
    h_BF, activate = activation.forward(before_BF, after_BF)
    return HiddenLayer(
        h_BF,
        gradient_BF,
        inputs.forward(x_BD, out=before_BF) + activate,
        activation.backward(gradient_BF, before_BF, h_BF) + inputs.backward(x_BD, gradient_BF),
    )


def gated_layer(x_BD: Float[Tensor, "B D"], activation: Activation, gates: Affine, inputs: Affine) -> HiddenLayer:
    """activation(x W_gate) * (x W_in)."""
    before_BF, after_BF, input_BF, h_BF, gradient_BF = x_BD.new_empty(5, len(x_BD), inputs.w_IO.shape[1])
    gate_BF, activate = activation.forward(before_BF, after_BF)
    # The gradient of the read-out has been taken: the hidden units are needed no more.
    input_gradient_BF = h_BF
    return HiddenLayer(
        h_BF,
        gradient_BF,
        [
            *(*gates.forward(x_BD, out=before_BF), *activate, *inputs.forward(x_BD, out=input_BF)),
            partial(torch.mul, gate_BF, input_BF, out=h_BF),
        ],
        [
            partial(torch.mul, gradient_BF, gate_BF, out=input_gradient_BF),
            *inputs.backward(x_BD, input_gradient_BF),
            partial(gradient_BF.mul_, input_BF),
            *activation.backward(gradient_BF, before_BF, gate_BF),
            *gates.backward(x_BD, gradient_BF),
        ],
    )


def winners_layer(x_BD: Float[Tensor, "B D"], inputs: Affine, winners: int, *, straight_through: bool) -> HiddenLayer:
    """Of relu(x W_in) the `winners` largest of each row, the others 0. Those that tie with the next one are silent."""
    all_BF, over_BF, h_BF, gradient_BF = x_BD.new_empty(4, len(x_BD), inputs.w_IO.shape[1])
    return HiddenLayer(
        h_BF,
        gradient_BF,
        [
            *inputs.forward(x_BD, out=all_BF),
            partial(torch.relu_, all_BF),
            lambda: torch.sub(all_BF, _largest_but(winners, all_BF), out=over_BF),
            partial(_ATEN.threshold_backward.grad_input, all_BF, over_BF, 0, grad_input=h_BF),
        ],
        _relu_gradient(gradient_BF, all_BF if straight_through else h_BF) + inputs.backward(x_BD, gradient_BF),
    )


def _largest_but(winners: int, h_BF: Float[Tensor, "B F"]) -> Float[Tensor, "B 1"]:
    """The largest number of each row after so many."""
    place = h_BF.shape[1] - winners - 1
    if h_BF.device.type == "cpu":
        # Sorting all with numpy takes a tenth of the time of torch's selections, which is that of whole steps.
        return torch.from_numpy(np.sort(h_BF.numpy(), axis=1)[:, place, None])
    return h_BF.kthvalue(place + 1, dim=1, keepdim=True).values
