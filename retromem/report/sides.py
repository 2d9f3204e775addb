"""Who stands against whom: the groups of memories, their names on the page and their one colour."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from retromem.rows import Row, SmallestRow


class Group(StrEnum):
    """Finer than `side`: only weights and INDEX were given the same."""

    WEIGHTS = "FFN weights"
    INDEX = "question index"
    TEXT_INDEX = "statement index"
    PAIRED = "weights and index paired"
    FLOOR = "floors"


# Okabe and Ito's palette: told apart under all common colour-vision deficiencies; markers repeat the difference.
COLOURS = {
    Group.WEIGHTS: "#D55E00",
    Group.INDEX: "#0072B2",
    Group.TEXT_INDEX: "#56B4E9",
    Group.PAIRED: "#009E73",
    Group.FLOOR: "#777777",
}
MARKERS = {Group.WEIGHTS: "o", Group.INDEX: "s", Group.TEXT_INDEX: "D", Group.PAIRED: "^", Group.FLOOR: "v"}


def group_of(row: Row | SmallestRow) -> Group:
    """The group of a row. Statements hold the answer, so an index of them reads text."""
    if row.side == "retrieval":
        return Group.INDEX if row.stores == "questions" else Group.TEXT_INDEX
    return {"parametric": Group.WEIGHTS, "paired": Group.PAIRED, "floor": Group.FLOOR}[row.side]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The comparison that the first screen is about."""

    study: str
    twin: bool
    """True when the study has a twin with both sides: then sizes are claimed on the twin"""
    rival: Group
    """INDEX, or TEXT_INDEX in a study without an index of the same questions"""
    rows: Sequence[Row]
    """of that study and that twin; real values too where twin is True are left out"""


def _has(rows: Sequence[Row], group: Group) -> bool:
    return any(row.role == "arm" and group_of(row) is group for row in rows)


def main_contest(rows: Sequence[Row]) -> Contest | None:
    """The first study with arms of both sides, one with new wordings before one without; None if there is none."""
    contests = []
    for study in dict.fromkeys(row.study for row in rows):
        for twin in (True, False):
            here = [row for row in rows if row.study == study and row.twin == twin]
            rivals = [group for group in (Group.INDEX, Group.TEXT_INDEX) if _has(here, group)]
            if rivals and _has(here, Group.WEIGHTS):
                contests.append(Contest(study=study, twin=twin, rival=rivals[0], rows=here))
                break
    reworded = [contest for contest in contests if any(row.phrasing == "heldout" for row in contest.rows)]
    return next(iter(reworded + contests), None)
