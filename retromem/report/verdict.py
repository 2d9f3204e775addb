"""A contest in words: who is the smaller memory as written, and what new wordings do to both."""

from collections.abc import Sequence

from retromem.report.crossover import Arm, Crossover, Curve, arms_at, crossover, curves_of
from retromem.report.numerals import bytes_text, count_text, list_text, percent_text
from retromem.report.sides import Contest, Group, group_of
from retromem.rows import TAU

GOAL = f"{percent_text(TAU['identical'])} of the questions as written"
"""what a memory must do to count on the first curve"""


def verdict(contest: Contest) -> list[str]:
    """Sentences, the main one first. Sizes that only one side finished take no part."""
    all_weights, all_index = curves_of(contest, "identical")
    sizes = sorted(all_weights.keys() & all_index.keys())
    if not sizes:
        return ["Weights and index share no finished size, so there is nothing to compare yet."]
    weights = {num_facts: all_weights[num_facts] for num_facts in sizes}
    index = {num_facts: all_index[num_facts] for num_facts in sizes}
    sentences = _as_written(contest, weights, index)
    holes = sorted(num_facts for num_facts in all_weights.keys() ^ all_index.keys() if num_facts < sizes[-1])
    if holes:
        where = f"{list_text([count_text(num_facts) for num_facts in holes])} facts"
        where = where if len(holes) <= 4 else f"{len(holes)} further sizes"
        sentences.append(f"Not compared at {where}: one side has no result there.")
    sentences += _absent(contest, Group.WEIGHTS, weights) + _absent(contest, contest.rival, index)
    return sentences + _reworded(contest, weights, index)


def verdict_in_short(contest: Contest) -> str:
    """Bytes and accuracies of both sides at the largest size they share; empty if they share none."""
    weights, index = curves_of(contest, "identical")
    sizes = sorted(weights.keys() & index.keys())
    if not sizes:
        return ""
    last = sizes[-1]
    needs = [
        f"{'no size tried' if arm is None else _needs(arm)} ({side})"
        for side, arm in (("index", index[last]), ("weights", weights[last]))
    ]
    text = f"{list_text(needs)} for {percent_text(TAU['identical'])} as written at {count_text(last)} facts"
    new_weights, new_index = curves_of(contest, "heldout")
    if last in new_weights and last in new_index:
        best = [_best(contest, group, last, "heldout") for group in (contest.rival, Group.WEIGHTS)]
        text += f"; the best paraphrased answer {list_text([percent_text(arm.accuracy) for arm in best])}"
    return f"{text}."


def _best(contest: Contest, group: Group, num_facts: int, phrasing: str) -> Arm:
    """Of equally accurate arms the smallest. Asked only where the group was measured."""
    arms = arms_at(contest.rows, num_facts=num_facts, phrasing=phrasing, group=group, twin=contest.twin)
    return max(arms, key=lambda arm: (arm.accuracy, -arm.storage_bytes))


def _at(curve: Curve, num_facts: int) -> Arm:
    arm = curve[num_facts]
    assert arm is not None, "asked for a size that did not reach the accuracy"
    return arm


def _size(arm: Arm) -> str:
    return bytes_text(arm.storage_bytes)


def _needs(arm: Arm) -> str:
    """What nothing smaller was tried beside is an upper bound."""
    return ("at most " if arm.is_smallest_tried else "") + _size(arm)


def _on(sizes: Sequence[int]) -> str:
    low, high = count_text(sizes[0]), count_text(sizes[-1])
    return f"On {high} facts" if low == high else f"On {low} to {high} facts"


def _places(found: Crossover) -> str:
    return list_text([f"between {count_text(before)} and {count_text(after)}" for before, after in found.changes])


def _index(contest: Contest) -> str:
    return "the index" if contest.rival is Group.INDEX else "the text-reading index"


def _as_written(contest: Contest, weights: Curve, index: Curve) -> list[str]:
    found = crossover(weights, index)
    sizes = sorted(weights)
    if found.outcome == "neither":
        best = [_best(contest, group, sizes[-1], "identical") for group in (contest.rival, Group.WEIGHTS)]
        tops = list_text([f"{percent_text(arm.accuracy)} ({arm.memory})" for arm in best])
        return [f"{_on(sizes)} neither side answers {GOAL}: at {count_text(sizes[-1])} the best reach {tops}."]
    if found.outcome == "a never":
        return [f"{_on(sizes)} no FFN tried answers {GOAL}.", *_missed(contest, weights, index)]
    if found.outcome == "b never":
        return [f"{_on(sizes)} no index tried answers {GOAL}.", *_missed(contest, weights, index)]
    if found.outcome == "no common size":
        return [f"Weights and index answer {GOAL} at no common number of facts.", *_missed(contest, weights, index)]
    return [_smaller(contest, weights, index, found), *_missed(contest, weights, index)]


def _smaller(contest: Contest, weights: Curve, index: Curve, found: Crossover) -> str:
    """The main sentence where both sides answer well enough at some common size."""
    last, on = found.sizes[-1], _on(found.sizes)
    small, large = _size(_at(index, last)), _size(_at(weights, last))
    who, be, it_answers, loser, losing = _index(contest), "is", "it answers", "FFN", weights
    if found.smaller == "a":
        small, large = large, small
        who, be, it_answers, loser, losing = "the weights", "are", "they answer", "index", index
    if found.changes:  # the sentence has not named the winner yet
        it_answers = f"{who} {it_answers.split()[1]}"
    at_last = f"at {count_text(last)} facts " if len(found.sizes) > 1 else ""
    if found.smaller == "equal":
        proof = f"{at_last}both need {small} to answer {GOAL}"
    else:
        proof = (
            f"{at_last}{it_answers} {GOAL} with {small}, where the smallest {loser} tried that does so needs {large}"
        )
        proof += " (upper bound: the smallest tried)" if _at(losing, last).is_smallest_tried else ""
    if found.changes:
        times = f"changes {len(found.changes)} times,"
        if len(found.changes) == 1:
            order = ["the weights", _index(contest)][:: 1 if found.smaller == "b" else -1]
            times = "changes" if found.smaller == "equal" else f"changes from {' to '.join(order)}"
        return f"{on} the smaller memory {times} {_places(found)} facts: {proof}."
    if found.smaller == "equal":
        return f"{on} neither side is the smaller memory throughout: {proof}."
    where = " at every size" if len(found.sizes) > 1 else ""
    return f"{on} {who} {be} the smaller memory{where}: {proof}."


