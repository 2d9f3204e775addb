"""The table of the limits on keys of cities and on random ones: a line a quantity, beside its reference."""

from collections.abc import Callable, Sequence
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
from retromem.panels.spread_text import against, known, spread_cell
from retromem.points import Point
from retromem.report.numerals import count_text, percent_text, significant_text
from retromem.report.table_text import Cell, Table

if TYPE_CHECKING:
    from retromem.panels.limits.encoder_keys import EncoderKeysConfig

Text = Callable[[float], str]
_WHEN = {"alone": "A alone", "beside": "A beside B", "after": "A after B"}


def limits_table(points: Sequence[Point], config: "EncoderKeysConfig") -> Table:
    """Every quantity on both kinds of keys, what differs, and the reference."""

    def line(name: str, quantity: str, series: str, text: Text, reference: str, x: float | None = None,
             resolution: float = 0.0) -> list[Cell]:  # fmt: skip
        found = [known(points, f"{quantity}_{keys}", series, x) for keys in KEYS]
        verdict = against(found[0], found[1], resolution=resolution)
        return [Cell(text=name), *(spread_cell(one, text) for one in found), Cell(text=verdict), Cell(text=reference)]

    def number(quantity: str, series: str, text: Text, x: float | None = None) -> str:
        """Of both kinds of keys, or of one where both have the same."""
        return " and ".join(dict.fromkeys(text(known(points, f"{quantity}_{keys}", series, x).median) for keys in KEYS))

    def accuracies(prefix: str, writers: Sequence[str]) -> list[list[Cell]]:
        lines = []
        for when, name in _WHEN.items():
            quantity = prefix + when
            reference = f"index {number(quantity, INDEX, percent_text)}"
            if when == "after":
                reference += f", chance {number(quantity, CHANCE, percent_text)}"
            lines += [line(f"{name}, {writer}", quantity, writer, percent_text, reference) for writer in writers]
        return lines

    def facts(name: str, quantity: str, series: str, reference: str, x: float | None = None) -> list[Cell]:
        return line(name, quantity, series, count_text, reference, x, config.resolution)

    shares = []
    for limit, (meaning, _) in LIMITS.items():
        cells = line(f"{limit}: {meaning}", "left", limit, percent_text, "100 %: no limit")
        shares.append([*cells[:3], Cell(text=left_against(points, limit, config.resolution)), cells[4]])
    constructed = f"constructed {number('constructed', CONSTRUCTED, count_text)}"
    exposures = [
        facts(f"SwiGLU, {steps:,} exposures", "exposed", SWIGLU, constructed, float(steps))
        for steps in config.exposures
    ]
    exposures.append(facts(f"constructed: {CONSTRUCTED}", "constructed", CONSTRUCTED, "–"))
    first = min(config.loads)
    at_first = f"{number('overload', SWIGLU, significant_text, first)} at {first:g} times"
    overload = [
        cells
        for load in config.loads
        for cells in (
            line(f"bits a parameter, {load:g} times", "overload", SWIGLU, significant_text, at_first, load),
            line(f"right, {load:g} times", "overload_right", SWIGLU, percent_text, "–", load),
        )
    ]
    own, of_gaussian, of_shaped = (
        significant_text(known(points, quantity, series).median)
        for quantity, series in (("encoder_rank", CITIES), ("encoder_rank", GAUSSIAN), (f"rank_{SHAPED}", "keys"))
    )
    ranks = [
        line(name, "rank", part, significant_text,
             f"Gaussian {number('rank_gaussian', part, significant_text)}{beside}")
        for name, part, beside in (
            ("keys", "keys", f"; shaped like cities' {of_shaped}; in the encoder's own dimensions {own} of cities, "
             f"Gaussian {of_gaussian}"),
            ("hidden activations, SwiGLU", "hidden", ""),
        )
    ]  # fmt: skip
    shaped = count_text(known(points, f"capacity_{SHAPED}", SWIGLU).median)
    references = {SWIGLU: f"Gaussian keys shaped like cities' {shaped}"}
    one_layer = f"one layer {number('capacity', GELU, count_text)}"
    architectures = [
        facts(name, "capacity", name, references.get(name, "–") if name in KINDS else one_layer)
        for name in config.kinds
    ]
    return Table(
        caption=f"Median and range over seeds; one layer, at most {config.num_params:,} parameters.",
        header=["", *KEYS.values(), f"{CITIES} against {RANDOM}", "reference"],
        blocks=[
            ("left under each limit", shares),
            ("interference: two disjoint groups of cities", accuracies("", list(WRITERS))),
            ("interference: two relations of the same cities", accuracies("relation_", [GELU])),
            (f"facts stored, {SWIGLU} of half the parameters", exposures),
            (f"overload, {SWIGLU} of half the parameters", overload),
            ("participation ratio, dimensions", ranks),
            (f"facts stored after {config.steps:,} exposures", architectures),
        ],
    )
