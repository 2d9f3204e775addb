"""Refusals of settings that no FFN and no training can have. Free of torch."""


def check_one_or_more(**dials: int | None) -> None:
    """ValueError for a number below 1; None is left open."""
    for name, dial in dials.items():
        if dial is not None and dial < 1:
            raise ValueError(f"{name} must be 1 or more, not {dial}")


def check_above_zero(**dials: float) -> None:
    """ValueError for 0 and less."""
    for name, dial in dials.items():
        if dial <= 0:
            raise ValueError(f"{name} must be more than 0, not {dial}")
