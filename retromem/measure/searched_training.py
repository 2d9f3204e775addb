"""How a search trains: until a training has succeeded or will not; and what that tells of the capacity."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from retromem.measure.capacity_law import facts_over_capacity, facts_over_capacity_in_new_words
from retromem.seam import Phrasing, WriteCost


def ending_at(config: Any, accuracy: float, phrasing: Phrasing, *, abandons: bool = True) -> Any:
    """The memory, trained no longer than until it has succeeded (or will not, if it `abandons`).

    Where that is seen while it is trained: asked for all that it learns, by the weights that will be stored.

    Trainings are abandoned by a bound that was measured on Adam and the cosine schedule.
    """
    training = getattr(config, "training", None)
    if training is None or phrasing != "identical" or training.key_noise:
        return config
    if training.rounding != "aware" and config.precision != "float32":
        return config
    measured = training.schedule == "cosine" and training.optimizer in ("adam", "adamw")
    return replace(config, training=replace(training, goal_accuracy=accuracy, abandons=abandons and measured))


def told_of_capacity(
    config: Any, costs: Sequence[WriteCost], accuracy: float, goal: float, phrasing: Phrasing
) -> float | None:
    """Times its capacity that these facts are expected to be; None for an index and the like, asked as written."""
    if phrasing != "identical":
        return facts_over_capacity_in_new_words(accuracy, goal)
    share = costs[-1].share_of_steps
    if share is None:
        return None
    return facts_over_capacity(
        accuracy,
        goal,
        share_of_steps=share,
        rounding_aware=config.training.rounding == "aware",
        abandoned=costs[-1].abandoned,
    )
