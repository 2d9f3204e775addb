"""A decoder whose prompt sees itself both ways: its first tokens are read as an encoder would read them.

Shape legend: B batch, T tokens, S all tokens so far.
Source: prefix language models, Raffel et al. 2020 (arXiv 1910.10683), section 3.2.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.decoder import Decoder, Past
from models.self_attention import prefix_mask


@dataclass(frozen=True)
class PrefixReading:
    """Reads as a decoder does; what it is given first is the prefix."""

    decoder: Decoder

    def read(self, tokens_BT: Tensor, *, past: Past | None = None, **settings: Any) -> tuple[Tensor, Past]:
        """As `Decoder.read`."""
        if past is None:
            num_tokens = tokens_BT.shape[1]
            settings["mask_TS"] = prefix_mask(torch.full((len(tokens_BT),), num_tokens), num_tokens)
        return self.decoder.read(tokens_BT, past=past, **settings)

    def logits(self, hidden: Tensor) -> Tensor:
        """Of the next token."""
        return self.decoder.logits(hidden)
