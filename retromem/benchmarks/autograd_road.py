"""FFNs that no training step is written out for: what autograd and torch.optim take, to be timed beside."""

from dataclasses import dataclass, fields
from typing import Any

import torch

from models.any_ffn import AnyFFNConfig
from models.ffn import FFN


def without_passes(ffn: FFN) -> FFN:
    """The same FFN, of a class derived from its own: steps are written out for the very classes alone."""
    ffn.__class__ = type("Derived", (type(ffn),), {})
    return ffn


def built_without_passes(config: AnyFFNConfig) -> Any:
    """The same config, of FFNs that autograd trains."""

    def build(self: Any, dim_in: int, dim_out: int, *, generator: torch.Generator) -> FFN:
        return without_passes(super(derived, self).build(dim_in, dim_out, generator=generator))

    derived: Any = dataclass(frozen=True, kw_only=True)(type(type(config).__name__, (type(config),), {"build": build}))
    return derived(**{field.name: getattr(config, field.name) for field in fields(config)})  # type: ignore[arg-type]  # every kind is a dataclass
