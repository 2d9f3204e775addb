"""The answer in words: a few plain sentences, every number of which is computed from the rows."""

from collections.abc import Sequence

from retromem.report.crossover import min_bytes, recallable
from retromem.report.kinds import Kind, kinds_of
from retromem.report.numerals import bytes_text, count_text, list_text, percent_text, significant_text
from retromem.report.sides import Group, group_of, main_contest
from retromem.report.verdict import GOAL, verdict, verdict_in_short
from retromem.rows import TAU, CapacityRow, Row


def answer(rows: Sequence[Row], capacities: Sequence[CapacityRow] = ()) -> str:
    """What the run found, for somebody who reads nothing else; one sentence a line, the main one first.

    A study with both sides: who is smaller as written, then what new wordings do to both. Without one: the weight
    memories by bits per parameter, or the smallest index.
    """
    told = recallable(rows)
    if not told:
        return "There is nothing to recall: every fact has the same value (0 bits), so no memory wins."
    return "\n".join([_found(told, capacities), *_nothing_to_recall(rows)])


def _nothing_to_recall(rows: Sequence[Row]) -> list[str]:
    """Sizes at which every fact has the same value."""
    sentences, studies = [], list(dict.fromkeys(row.study for row in rows))
    for study in studies:
        sizes = sorted({row.num_facts for row in rows if row.study == study and row.demand_bits == 0})
        if sizes:
            on = f"On {study} at" if len(studies) > 1 else "At"
            where = list_text([count_text(num_facts) for num_facts in sizes])
            sentences.append(f"{on} {where} facts every one has the same value (0 bits): no memory wins there.")
    return sentences


def _found(rows: Sequence[Row], capacities: Sequence[CapacityRow]) -> str:
    contest = main_contest(rows)
    if contest is not None:
        return "\n".join(verdict(contest))
    ranked = {study: kinds_of(rows, capacities, study) for study in dict.fromkeys(row.study for row in rows)}
    ranked = {study: kinds for study, kinds in ranked.items() if kinds}
    if not ranked:
        return _alone(rows)
    first, *others = ranked
    sentences = _rank(ranked[first])
    if others:
        sentences[0] = f"On {first}: {sentences[0]}"
        sentences += [f"On {study}: {_rank(ranked[study])[0]}" for study in others]
    return "\n".join(sentences)


def answer_on_real_values(rows: Sequence[Row]) -> str:
    """The same comparison in short on the real values, where `answer` spoke of the twin; else empty."""
    rows = recallable(rows)
    contest = main_contest(rows)
    if contest is None or not contest.twin:
        return ""
    real = main_contest([row for row in rows if row.study == contest.study and not row.twin])
    return "" if real is None else verdict_in_short(real)


def _bits(kind: Kind) -> str:
    return ("at least " if kind.censored else "") + f"{significant_text(kind.density.median)} bits"


def _others(rest: Sequence[Kind]) -> str:
    """All of a few; of many the next three and the last."""
    named = [f"{kind.memory} with {_bits(kind)}" for kind in rest]
    if len(named) > 5:
        named = [*named[:3], f"{len(named) - 4} more", f"last {named[-1]}"]
    return list_text(named)


def _rank(kinds: Sequence[Kind]) -> list[str]:
    """Weight memories by bits per parameter, or byte, at their capacity."""
    first, rest = kinds[0], kinds[1:]
    spread = first.density
    alike = [kind.memory for kind in kinds if kind.density.median == spread.median]
    low, high = significant_text(spread.low), significant_text(spread.high)
    seeds = f" ({low} to {high} over {spread.num_seeds} seeds)" if low != high else ""
    others = f", before {_others(rest)}" if rest else ""
    holds = f"{first.memory} holds {'the most: ' if rest else ''}{_bits(first)}{seeds}"
    if len(alike) > 1:
        others = f", before {_others(rest[len(alike) - 1 :])}" if len(alike) < len(kinds) else ""
        holds = f"{list_text(alike)} hold the same{', the most' if others else ''}: {_bits(first)} each"
    sentences = [f"Per {first.per} {holds}{others}."]
    missed = [kind.memory for kind in kinds if not kind.reached]
    if missed:
        missing = list_text(missed) if len(missed) < 4 else f"{len(missed)} of them"
        sentences.append(
            f"{missing} answered {GOAL} at no size measured: the number is that of the size with the most bits."
        )
    if len(missed) < len(kinds):
        those = "The others are" if missed else "Each is" if rest else "It is"
        sentences.append(f"{those} read at the most facts answered to {percent_text(TAU['identical'])}.")
    if any(kind.censored for kind in rest):
        sentences.append("Where it says at least, no larger number of facts was tried: the order may be another.")
    if len(alike) == 1 and rest and spread.num_seeds > 1 and rest[0].density.high >= spread.low:
        sentences.append(f"The seeds of {first.memory} and {rest[0].memory} overlap.")
    return sentences


def _alone(rows: Sequence[Row]) -> str:
    """A run without weights: nothing to compare, so say what the smallest store needs."""
    for study in dict.fromkeys(row.study for row in rows):
        here = [row for row in rows if row.study == study]
        twin = any(row.twin for row in here)
        for group in (Group.INDEX, Group.TEXT_INDEX):
            curve = min_bytes(here, tau=TAU["identical"], phrasing="identical", group=group, twin=twin)
            reached = {num_facts: arm for num_facts, arm in curve.items() if arm is not None}
            if reached:
                top = max(reached)
                return (
                    f"Only one side was run: {reached[top].memory} answers {GOAL} on {count_text(top)} facts "
                    f"with {bytes_text(reached[top].storage_bytes)}."
                )
    sides = list_text(list(dict.fromkeys(str(group_of(row)) for row in rows)))
    return f"Nothing to compare: the finished cells hold no two sides that answered (only: {sides})."
