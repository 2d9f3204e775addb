"""The searched comparison in words: who is the smaller memory, where that changes, and where a side stops."""

from collections.abc import Sequence

from retromem.report.envelope import (
    RESOLVED,
    Crossing,
    EnvelopePoint,
    Goal,
    SearchedContest,
    envelope,
    goals_of,
    sizes_of,
    smaller,
    told_crossings,
)
from retromem.report.numerals import bytes_text, count_text, list_text, percent_text
from retromem.report.sides import Group
from retromem.rows import SmallestRow

_SAID = {"identical": "as written", "heldout": "paraphrased"}
_SIDES = {"weights": "the weights", "index": "the index"}


def goal_text(goal: Goal) -> str:
    """`99 % as written`."""
    return f"{percent_text(goal.tau)} {_SAID[goal.phrasing]}"


def searched_answer(contest: SearchedContest) -> str:
    """A line for each goal, every number of which is read off the two envelopes."""
    return "\n".join(
        f"{_SAID[goal.phrasing].capitalize()}: {_of_goal(contest, goal)}." for goal in goals_of(contest.rows)
    )


def _of_goal(contest: SearchedContest, goal: Goal) -> str:
    weights, index = (envelope(contest.rows, group, goal) for group in (Group.WEIGHTS, Group.INDEX))
    if not weights or not index:
        return f"only {'the index was' if index else 'the weights were'} searched for"
    of_weights, of_index = sizes_of(weights), sizes_of(index)
    common = sorted(of_weights.keys() & of_index.keys())
    if not common:
        return _one_sided(of_weights, of_index)
    last = common[-1]
    winners = [smaller(of_weights[size], of_index[size]) for size in common]
    sizes = [f"{bytes_text(of_weights[last])} of weights", f"{bytes_text(of_index[last])} of index"]
    if winners[-1] == "index":
        sizes.reverse()
    against = f"{sizes[0]}, {sizes[1]} at {count_text(last)} facts"
    # A side that does not get there is no smaller memory, whatever it is where it does; one not searched there may be.
    searched = {point.num_facts for point in weights} & {point.num_facts for point in index}
    alone = [
        f"only the {side} {verb} there at {list_text([count_text(size) for size in sizes_alone])} facts"
        for side, verb, sizes_alone in (
            ("weights", "get", sorted(searched & (of_weights.keys() - of_index.keys()))),
            ("index", "gets", sorted(searched & (of_index.keys() - of_weights.keys()))),
        )
        if sizes_alone
    ]
    if alone:
        return f"{list_text(alone)} ({against})"
    changes = told_crossings(weights, index)
    if changes:
        told = _is_smaller(changes[0].first)
        for change in changes:
            told += f" up to about {count_text(_rounded(change.num_facts.median))} facts, then {_SIDES[change.then]}"
        return f"{told}{'' if winners[-1] else f'; about equal at {count_text(last)}'} ({against})"
    ahead = [side for side in ("weights", "index") if side in winners]
    if not ahead:
        return f"about equal at every size ({against})"
    if len(ahead) == 1 and "" not in winners:
        return f"{_is_smaller(ahead[0])} at every size ({against})"
    # Few sizes tell the sides apart, or the seeds disagree on where they cross.
    told_at = list(zip(common, winners, strict=True))
    where = {side: [size for size, winner in told_at if winner == side] for side in ahead}
    first, *others = sorted(ahead, key=lambda side: where[side][0])
    told = f"{_is_smaller(first)} at {_facts_text(where[first])}"
    told += "".join(f", {_SIDES[side]} at {_facts_text(where[side])}" for side in others)
    return f"{told}{', about equal elsewhere' if '' in winners else ''} ({against})"


def _facts_text(sizes: Sequence[int]) -> str:
    return f"{list_text([count_text(size) for size in sizes])} facts"


def _is_smaller(side: str) -> str:
    return f"{_SIDES[side]} {'are' if side == 'weights' else 'is'} the smaller memory"


