"""Facts in the weights of an FFN that were computed, not trained: linear algebra, no gradient descent.

Shape legend: N facts, D key dimension.
"""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from models.any_ffn import AnyFFNConfig
from models.dial_checks import check_one_or_more
from models.ffn_kinds import DenseConfig, GatedConfig, LinearConfig
from retrieval.errors import Refused
from retromem.memories.dial import Dial, Load
from retromem.memories.ffn_dial import ffn_in_words, first_size, most_bits_of_ffn
from retromem.memories.ffn_memory import FFNMemory
from retromem.memories.ffn_settings import FFNSettings
from retromem.memories.untrained_cost import untrained_cost
from retromem.seam import Stores, WriteCost

if TYPE_CHECKING:
    import torch

Method = Literal[
    "outer_products",
    "pseudo_inverse",
    "random_features",
    "hebbian",
    "whitened",
    "data_dependent",
    "gated_jl",
    "value_line",
]
_SEED_STEP = 20_000
"""a store's own stream: weights drawn from the numbers that keys were drawn from are not random to them"""


@dataclass(frozen=True, kw_only=True)
class ClosedFormMemoryConfig(FFNSettings):
    """One construction, and the size of the FFN that it fills."""

    stores: ClassVar[Stores] = "questions"
    version: ClassVar[int] = 3
    memory: Literal["closed_form"] = "closed_form"
    method: Method = "pseudo_inverse"
    """outer_products and pseudo_inverse fill a linear map; random_features a ReLU FFN; hebbian, whitened and
    data_dependent are read-outs of a bilinear FFN; gated_jl fills a SwiGLU FFN, value_line one with biases"""
    width: int | None = None
    """hidden units of a dense FFN of as many parameters; four times the key's dimension where empty"""
    max_facts: int = 4096
    """that value_line accepts: its time grows with their cube, its memory with their square"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_or_more(width=self.width)

    @property
    def ffn(self) -> LinearConfig | DenseConfig | GatedConfig:
        """The FFN that the method fills."""
        match self.method:
            case "outer_products" | "pseudo_inverse":
                return LinearConfig()
            case "random_features":
                return DenseConfig(kind="relu", width=self.width)
            case "hebbian" | "whitened" | "data_dependent":
                return GatedConfig(kind="bilinear", width=self.width)
            case "gated_jl":
                return GatedConfig(kind="swiglu", width=self.width)
            case "value_line":
                return GatedConfig(kind="swiglu", width=self.width, bias=True)

    def named(self, setting: str | None = None) -> str:
        size = "" if isinstance(self.ffn, LinearConfig) else f"-{setting or self.width or '4d'}"
        return f"closed-{self.rotation_label}{self.method.replace('_', '-')}{size}{self.precision_label}"

    @property
    def family(self) -> str:
        return f"closed-{self.method.replace('_', '-')}"

    def with_ffn(self, ffn: AnyFFNConfig) -> "ClosedFormMemoryConfig":
        """The same construction in the size of this FFN."""
        return replace(self, width=ffn.size)

    @property
    def dial(self) -> Dial | None:
        return None if isinstance(self.ffn, LinearConfig) else Dial(name="width", low=1, high=1 << 16)

    @property
    def in_words(self) -> str:
        return f"{ffn_in_words(self.ffn, self.precision, self.rotate_to)}, solved by {self.method.replace('_', ' ')}"

    def turned(self, setting: int) -> "ClosedFormMemoryConfig":
        return replace(self, width=setting)

    def first_setting(self, load: Load) -> float:
        return first_size(self.ffn, load.demand_bits / 0.2, *self.dims(load))

    def most_bits(self, setting: int, load: Load) -> float:
        return most_bits_of_ffn(self.turned(setting).ffn, self.precision, *self.dims(load))

    def build(self, *, seed: int) -> "ClosedFormMemory":
        return ClosedFormMemory(self, seed=seed)


class ClosedFormMemory(FFNMemory):
    """Stored, asked, disturbed and charged like any FFN; only its weights come from elsewhere."""

    config_type: ClassVar[type[ClosedFormMemoryConfig]] = ClosedFormMemoryConfig

    def _fit(
        self,
        keys_ND: Float32[ndarray, "N D"],
        relation_ids_N: Int64[ndarray, " N"],
        value_ids_N: Int64[ndarray, " N"],
    ) -> tuple[WriteCost, ndarray]:
        """Solve on one core. A change of one fact starts from the facts alone: nothing else is kept."""
        import torch

        start = time.perf_counter()
        keys, value_ids = torch.from_numpy(keys_ND), torch.from_numpy(value_ids_N)
        try:
            weights = self._solved(keys, value_ids, torch.from_numpy(self._ffn.codes_VE))
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            raise Refused(f"{self.name}: the equations of these facts have no solution in float64") from None
        self._ffn.keep(weights)
        return untrained_cost(start, texts_encoded=len(keys_ND), exposures=1.0), np.zeros(0, dtype=np.float32)

    def _solved(
        self, keys_ND: "torch.Tensor", value_ids_N: "torch.Tensor", codes_VE: "torch.Tensor"
    ) -> "dict[str, torch.Tensor]":
        import torch

        from models.closed_form.bilinear_hebbian import hebbian_memory
        from models.closed_form.gated_jl import gated_jl_memory
        from models.closed_form.linear_memory import outer_product_memory, pseudo_inverse_memory
        from models.closed_form.random_features import random_feature_memory
        from models.closed_form.value_line import value_line_memory

        table = keys_ND, value_ids_N, codes_VE
        generator = torch.Generator().manual_seed(_SEED_STEP + self.seed)
        units = self._num_units(keys_ND.shape[1], codes_VE.shape[1])
        match self.config.method:
            case "outer_products":
                return outer_product_memory(*table)
            case "pseudo_inverse":
                return pseudo_inverse_memory(*table)
            case "random_features":
                return random_feature_memory(*table, units=units, generator=generator)
            case "hebbian":
                return hebbian_memory(*table, units=units, read_out="raw", generator=generator)
            case "whitened" | "data_dependent" as read_out:
                return hebbian_memory(*table, units=units, read_out=read_out, generator=generator)
            case "gated_jl":
                return gated_jl_memory(*table, units=units, generator=generator)
            case _:
                if len(keys_ND) > self.config.max_facts:
                    raise Refused(f"value_line takes max_facts = {self.config.max_facts:,} facts, not {len(keys_ND):,}")
                try:
                    return value_line_memory(*table, units=units, generator=generator)
                except ValueError as error:
                    raise Refused(str(error)) from None

    def _num_units(self, dim_in: int, dim_out: int) -> int:
        ffn = self.config.ffn
        if isinstance(ffn, DenseConfig):
            return ffn.units(dim_in)
        return ffn.units(dim_in, dim_out) if isinstance(ffn, GatedConfig) else 0
