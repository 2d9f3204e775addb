"""What a panel says on the page, before it is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from retromem.panels.points import Point
from retromem.report.table_text import Table


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One pair of axes. Series without a seed are formulas, drawn grey and dashed."""

    title: str
    quantities: Sequence[str]
    """the points shown; of several, each has a mark of its own"""
    x_label: str = ""
    """empty: the points have no x, and every series gets a line of its own"""
    y_label: str
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    series: Sequence[str] = ()
    """those shown, in this order; all where empty"""
    labels: Mapping[str, str] = field(default_factory=dict)
    """that the points shown have; what other labels of theirs say stands behind the series"""
    names: Mapping[str, str] | None = None
    """what the legend calls a quantity, where there are several"""
    percent: bool = False
    """y is a share"""


@dataclass(frozen=True, kw_only=True)
class PanelPage:
    """One panel: a finding with its numbers, what it rests on, and the pictures."""

    title: str
    answer: str
    """one plain sentence that a stranger understands, with the one or two numbers that decide"""
    finding: str
    """the measured numbers beside the formula's or the null's"""
    explained: Sequence[str]
    """what was measured, how, what the reference is, and what the numbers do not say"""
    charts: Sequence[Chart] = ()
    """one to three, side by side"""
    tables: Sequence[Table] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A page and the points it is drawn from."""

    name: str
    page: PanelPage
    points: Sequence[Point]
