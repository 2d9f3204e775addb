"""Points of the toy model: dimensions per feature at every feature probability, beside the published plateaus."""

from models.toy_superposition import (
    ToySuperpositionConfig,
    dimensions_per_feature,
    feature_dimensionality,
    plateau,
    represented,
    train,
)
from retromem.panels.points import Point
from retromem.panels.theory.toy_features import ToyFeaturesConfig


def toy_features_points(config: ToyFeaturesConfig, seed: int) -> list[Point]:
    """One instance for each probability; quartiles of the dimensionality of the features that are represented."""
    models = train(
        ToySuperpositionConfig(num_features=config.num_features, dim=config.dim, steps=config.steps, seed=seed)
    )
    probabilities = models.probabilities_I.tolist()
    points = []
    for x, d_star in zip(probabilities, dimensions_per_feature(models.w_IMN).tolist(), strict=True):
        points.append(Point(quantity="dimensions_per_feature", series="trained", x=x, y=d_star, seed=seed))
        formulas = {"plateau 1/2": 0.5, "plateau 1": 1.0, "all represented": config.dim / config.num_features}
        for series, y in formulas.items():
            points.append(Point(quantity="dimensions_per_feature", series=series, x=x, y=y))
    shares_IN, kept_IN = feature_dimensionality(models.w_IMN), represented(models.w_IMN)
    for x, kept_N in zip(probabilities, kept_IN, strict=True):
        y = int(kept_N.sum()) / config.dim
        points.append(Point(quantity="features_per_dimension", series="trained", x=x, y=y, seed=seed))
    for x, shares_N, kept_N in zip(probabilities, shares_IN, kept_IN, strict=True):
        for name, share in (("lower quartile", 0.25), ("median", 0.5), ("upper quartile", 0.75)):
            if kept_N.any():
                y = float(shares_N[kept_N].quantile(share))
                points.append(Point(quantity="feature_dimensionality", series=name, x=x, y=y, seed=seed))
    try:
        y = plateau(models).dimensions_per_feature
    except ValueError:  # every feature is represented at once, or none is left out
        return points
    return [*points, Point(quantity="plateau", series="trained", y=y, seed=seed)]
