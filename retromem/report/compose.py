"""What the report says and in which order."""

from collections.abc import Sequence
from dataclasses import replace

from retromem.report.answer import answer, answer_on_real_values
from retromem.report.content import Block, Content, FirstScreen, Points, Section, Terms
from retromem.report.crossover import curves_of, recallable
from retromem.report.drawing import Picture
from retromem.report.envelope import searched_contests
from retromem.report.figures import file_stem, study_pictures
from retromem.report.front import draw_front
from retromem.report.glossary import GLOSSARY
from retromem.report.headline import draw_headline
from retromem.report.numerals import bytes_text, count_text, list_text
from retromem.report.panel_sections import panel_sections
from retromem.report.published_section import out_of_band, published_first_screen, published_sections
from retromem.report.run_facts import RunFacts
from retromem.report.searched_page import one_sided_details, searched_first_screen, searched_sections
from retromem.report.seed_spread import seed_spread
from retromem.report.sides import Contest, main_contest
from retromem.report.table_text import Table
from retromem.report.tables import capacity_table, ledger_size, ledger_table
from retromem.rows import Row

_UNSEARCHED = "Of the few sizes tried on each side, by a grid and no search:"
"""until the smallest memory of each side is searched under one rule, a winner is one of the grid"""
_PAIRED = (
    ("-k0", "Without neighbours (k0) it cannot know the fact."),
    ("-random", "With random neighbours it cannot either."),
    ("-oracle", "With the statement of the very fact asked for (oracle) retrieval makes no error."),
    ("copy-top-1", "copy-top-1 takes the nearest statement's value with no parameters at all."),
)
"""how the names of what stands beside a pair end, and what is to be said of it"""


def compose(rows: Sequence[Row], run: RunFacts) -> Content:
    """Draw, tabulate and phrase everything; the parts of a sweep have a panel of their own."""
    rows = [row for row in rows if row.study not in run.swept]
    run = replace(
        run,
        capacities=[row for row in run.capacities if row.study not in run.swept],
        smallest=[row for row in run.smallest if row.study not in run.swept],
    )
    found = searched_first_screen(run.smallest, rows, run.unsearched)
    by_hand = [row for row in rows if not row.smallest_for]
    paired, grid = [row for row in by_hand if row.halves], [row for row in by_hand if not row.halves]
    sections = [*searched_sections(run.smallest, rows), *published_sections(run.published)]
    if not grid:
        sections += _pairs(paired)
        first = found or _first_of_others(rows, run, bool(paired))
    else:
        contest = main_contest(recallable(grid))
        searched = searched_contests(run.smallest)
        main = grid[0].study if contest is None else contest.study
        if searched and any(row.study == searched[0].study for row in grid):
            main = searched[0].study
        pictures = study_pictures(grid, run.capacities, main)
        if found is None:
            found = _first_by_hand(grid, run, contest, pictures)
        first = found
        sections += _sections_by_hand(grid, paired, [row for row in rows if row.smallest_for], run, main, pictures)
    words = Terms(pairs=GLOSSARY if any(not row.halves for row in rows) else ())
    sections += [*panel_sections(run.panels), Section(title="Words", blocks=[words]), *_small_print(run)]
    return Content(
        title=run.title,
        question=run.question,
        first=first,
        warning=_warning(run),
        sections=[section for section in map(_filled, sections) if section.blocks],
    )


def _first_by_hand(rows: Sequence[Row], run: RunFacts, contest: Contest | None, pictures: list[Picture]) -> FirstScreen:
    """Of sizes that a config names: the smallest tried, or kinds by bits per parameter, whose picture it takes."""
    answered, *more = answer(rows, run.capacities).split("\n")
    if contest is None:
        chart = pictures.pop() if pictures else None
    else:
        answered = f"{_UNSEARCHED} {answered[0].lower()}{answered[1:]}"
        chart = draw_headline(contest)
    return FirstScreen(
        answer=answered, more=" ".join(more), basis=_basis(rows, contest), charts=[] if chart is None else [chart]
    )


