"""A decoder that reads retrieved texts by cross-attention. Free of torch."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.decoder_config import DecoderConfig
from models.dial_checks import check_one_or_more

if TYPE_CHECKING:
    import torch

    from models.retro import Retro


@dataclass(frozen=True, kw_only=True)
class RetroConfig:
    """RETRO (Borgeaud et al. 2022, arXiv 2112.04426): a decoder, an encoder of neighbours, and cross-attention to them
    in some of its layers."""

    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """that reads"""
    encoder_depth: int = 1
    """layers of the encoder of the neighbours, which sees both ways; dimension, heads and FFN are the decoder's"""
    reading_layers: tuple[int, ...] = (1,)
    """of the decoder, counted from 0, that attend to the neighbours"""
    chunk_tokens: int = 32
    """tokens of a chunk: what was retrieved with it is seen from its last token on, until the next one has ended"""

    def __post_init__(self) -> None:
        check_one_or_more(encoder_depth=self.encoder_depth, chunk_tokens=self.chunk_tokens)
        outside = [layer for layer in self.reading_layers if not 0 <= layer < self.decoder.depth]
        if outside or not self.reading_layers:
            raise ValueError(
                f"reading_layers must name layers from 0 to {self.decoder.depth - 1}, not {list(self.reading_layers)}"
            )

    @property
    def label(self) -> str:
        """Of a name."""
        return f"{self.decoder.label}-encoder{self.encoder_depth}"

    def num_reading_params(self) -> int:
        """Beside the decoder's: encoder and cross-attention, with their norms."""
        dim, ffn = self.decoder.dim, self.decoder.ffn
        encoder = self.encoder_depth * (4 * dim**2 + ffn.num_params(dim, dim) + 2 * dim) + dim
        return encoder + len(self.reading_layers) * (4 * dim**2 + dim)

    def num_params(self, num_tokens: int) -> int:
        """Of a vocabulary of so many tokens; all that is stored."""
        return self.decoder.num_params(num_tokens) + self.num_reading_params()

    def training_flops(
        self, num_tokens: int, positions: float, read_out_positions: float, neighbour_positions: float
    ) -> float:
        """Of one text in one optimisation step; `neighbour_positions`: tokens of all its neighbours."""
        dim, ffn = self.decoder.dim, self.decoder.ffn
        encoder = 6 * self.encoder_depth * (4 * dim**2 + ffn.num_active_params(dim, dim)) * neighbour_positions
        crosses = len(self.reading_layers) * (
            12 * dim**2 * (positions + neighbour_positions) + 12 * dim * positions * neighbour_positions
        )
        return self.decoder.training_flops(num_tokens, positions, read_out_positions) + encoder + crosses

    def build(self, num_tokens: int, *, generator: "torch.Generator") -> "Retro":
        """The module, its weights drawn from the generator."""
        from models.retro import Retro

        return Retro(self, num_tokens, generator=generator)
