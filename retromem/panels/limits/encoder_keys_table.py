"""The table of the limits on keys of cities and on random ones: a line a quantity, beside its reference."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from retromem.panels.limits.encoder_keys import (
    CHANCE,
    CITIES,
    CONSTRUCTED,
    GAUSSIAN,
    GELU,
    INDEX,
    KEYS,
    KINDS,
    LIMITS,
    RANDOM,
    SHAPED,
    SWIGLU,
    WRITERS,
    left_against,
)
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import against, known, lines, of_each, spread_cell
from retromem.report.numerals import count_text, percent_text, significant_text
from retromem.report.seed_spread import medians_text
from retromem.report.table_text import Cell, Table

if TYPE_CHECKING:
    from retromem.panels.limits.encoder_keys import EncoderKeysConfig

Text = Callable[[float], str]
_WHEN = {"alone": "A alone", "beside": "A beside B", "after": "A after B"}


def limits_table(points: Sequence[Point], config: "EncoderKeysConfig") -> Table:
    """Every quantity on both kinds of keys, what differs, and the reference."""

    def line(name: str, quantity: str, series: str, text: Text, reference: str, x: float | None = None,
             resolution: float = 0.0) -> list[Cell]:  # fmt: skip
        found = of_each(lambda keys: known(points, f"{quantity}_{keys}", series, x), KEYS)
        verdict = against(found[CITIES], found[RANDOM], resolution=resolution) if len(found) == len(KEYS) else "–"
        return [
            Cell(text=name),
            *(spread_cell(found.get(keys), text) for keys in KEYS),
            Cell(text=verdict),
            Cell(text=reference or "–"),
        ]

    def number(name: str, quantity: str, series: str, text: Text, x: float | None = None) -> str:
        """A reference, of both kinds of keys, or of one where both have the same; empty where it was not measured."""
        found = lines(lambda keys: text(known(points, f"{quantity}_{keys}", series, x).median), KEYS)
        return f"{name} {' and '.join(dict.fromkeys(found))}" if found else ""

    def answered(name: str, quantity: str, reference: str, writer: str) -> list[Cell]:
        return line(f"{name}, {writer}", quantity, writer, percent_text, reference)

    def accuracies(prefix: str, writers: Sequence[str]) -> list[list[Cell]]:
        found = []
        for when, name in _WHEN.items():
            quantity = prefix + when
            references = [number("index", quantity, INDEX, percent_text)]
            if when == "after":
                references.append(number("chance", quantity, CHANCE, percent_text))
            reference = ", ".join(filter(None, references))
            found += lines(partial(answered, name, quantity, reference), writers)
        return found

    def facts(name: str, quantity: str, series: str, reference: str, x: float | None = None) -> list[Cell]:
        return line(name, quantity, series, count_text, reference, x, config.resolution)

    def share(limit: str) -> list[Cell]:
        cells = line(f"{limit}: {LIMITS[limit][0]}", "left", limit, percent_text, "100 %: no limit")
        verdict = cells[3] if cells[3].text == "–" else Cell(text=left_against(points, limit, config.resolution))
        return [*cells[:3], verdict, cells[4]]

    constructed = number("constructed", "constructed", CONSTRUCTED, count_text)
    exposures = [
        *lines(
            lambda steps: facts(f"SwiGLU, {steps:,} exposures", "exposed", SWIGLU, constructed, float(steps)),
            config.exposures,
        ),
        *lines(lambda name: facts(f"constructed: {name}", "constructed", name, "–"), [CONSTRUCTED]),
    ]
    first = min(config.loads)
    at_first = number(f"at {first:g} times", "overload", SWIGLU, significant_text, first)
    overload = [
        cells
        for load in config.loads
        for cells in (
            *lines(
                lambda load: line(
                    f"bits a parameter, {load:g} times", "overload", SWIGLU, significant_text, at_first, load
                ),
                [load],
            ),
            *lines(
                lambda load: line(f"right, {load:g} times", "overload_right", SWIGLU, percent_text, "–", load), [load]
            ),
        )
    ]
    beside = [
        f"; {what} {significant_text(spread.median)}"
        for what, spread in (
            ("shaped like cities'", spread_at(points, f"rank_{SHAPED}", "keys")),
            ("in the encoder's own dimensions of cities", spread_at(points, "encoder_rank", CITIES)),
            ("and Gaussian there", spread_at(points, "encoder_rank", GAUSSIAN)),
        )
        if spread
    ]
    named = {"keys": "keys", "hidden": "hidden activations, SwiGLU"}
    ranks = lines(
        lambda part: line(
            named[part],
            "rank",
            part,
            significant_text,
            number("Gaussian", "rank_gaussian", part, significant_text) + ("".join(beside) if part == "keys" else ""),
        ),
        named,
    )
    shaped = spread_at(points, f"capacity_{SHAPED}", SWIGLU)
    references = {SWIGLU: f"Gaussian keys shaped like cities' {count_text(shaped.median)}"} if shaped else {}
    one_layer = number("one layer", "capacity", GELU, count_text)
    architectures = lines(
        lambda name: facts(name, "capacity", name, references.get(name, "–") if name in KINDS else one_layer),
        config.kinds,
    )
    return Table(
        caption=f"One layer, at most {config.num_params:,} parameters. {medians_text(points)}",
        header=["", *KEYS.values(), f"{CITIES} against {RANDOM}", "reference"],
        blocks=[
            ("left under each limit", lines(share, LIMITS)),
            ("interference: two disjoint groups of cities", accuracies("", list(WRITERS))),
            ("interference: two relations of the same cities", accuracies("relation_", [GELU])),
            (f"facts stored, {SWIGLU} of half the parameters", exposures),
            (f"overload, {SWIGLU} of half the parameters", overload),
            ("participation ratio, dimensions", ranks),
            (f"facts stored after {config.steps:,} exposures", architectures),
        ],
    )
