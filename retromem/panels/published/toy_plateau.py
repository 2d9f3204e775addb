"""Elhage et al. 2022, "Toy Models of Superposition": sparse features stored two to a dimension, in antipodal pairs."""

from dataclasses import dataclass
from typing import Literal

from models.toy_superposition import ToySuperpositionConfig, plateau, train
from retromem.panels.published.published_panel import PublishedPanel


@dataclass(frozen=True, kw_only=True)
class ToyPlateauConfig(PublishedPanel):
    """Dimensions per feature on the longest stretch of sparsities over which it stays within a tenth."""

    panel: Literal["toy_plateau"] = "toy_plateau"
    seeds: tuple[int, ...] = (0,)
    """of weights and features"""

    unit = "dimensions per feature"

    @property
    def setting(self) -> str:
        toy = ToySuperpositionConfig()
        return (
            f"toy model, {toy.num_features} features in {toy.dim} dimensions: plateau of dimensions per feature over "
            "feature probability"
        )

    def number(self, seed: int) -> float:
        return plateau(train(ToySuperpositionConfig(seed=seed))).dimensions_per_feature
