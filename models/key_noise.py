"""Keys moved at random, anew at each step: training for questions that are worded in another way.

Shape legend: B batch, D key dimension.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_LEAST_LENGTH = 1e-12
"""so that a key of zeros stays one"""


def move_by_noise(
    keys_BD: Float[Tensor, "B D"], relative_length: float, generator: torch.Generator, *, out: Float[Tensor, "B D"]
) -> Float[Tensor, "B D"]:
    """Each key moved by Gaussian noise of this length, relative to the key's, and brought back to its own length."""
    drawn_BD = torch.randn(keys_BD.shape, generator=generator, dtype=keys_BD.dtype).to(keys_BD.device)
    length_B1 = torch.linalg.vector_norm(keys_BD, dim=1, keepdim=True)
    drawn_B1 = torch.linalg.vector_norm(drawn_BD, dim=1, keepdim=True).clamp_(min=_LEAST_LENGTH)
    torch.addcmul(keys_BD, drawn_BD, relative_length * length_B1 / drawn_B1, out=out)
    reached_B1 = torch.linalg.vector_norm(out, dim=1, keepdim=True).clamp_(min=_LEAST_LENGTH)
    return out.mul_(length_B1 / reached_B1)
