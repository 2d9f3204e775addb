"""Elhage et al. 2022, "Toy Models of Superposition": sparse features stored two to a dimension, in antipodal pairs."""

from functools import partial

from models.toy_superposition import ToySuperpositionConfig, plateau, train
from retromem.reproduce.claim import Claim


def plateau_dimensions_per_feature(seed: int) -> float:
    """Dimensions per feature on the longest stretch of sparsities over which it stays within a tenth."""
    return plateau(train(ToySuperpositionConfig(seed=seed))).dimensions_per_feature


CLAIMS = [
    Claim(
        source="Elhage et al. 2022",
        setting="toy model, 80 features in 20 dimensions: plateau of dimensions per feature over feature probability",
        unit="dimensions per feature",
        published=0.5,
        band=(0.45, 0.55),
        measure=partial(plateau_dimensions_per_feature, 0),
        seconds_expected=25.0,
    )
]
