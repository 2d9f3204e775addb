"""The FFN kinds that a config can name: their dials, their parameters, their cost. Free of torch.

Every kind answers the same questions, so that training, storing, sizing and reporting know no kind by name.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self, runtime_checkable

from models.dial_checks import check_one_or_more

if TYPE_CHECKING:
    import torch

    from models.ffn import FFN

Dense = Literal["relu", "gelu", "silu", "identity"]
Gated = Literal["swiglu", "geglu", "reglu", "glu", "bilinear"]


@runtime_checkable
class FFNConfig(Protocol):
    """What is known of an FFN before it is built: a frozen dataclass whose field `kind` names it. D is the dimension of
    its input, E that of its output."""

    @property
    def kind(self) -> str: ...

    @property
    def family(self) -> str:
        """Kind and settings without the size."""
        ...

    @property
    def label(self) -> str:
        """Family and size."""
        return f"{self.family}-{self.size or '4d'}"

    @property
    def size(self) -> int | None:
        """The dial that makes it larger; None where it is still open or where there is none."""
        ...

    def resized(self, size: int) -> "FFNConfig":
        """The same with another size; itself where nothing can be turned."""
        ...

    def num_params(self, dim_in: int, dim_out: int) -> int: ...

    def num_active_params(self, dim_in: int, dim_out: int) -> int:
        """Parameters that the answer to one key is computed from: all, unless a kind says else."""
        return self.num_params(dim_in, dim_out)

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        """FLOPs of one fact in one optimisation step, forward and backward, multiplications and additions.

        The input wants no gradient, so the weights that meet it cost 4 each where the others cost 6.
        """
        ...

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "FFN":
        """The module, its weights drawn from the generator. ValueError where these dimensions do not fit the kind."""
        ...


@runtime_checkable
class SizedByWidth(FFNConfig, Protocol):
    """A kind whose size is the number of its hidden units."""

    @property
    def width(self) -> int | None:
        """Hidden units; as many as usual, for the dimension of the input, where None."""
        ...

    @property
    def size(self) -> int | None:
        return self.width

    def resized(self, size: int) -> Self:
        return replace(self, width=size)  # type: ignore[type-var]

    def __post_init__(self) -> None:
        check_one_or_more(width=self.width)


@dataclass(frozen=True, kw_only=True)
class LinearConfig(FFNConfig):
    """One matrix from key to output: the linear associative memory."""

    family: ClassVar[str] = "linear"
    label: ClassVar[str] = "linear"
    size: ClassVar[None] = None
    kind: Literal["linear"] = "linear"

    def resized(self, size: int) -> "LinearConfig":
        return self

    def num_params(self, dim_in: int, dim_out: int) -> int:
        return dim_in * dim_out

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        return 4 * dim_in * dim_out

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "FFN":
        from models.ffn import LinearMap

        return LinearMap(dim_in, dim_out, generator=generator)


@dataclass(frozen=True, kw_only=True)
class DenseConfig(SizedByWidth):
    """One hidden layer: activation(x W_in) W_out."""

    kind: Dense = "gelu"
    """activation of the hidden units; identity leaves a product of two matrices"""
    width: int | None = None
    """hidden units; four times the dimension of the input where empty"""
    bias: bool = False
    """a bias for each hidden unit and each output"""

    @property
    def family(self) -> str:
        return self.kind + ("-bias" if self.bias else "")

    def units(self, dim_in: int) -> int:
        """Hidden units."""
        return self.width or 4 * dim_in

    def num_params(self, dim_in: int, dim_out: int) -> int:
        units = self.units(dim_in)
        return units * (dim_in + dim_out) + self.bias * (units + dim_out)

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        return self.units(dim_in) * (4 * dim_in + 6 * dim_out)

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "FFN":
        from models.ffn import DenseFFN

        return DenseFFN(self, dim_in, dim_out, generator=generator)


@dataclass(frozen=True, kw_only=True)
class GatedConfig(SizedByWidth):
    """One hidden layer of products: (activation(x W_gate) * (x W_in)) W_out (Shazeer 2020, arXiv 2002.05202)."""

    kind: Gated = "swiglu"
    """activation of the gate: SiLU, GELU, ReLU, sigmoid, none"""
    width: int | None = None
    """hidden units of the dense FFN whose parameters it gets: its own are fewer, 2/3 where D = E"""
    bias: bool = False
    """a bias for each gate, each hidden unit and each output"""

    @property
    def family(self) -> str:
        return self.kind + ("-bias" if self.bias else "")

    def units(self, dim_in: int, dim_out: int) -> int:
        """Hidden units: (2 D + E) parameters each, where a dense FFN's have D + E."""
        return max(1, (self.width or 4 * dim_in) * (dim_in + dim_out) // (2 * dim_in + dim_out))

    def num_params(self, dim_in: int, dim_out: int) -> int:
        units = self.units(dim_in, dim_out)
        return units * (2 * dim_in + dim_out) + self.bias * (2 * units + dim_out)

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        return self.units(dim_in, dim_out) * (8 * dim_in + 6 * dim_out)

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "FFN":
        from models.ffn import GatedFFN

        return GatedFFN(self, dim_in, dim_out, generator=generator)


@dataclass(frozen=True, kw_only=True)
class TopKConfig(SizedByWidth):
    """k winners take all: of the hidden units of a ReLU FFN only the most active ones speak, for each key."""

    kind: Literal["topk"] = "topk"
    width: int | None = None
    """hidden units; four times the dimension of the input where empty"""
    active_share: float = 0.25
    """of the units that speak, .01 to 1; one unit at least"""
    annealed: bool = False
    """all units speak at first; their share falls to `active_share` over the first half of the training"""
    gradient: Literal["winners", "straight_through"] = "winners"
    """who learns: the winners alone, or every unit that ReLU leaves on, as if none had been silenced"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.01 <= self.active_share <= 1:
            raise ValueError(f"active_share must lie between .01 and 1, not {self.active_share}")

    @property
    def family(self) -> str:
        extra = ("-annealed" if self.annealed else "") + ("-through" if self.gradient == "straight_through" else "")
        return f"topk{100 * self.active_share:g}%{extra}"

    def units(self, dim_in: int) -> int:
        """Hidden units."""
        return self.width or 4 * dim_in

    def active_units(self, dim_in: int) -> int:
        """Hidden units that speak."""
        return max(1, round(self.active_share * self.units(dim_in)))

    def num_params(self, dim_in: int, dim_out: int) -> int:
        return self.units(dim_in) * (dim_in + dim_out)

    def num_active_params(self, dim_in: int, dim_out: int) -> int:
        # Who wins is only known once every unit was computed.
        return self.units(dim_in) * dim_in + self.active_units(dim_in) * dim_out

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        return self.units(dim_in) * (4 * dim_in + 6 * dim_out)

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "FFN":
        from models.topk import TopKFFN

        return TopKFFN(self, dim_in, dim_out, generator=generator)
