"""The smallest memory of a family: the fewest storage bytes that answer N facts with accuracy >= a.

A search over the one dial of the family (hidden width, bits of a code), the same for weights and index, on the memory
as it is stored. Success need not be monotone in the dial: the search looks below its first failure, and says so.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from models.training_budget import TrainingCutShort, TrainingDiverged
from retrieval.errors import Refused
from retromem.measure.brackets import End, has_looked_at, in_a_row, next_size
from retromem.measure.settings import SmallestSearch

BELOW = 0.9
"""times the setting that failed: asked too, for where success is noisy one failure is not the end"""
_MOST_LOOKS = 3
"""below a failure: each that succeeds sends the search on from there"""
_CLEARLY_SHORT = 1.03
"""times its capacity: what failed so clearly, or was abandoned, is not looked below"""
_FIRST_STEP, _LARGEST_STEP = 1.2, 4.0
"""times the setting that is tried first; the step is squared each time that the end of the bracket is not found"""
MOST_TIMES_FIRST = 64
"""times the first setting: a family that is not good enough there is said not to be, wherever its dial ends"""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One memory of the family."""

    setting: int
    storage_bytes: int | None
    """None where it could not be written at all"""
    accuracy: float
    """0 where it could not be written; where it stood, if `abandoned`"""
    over_capacity: float | None = None
    """times its capacity that these facts are expected to be, from how it did; None where that is not known"""
    abandoned: bool = False
    """its training was ended early, for it would not have reached the accuracy"""


@dataclass(frozen=True, kw_only=True)
class Smallest:
    """Where the search ended."""

    tried: tuple[Tried, ...]
    """in this order"""
    found: Tried | None
    """the smallest that reached the accuracy; None where none did"""
    is_lowest: bool
    """the lowest setting reached it: a smaller one might, had the family one"""
    monotone: bool
    """false: one that was larger failed. Success is noisy there, and another seed may end elsewhere"""


def search_smallest(
    written: Callable[[int], Tried], settings: range, search: SmallestSearch, *, start: int
) -> Smallest:
    """Gallop from `start` to both ends of a bracket, narrow it to `resolution` of its bytes, look below its failure.

    Where the next setting is tried follows from how the trainings at the bracket's ends ended, or their accuracies.

    What refuses these facts is too small; what diverges, or is cut short by the clock, too large unless a larger one
    did well. Raised again where nothing could be written.
    """
    tried: dict[int, Tried] = {}
    failures: list[Exception] = []
    first = min(range(len(settings)), key=lambda at: abs(settings[at] - start))
    # From `end` on trainings diverge, or nobody would call the memory a small one.
    end = min(len(settings), _times(settings, first, MOST_TIMES_FIRST) + 1)

    def reached(place: int) -> bool:
        one = tried[place]
        return one.storage_bytes is not None and one.accuracy >= search.accuracy

    def bracket_end(place: int | None) -> End | None:
        if place is None:
            return None
        over = tried[place].over_capacity
        return End(size=settings[place], expected=None if over is None else settings[place] * over)

    def is_settled_below(bad: int) -> bool:
        if tried[bad].abandoned or (tried[bad].over_capacity or 0) > _CLEARLY_SHORT:
            return True
        return has_looked_at(BELOW * settings[bad], (settings[at] for at in tried if at != bad))

    place, step, looks = first, _FIRST_STEP, 0
    while place not in tried and 0 <= place < end:
        try:
            tried[place] = written(settings[place])
        except (Refused, TrainingDiverged, TrainingCutShort) as error:
            tried[place] = Tried(setting=settings[place], storage_bytes=None, accuracy=0.0)
            failures.append(error)
            if isinstance(error, TrainingDiverged | TrainingCutShort) and not any(reached(at) for at in tried):
                end = place  # what is larger would end so too
        good = min((at for at in tried if reached(at)), default=None)
        bad = max((at for at in tried if not reached(at) and at < (end if good is None else good)), default=None)
        wide = good is None or bad is None or not _alike(tried[bad], tried[good], search.resolution)
        low, high = bracket_end(bad), bracket_end(good)
        lowest, highest = 0 if bad is None else bad + 1, (end if good is None else good) - 1
        if low is None and high is None:
            place, step = _times(settings, end, 1 / step), min(step**2, _LARGEST_STEP)
        elif wide and lowest <= highest and any(one and one.expected for one in (low, high)):
            # A sample of paraphrased questions misleads twice in a row now and then, and is right the next time.
            same = in_a_row(map(reached, tried)) - (search.phrasing == "heldout")
            wanted = next_size(low, high, tolerance=search.resolution, same=max(same, 1))
            place = min(max(_whole(wanted, low, high, settings, search.resolution), lowest), highest)
        elif good is None:
            assert bad is not None
            place, step = min(_times(settings, bad, step), end - 1), min(step**2, _LARGEST_STEP)
        elif bad is None:
            place, step = _times(settings, good, 1 / step), min(step**2, _LARGEST_STEP)
        elif good - bad > 1 and wide:
            share = _share_between(tried[bad].accuracy, tried[good].accuracy, search.accuracy)
            place = _times(settings, bad, (settings[good] / settings[bad]) ** share)
            place = min(max(place, bad + 1), good - 1)
        elif looks < _MOST_LOOKS and not is_settled_below(bad):
            looks, place = looks + 1, _times(settings, bad, BELOW)
    if len(failures) == len(tried):
        raise failures[0]
    # Entropy-coded weights of a higher setting may take fewer bytes, by some.
    found = min((tried[at] for at in tried if reached(at)), key=lambda one: one.storage_bytes or 0, default=None)
    return Smallest(
        tried=tuple(dict.fromkeys(tried.values())),
        found=found,
        is_lowest=good == 0,
        monotone=good is None or all(reached(at) or tried[at].storage_bytes is None for at in tried if at > good),
    )


def _whole(wanted: float, low: End | None, high: End | None, settings: range, resolution: float) -> int:
    """Its place, rounded towards an end that it lies within the resolution of, so that the bracket closes."""
    place = (wanted - settings.start) / settings.step
    if low is not None and wanted <= (1 + resolution) * low.size:
        return math.floor(place)
    return math.ceil(place) if high is not None and wanted >= high.size / (1 + resolution) else round(place)


def _share_between(failed: float, reached: float, goal: float) -> float:
    """How far from the failure the goal is to be expected: on a straight line of log odds, in the middle half of it."""
    low, high, at = (math.log(min(max(share, 1e-3), 1 - 1e-3) / (1 - min(max(share, 1e-3), 1 - 1e-3)))
                     for share in (failed, reached, goal))  # fmt: skip
    return min(max((at - low) / (high - low), 0.25), 0.75) if high > low else 0.5


def _times(settings: range, place: int, factor: float) -> int:
    """The place of the setting next to so many times this one, one further at least; the last one at the end."""
    wanted = (settings.start + place * settings.step) * factor
    moved = round((wanted - settings.start) / settings.step)
    moved = max(moved, place + 1) if factor > 1 else min(moved, place - 1)
    return min(max(moved, 0), len(settings) - 1)


def _alike(smaller: Tried, larger: Tried, resolution: float) -> bool:
    """Whether nothing between the two would be smaller by more than the resolution."""
    if smaller.storage_bytes is None or larger.storage_bytes is None:
        return False
    return larger.storage_bytes - smaller.storage_bytes <= resolution * larger.storage_bytes