def _sections_by_hand(
    rows: Sequence[Row],
    paired: Sequence[Row],
    searched: Sequence[Row],
    run: RunFacts,
    main: str,
    pictures: Sequence[Picture],
) -> list[Section]:
    return [
        Section(title="The ledger", blocks=[_ledger(rows, main, "arm")]),
        *_front([*rows, *searched], main),
        *_others(rows, main),
        Section(title=f"Curves: {main}", blocks=pictures),
        *_pairs(paired),
        Section(title="How many facts each holds", blocks=[capacity_table(run.capacities, rows)]),
        *(section for study in dict.fromkeys(row.study for row in rows) if study != main
          for section in _study(rows, run, study)),
    ]  # fmt: skip


def _first_of_others(rows: Sequence[Row], run: RunFacts, has_pairs: bool) -> FirstScreen:
    """Of a run without two sides to compare: searches of one side, pairs, or panels alone."""
    if run.smallest:
        return FirstScreen(
            answer="Nothing to compare: the smallest memory was searched for on one side alone.",
            more=one_sided_details(run.smallest),
        )
    if has_pairs:
        return FirstScreen(answer="Nothing to compare: only pairs have results, each judged on half of the facts.")
    if run.published:
        return published_first_screen(run.published)
    panel, *others = run.panels
    found = "; what the others found stands below" if others else ""
    return FirstScreen(answer=panel.page.answer, basis=f"From the panel “{panel.page.title}”{found}.")


def _small_print(run: RunFacts) -> list[Section]:
    problems = [(f"{cell} ({what})", reason) for cell, what, reason in run.problems]
    return [
        Section(title="Method", blocks=[Terms(pairs=list(run.method.items()))]),
        Section(title="The facts", blocks=[Points(texts=[*run.notes, *run.unsearched, *_dropped(run)])]),
        Section(title="Limits", blocks=[Points(texts=run.limits)]),
        Section(title="Cells without a result", blocks=[Terms(pairs=problems)]),
    ]


def _pairs(rows: Sequence[Row]) -> list[Section]:
    """Memories judged on half of the facts, after learning to read on the other half."""
    sections = []
    for study in dict.fromkeys(row.study for row in rows):
        here = [row for row in rows if row.study == study]
        twin = any(row.twin for row in here)
        size = max(row.num_facts for row in here)
        explained = (
            f"Weights that read: an FFN is taught on {count_text(size)} facts to read what the index finds, and "
            "judged on as many others, which only the store holds."
        )
        explained += "".join(f" {told}" for ending, told in _PAIRED if any(row.memory.endswith(ending) for row in here))
        tables = [ledger_table(here, twin=twin, num_facts=size, role=role) for role in ("arm", "control")]
        sections.append(Section(title=f"The pair: {study}", blocks=[Points(texts=[explained]), *tables]))
    return sections


def _filled(section: Section) -> Section:
    """Without the blocks that say nothing."""
    return replace(section, blocks=[block for block in section.blocks if not _is_empty(block)])


def _is_empty(block: Block) -> bool:
    match block:
        case Terms():
            return not block.pairs
        case Points():
            return not block.texts
        case Table():
            return not any(lines for _, lines in block.blocks)
        case Picture():
            return False


def _ledger(rows: Sequence[Row], study: str, role: str, twin: bool | None = None) -> Table:
    here = [row for row in rows if row.study == study]
    twin = any(row.twin for row in here) if twin is None else twin
    of_twin = [row for row in here if row.twin == twin]
    size = ledger_size(of_twin)
    if size is None:
        return Table(caption="", header=(), blocks=())
    return ledger_table(of_twin, twin=twin, num_facts=size, role=role)


def _others(rows: Sequence[Row], study: str) -> list[Section]:
    """Controls and floors in view; the same ledger on the real values folded away."""
    sections = [Section(title="Controls and floors", blocks=[_ledger(rows, study, "control")])]
    if len({row.twin for row in rows if row.study == study}) == 2:
        real = [_ledger(rows, study, role, twin=False) for role in ("arm", "control")]
        sections.append(Section(title="The ledger on the real values", blocks=real, folded=True))
    return sections