def _crossing_text(goal: Goal, crossing: Crossing) -> str:
    """Where the seeds cross."""
    low, high = (count_text(_rounded(number)) for number in (crossing.num_facts.low, crossing.num_facts.high))
    between = f"at about {low}" if low == high else f"between {low} and {high}"
    first, then = (_SIDES[side].removeprefix("the ") for side in (crossing.first, crossing.then))
    return (
        f"For {goal_text(goal)} {first} and {then} cross {between} facts in {crossing.num_facts.num_seeds} of "
        f"{crossing.of_seeds} seeds."
    )


def _rounded(number: float) -> float:
    """To two digits: what an interpolation between two sizes is worth."""
    return float(f"{number:.2g}")


def _one_sided(of_weights: dict[int, float], of_index: dict[int, float]) -> str:
    if not of_weights and not of_index:
        return "no memory of either side that was tried suffices"
    reached, nobody, who = (
        (of_index, "no weights tried suffice", "the index does")
        if of_index
        else (of_weights, "no index tried suffices", "the weights do")
    )
    last = max(reached)
    return f"{nobody}, and {who} with {bytes_text(reached[last])} at {count_text(last)}"


def searched_details(contest: SearchedContest) -> list[str]:
    """What was searched, where the seeds cross, where a side stops, and where success was noisy; a sentence each."""
    goals = goals_of(contest.rows)
    spans = {goal: _span(sorted({row.num_facts for row in contest.rows if goal.is_of(row)})) for goal in goals}
    asked = (
        [f"{list_text([goal_text(goal) for goal in goals])}, at {spans[goals[0]]} facts"]
        if len(set(spans.values())) == 1
        else [f"{goal_text(goal)}, at {span} facts" for goal, span in spans.items()]
    )
    sentences = [
        f"For each side the smallest memory was searched that answers {list_text(asked)}; what lies within "
        f"{percent_text(RESOLVED)} counts as equal."
    ]
    for goal in goals:
        weights, index = (envelope(contest.rows, group, goal) for group in (Group.WEIGHTS, Group.INDEX))
        sentences += [_crossing_text(goal, crossing) for crossing in told_crossings(weights, index)]
        for side, group in (("weights", Group.WEIGHTS), ("index", Group.INDEX)):
            points = envelope(contest.rows, group, goal)
            stops = [point for point in points if point.size is None]
            if stops:
                sentences.append(_stops(side, goal, stops))
            unsteady = [point for point in points if any(not row.monotone for row in point.smallest)]
            if unsteady:
                where = list_text([count_text(point.num_facts) for point in unsteady])
                sentences.append(
                    f"For {goal_text(goal)} success of the {side} is noisy at {where} facts: a larger memory failed "
                    "where a smaller one did not."
                )
    return sentences


def _span(sizes: Sequence[int]) -> str:
    return f"{count_text(sizes[0])} to {count_text(sizes[-1])}" if len(sizes) > 1 else count_text(sizes[0])


def _stops(side: str, goal: Goal, stops: Sequence[EnvelopePoint]) -> str:
    where = list_text([count_text(point.num_facts) for point in stops])
    best = percent_text(stops[-1].best_accuracy)
    named = "No weights searched" if side == "weights" else "No index searched"
    at_last = f" at {count_text(stops[-1].num_facts)}" if len(stops) > 1 else ""
    bounds = list(dict.fromkeys(f"{row.dial} {count_text(row.high)}" for row in stops[-1].rows if _met_its_bound(row)))
    bounded = f", where the search was not to go beyond {list_text(bounds)} (smallest.high)" if bounds else ""
    return f"{named} answer {goal_text(goal)} at {where} facts: the best of them reach {best}{at_last}{bounded}."


def _met_its_bound(row: SmallestRow) -> bool:
    return row.storage_bytes is None and any(setting == row.high for setting, _, _ in row.tried)
