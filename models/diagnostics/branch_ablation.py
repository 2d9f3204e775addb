"""Parts of a decoder ablated: for a while, the FFN or the attention of a layer gives the same vector for every token.

Zeros take away all that the branch adds. Its mean over many tokens takes away only what it tells them apart by, which
leaves what comes later nearer to the inputs that it was trained on (mean ablation).

Shape legend: B texts, T tokens, M tokens of all texts of a block, D dimension of the stream.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from models.decoder import Decoder

Part = Literal["attention", "ffn"]
Branch = tuple[int, Part]
"""layer, counted from 0, and part"""


def branches(decoder: Decoder) -> dict[Branch, nn.Module]:
    """Every part that adds to the stream."""
    found: dict[Branch, nn.Module] = {}
    for number, layer in enumerate(decoder.layers):
        assert isinstance(layer.attention, nn.Module)
        found[number, "attention"] = layer.attention
    found.update({(number, "ffn"): ffn for number, ffn in decoder.ffns()})
    return found


@contextmanager
def ablated(decoder: Decoder, given_D: Mapping[Branch, Float[Tensor, " D"]]) -> Iterator[None]:
    """Within: each of these branches gives its vector, whatever it is given; KeyError for one that there is not."""
    every = branches(decoder)
    with _hooked({every[branch]: _replacing(vector_D) for branch, vector_D in given_D.items()}):
        yield


def _replacing(vector_D: Tensor) -> Callable[..., Any]:
    def replace(_module: nn.Module, _inputs: object, out: Any) -> Any:
        if isinstance(out, tuple):  # attention, with the keys and values that it keeps
            return vector_D.expand_as(out[0]), *out[1:]
        return vector_D.expand_as(out)

    return replace


@torch.no_grad()
def mean_outputs(decoder: Decoder, blocks_BT: Iterable[Int64[Tensor, "_ _"]]) -> dict[Branch, Float[Tensor, " D"]]:
    """Of each branch, over all tokens of all blocks."""
    every = branches(decoder)
    sums: dict[Branch, Tensor] = {}
    num_tokens = 0

    def adding(branch: Branch) -> Callable[..., None]:
        def add(_module: nn.Module, _inputs: object, out: Any) -> None:
            out_MD = (out[0] if isinstance(out, tuple) else out).flatten(0, -2).double()
            sums[branch] = sums.get(branch, torch.zeros_like(out_MD[0])) + out_MD.sum(0)

        return add

    with _hooked({module: adding(branch) for branch, module in every.items()}):
        for tokens_BT in blocks_BT:
            decoder.hidden(tokens_BT)
            num_tokens += tokens_BT.numel()
    return {branch: (sums[branch] / num_tokens).to(decoder.embeddings_VD.dtype) for branch in every}


@contextmanager
def _hooked(hooks: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    with ExitStack() as stack:
        for module, hook in hooks.items():
            stack.callback(module.register_forward_hook(hook).remove)
        yield
