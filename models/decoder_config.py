"""A small causal transformer that a config can name: its dials, its parameters, its cost. Free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from models.any_ffn import AnyFFNConfig
from models.dial_checks import check_one_or_more
from models.ffn_kinds import DenseConfig, FFNConfig
from models.ngram_kinds import NgramsConfig
from models.residual_kinds import Normaliser, Residual

if TYPE_CHECKING:
    import torch

    from models.decoder import Decoder

LAYER_MEMORIES: Mapping[str, str] = {
    "product_keys": "models.memory_kinds:ProductKeysConfig",
    "peer": "models.memory_kinds:OneNeuronExpertsConfig",
    "lookup": "models.memory_kinds:LookupConfig",
    "ngrams": "models.ngram_kinds:NgramsConfig",
}
"""`module:Class` by `kind` of what can stand in the place of an FFN"""

AnyLayerMemoryConfig = Annotated[FFNConfig, "kind", "models.decoder_config:LAYER_MEMORIES"]


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Causal self-attention with rotary positions, and an FFN of any kind, in each of `depth` layers."""

    dim: int = 64
    """of the stream"""
    depth: int = 2
    """layers"""
    heads: int = 2
    """of attention; each of dim / heads dimensions, an even number"""
    context: int = 128
    """tokens at most, prompt and answer together"""
    ffn: AnyFFNConfig = field(default_factory=DenseConfig)
    """of each layer"""
    without_ffn: tuple[int, ...] = ()
    """layers, counted from 0, that have attention alone"""
    memory: AnyLayerMemoryConfig | None = None
    """what stands in the place of the FFN in `memory_layers`: product keys, one-neuron experts, a hashed lookup by the
    content of the stream, or one by the last tokens"""
    memory_layers: tuple[int, ...] = ()
    """layers, counted from 0"""
    parallel: bool = False
    """attention and FFN read the same normalised stream (GPT-J, PaLM), instead of one after the other"""
    residual: Residual = "plain"
    """how a branch joins the stream; deepnorm normalises after each, the others before; none: it takes its place"""
    normaliser: Normaliser = "rms"
    """RMSNorm, or LayerNorm without bias; both with a learned gain"""
    tied: bool = True
    """the token embeddings are the read-out too"""

    def __post_init__(self) -> None:
        check_one_or_more(dim=self.dim, depth=self.depth, heads=self.heads, context=self.context)
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim must be a multiple of twice heads, which is {2 * self.heads}, not {self.dim}")
        for name, layers in {"without_ffn": self.without_ffn, "memory_layers": self.memory_layers}.items():
            if outside := [layer for layer in layers if not 0 <= layer < self.depth]:
                raise ValueError(f"{name} must name layers from 0 to {self.depth - 1}, not {outside[0]}")
        if both := set(self.without_ffn) & set(self.memory_layers):
            raise ValueError(f"layer {min(both)} is named in without_ffn and in memory_layers; leave it out of one")
        if bool(self.memory_layers) != (self.memory is not None):
            raise ValueError("memory and memory_layers belong together: give both, or none")

    def of_layer(self, layer: int) -> FFNConfig | None:
        """What stands beside attention there."""
        if layer in self.memory_layers:
            return self.memory
        return None if layer in self.without_ffn else self.ffn

    @property
    def label(self) -> str:
        """What differs from the usual first: `2x64-gelu-4d`."""
        parts = [f"{self.depth}x{self.dim}"]
        alone = len(set(self.without_ffn)) == self.depth
        parts.append("attention" if alone else self.ffn.label)
        if self.without_ffn and not alone:
            parts.append("not in " + "+".join(map(str, self.without_ffn)))
        if self.memory is not None:
            parts.append(f"{self.memory.label} in " + "+".join(map(str, self.memory_layers)))
        parts += ["parallel"] if self.parallel else []
        parts += [] if self.residual == "plain" else ["no-skip" if self.residual == "none" else self.residual]
        return "-".join(parts)

    def _around(self) -> int:
        """Norms and gains."""
        sublayers = sum(1 if self.parallel or self.of_layer(layer) is None else 2 for layer in range(self.depth))
        last = self.residual != "deepnorm"
        gains = {"layerscale": sublayers * self.dim, "rezero": sublayers}.get(self.residual, 0)
        return (sublayers + last) * self.dim + gains

    def num_embedding_params(self, num_tokens: int) -> int:
        """Of tokens, and of the read-out where it is another matrix."""
        return num_tokens * self.dim * (1 if self.tied else 2)

    def num_params(self, num_tokens: int) -> int:
        """Of a vocabulary of so many tokens; all that is stored."""
        ffns = [self.of_layer(layer) for layer in range(self.depth)]
        of_ffns = sum(ffn.num_params(self.dim, self.dim) for ffn in ffns if ffn is not None)
        return self.num_embedding_params(num_tokens) + 4 * self.depth * self.dim**2 + of_ffns + self._around()

    def num_active_params(self, num_tokens: int) -> int:
        """That the answer to one token is computed from: all, but for experts and memory slots that are not used."""
        ffns = [self.of_layer(layer) for layer in range(self.depth)]
        idle = sum(
            ffn.num_params(self.dim, self.dim) - ffn.num_active_params(self.dim, self.dim)
            for ffn in ffns
            if ffn is not None
        )
        return self.num_params(num_tokens) - idle

    def training_flops(self, num_tokens: int, positions: float, read_out_positions: float) -> float:
        """Of one sequence of so many positions in one optimisation step, `read_out_positions` of which have a loss.

        Six a weight and position; attention 12 D a pair of positions. What the norms take is left out.
        """
        weights = self.num_active_params(num_tokens) - self.num_embedding_params(num_tokens) - self._around()
        read_out = 6 * num_tokens * self.dim * read_out_positions
        return 6 * weights * positions + 12 * self.depth * self.dim * positions**2 + read_out

    def build(self, num_tokens: int, *, generator: "torch.Generator") -> "Decoder":
        """The module, its weights drawn from the generator."""
        from models.decoder import Decoder

        return Decoder(self, num_tokens, generator=generator)

    @property
    def window(self) -> int:
        """Last tokens that a layer looks at by themselves; 0 where none does."""
        return self.memory.longest if isinstance(self.memory, NgramsConfig) else 0