def _missed(contest: Contest, weights: Curve, index: Curve) -> list[str]:
    """Sizes at which one side does not reach the goal and the other does."""
    sentences = []
    for nobody, group, curve, other, winner in (
        ("no FFN tried", Group.WEIGHTS, weights, index, f"{_index(contest)} does"),
        ("no index tried", contest.rival, index, weights, "the weights do"),
    ):
        lost = [num_facts for num_facts in sorted(curve) if curve[num_facts] is None and other[num_facts] is not None]
        if lost:
            best = _best(contest, group, lost[-1], "identical")
            sentences.append(
                f"At {list_text([count_text(num_facts) for num_facts in lost])} facts {nobody} gets there "
                f"(the best, {best.memory}, answers {percent_text(best.accuracy)}{_last(lost)}); "
                f"{winner} with {_size(_at(other, lost[-1]))}{_last(lost)}."
            )
            sentences += _unmeasured(contest, group, lost)
    return sentences


def _finished(contest: Contest, group: Group) -> set[tuple[str, int]]:
    """Memory and size of every finished arm."""
    return {
        (row.memory, row.num_facts)
        for row in contest.rows
        if (row.role, row.phrasing) == ("arm", "identical") and group_of(row) is group
    }


def _unmeasured(contest: Contest, group: Group, sizes: Sequence[int]) -> list[str]:
    """Arms that might have got there, had their cells finished."""
    finished = _finished(contest, group)
    missing = {memory for memory, _ in finished if any((memory, num_facts) not in finished for num_facts in sizes)}
    return [f"No result there for {list_text(sorted(missing))}."] if missing else []


def _absent(contest: Contest, group: Group, curve: Curve) -> list[str]:
    """The smallest arm of one size that has no result at another, where its side may look larger than it is."""
    finished = _finished(contest, group)
    reached = {num_facts: arm for num_facts, arm in curve.items() if arm is not None}
    sentences = []
    for memory in sorted({arm.memory for arm in reached.values()}):
        missing = [count_text(num_facts) for num_facts in sorted(reached) if (memory, num_facts) not in finished]
        if missing:
            sentences.append(f"No result of {memory} at {list_text(missing)} facts.")
    return sentences


def _last(sizes: Sequence[int]) -> str:
    return f" at {count_text(sizes[-1])}" if len(sizes) > 1 else ""


def _reworded(contest: Contest, weights: Curve, index: Curve) -> list[str]:
    """What new wordings do to the two memories just named, to the best of each side, and to the byte curves."""
    new_weights, new_index = curves_of(contest, "heldout")
    sizes = sorted(new_weights.keys() & new_index.keys())
    if not sizes:
        return ["New wordings were not asked."]
    last = sizes[-1]
    named = [
        (side, percent_text(arm.accuracy))
        for side, group, curve in (("index", contest.rival, index), ("weights", Group.WEIGHTS, weights))
        if (smallest := curve.get(last)) is not None
        for arm in arms_at(contest.rows, num_facts=last, phrasing="heldout", group=group, twin=contest.twin)
        if arm.memory == smallest.memory
    ]
    kept = ""
    if len(named) == 2:
        kept = f"the same two answer {list_text([f'{share} ({side})' for side, share in named])}; "
    elif named:
        side, share = named[0]
        kept = f"the same {side} {'answers' if side == 'index' else 'answer'} {share}; "
    best = [_best(contest, group, last, "heldout") for group in (contest.rival, Group.WEIGHTS)]
    tops = list_text([f"{percent_text(arm.accuracy)} ({arm.memory}, {_size(arm)})" for arm in best])
    return [
        f"Asked in paraphrases at {count_text(last)} facts, {kept}the best of each side answer {tops}.",
        _reworded_bytes(
            {num_facts: new_weights[num_facts] for num_facts in sizes},
            {num_facts: new_index[num_facts] for num_facts in sizes},
        ),
    ]


def _reworded_bytes(weights: Curve, index: Curve) -> str:
    found = crossover(weights, index)
    goal = f"To answer {percent_text(TAU['heldout'])} paraphrased"
    if found.outcome == "neither":
        return f"{goal} is more than any memory tried can do."
    if found.outcome in ("a never", "b never"):
        curve, nobody, who = (index, "FFN", "an index") if found.outcome == "a never" else (weights, "index", "an FFN")
        top = max(num_facts for num_facts, arm in curve.items() if arm is not None)
        return f"{goal}, no {nobody} tried suffices; {who} of {_size(_at(curve, top))} does at {count_text(top)} facts."
    if found.outcome == "no common size":
        return f"{goal}, weights and index suffice at no common number of facts."
    last = found.sizes[-1]
    crossing = f"the two cross {_places(found)} facts" if found.changes else "no crossover in range"
    return (
        f"{goal}, the index needs {_needs(_at(index, last))} and the weights {_needs(_at(weights, last))} "
        f"at {count_text(last)} facts; {crossing}."
    )