def _front(rows: Sequence[Row], study: str) -> list[Section]:
    """Bits against bytes where both sides hold the same facts; with the bytes of a change folded away.

    What a search found stands beside the sizes that a config names.
    """
    here = [row for row in rows if row.study == study]
    claimed = recallable(row for row in here if row.twin == any(row.twin for row in here))
    size = ledger_size(claimed) if claimed else None
    if size is None or len({row.side for row in claimed if row.role == "arm"} & {"parametric", "retrieval"}) < 2:
        return []
    stem = file_stem(study)
    answering, maintained = (
        draw_front(claimed, stem, num_facts=size, with_maintenance=with_maintenance)
        for with_maintenance in (False, True)
    )
    return [
        Section(title="Bits for bytes", blocks=[answering]),
        Section(title="Bits for bytes, with what a change of a fact needs", blocks=[maintained], folded=True),
    ]


def _study(rows: Sequence[Row], run: RunFacts, study: str) -> list[Section]:
    blocks: list[Block] = [*study_pictures(rows, run.capacities, study)[::-1], _ledger(rows, study, "arm")]
    controls = _ledger(rows, study, "control")
    return [
        Section(title=f"Study: {study}", blocks=blocks),
        Section(title=f"Study: {study}, controls and floors", blocks=[controls], folded=True),
    ]


def _dropped(run: RunFacts) -> list[str]:
    left_out = [
        f"{count_text(number)} ({reason.replace('_', ' ')})" for reason, number in run.dropped.items() if number
    ]
    return [f"Left out of the set: {list_text(left_out)}."] if left_out else []


def _basis(rows: Sequence[Row], contest: Contest | None) -> str:
    if contest is None:
        return ""
    name = contest.rows[0].knowledge_name
    if not contest.twin:
        return f"Measured on {name}, with the values as given." + _beside_storage(contest)
    real = answer_on_real_values(rows)
    return (
        f"Measured on {name} with the values shuffled among the subjects (the twin), so that nothing known beforehand "
        "helps." + (f" With the real values: {real}" if real else "") + _beside_storage(contest)
    )


def _beside_storage(contest: Contest) -> str:
    """What the bytes of the answer leave out, for the two memories that it names; '' where it names no two."""
    weights, index = curves_of(contest, "identical")
    sizes = [size for size, arm in index.items() if arm is not None and weights.get(size) is not None]
    if not sizes:
        return ""
    size = max(sizes)
    medians: dict[str, list[str]] = {}
    for column in ("resident_bytes", "maintain_bytes", "shared_bytes"):
        for arm in (index[size], weights[size]):
            assert arm is not None
            own = [row for row in contest.rows if (row.memory, row.num_facts) == (arm.memory, size)]
            found = seed_spread([row for row in own if row.phrasing == "identical"], column)
            if found is None:
                return ""
            medians.setdefault(column, []).append(bytes_text(found.median))
    in_memory, to_change = (" and ".join(medians[column]) for column in ("resident_bytes", "maintain_bytes"))
    encoder = _encoder_text(*medians["shared_bytes"])
    return (
        f" Beside these bytes, index and weights take {in_memory} of memory while they answer and keep {to_change} to "
        f"change a fact{encoder}."
    )


def _encoder_text(of_index: str, of_weights: str) -> str:
    """Who needs the encoder, by the shared bytes of each: decoders take words as they are."""
    none = bytes_text(0)
    if of_index == of_weights:
        return "" if of_index == none else f"; both need the encoder, {of_index}"
    if of_weights == none:
        return f"; the index alone needs the encoder, {of_index}"
    return f"; what everybody has is {of_index} for the index (the encoder) and {of_weights} for the weights"


def _warning(run: RunFacts) -> str:
    said = []
    for kind, one, many in (("failed", "cell failed", "cells failed"),
                            ("not run", "cell has no result yet", "cells have no result yet")):  # fmt: skip
        count = sum(kind == its for _, its, _ in run.problems)
        said += [f"{count} {one if count == 1 else many}"] if count else []
    warned = f"{list_text(said)}: what is said here holds for the others; reasons at the end." if said else ""
    return " ".join(filter(None, (out_of_band(run.published), warned)))
