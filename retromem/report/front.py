"""Bits for bytes: what each memory recalls of the same facts, and which of them nothing smaller matches."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from retromem.report.drawing import (
    FULL_WIDTH,
    Label,
    Picture,
    bytes_axis,
    finish,
    new_figure,
    place_labels,
    style,
)
from retromem.report.numerals import bytes_text, count_text
from retromem.report.seed_spread import medians_text, seed_spread
from retromem.report.sides import COLOURS, MARKERS, Group, group_of
from retromem.report.tables import demand_text
from retromem.rows import Row

_TOLD_APART = 0.01
"""of the most bits recalled: the front is named where it gains as much"""
_PHRASINGS = {"identical": "as written", "heldout": "paraphrased"}


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One memory at one size, medians over seeds."""

    memory: str
    group: Group
    num_bytes: float
    bits: float
    """recalled, by cross-entropy"""


def offers(rows: Sequence[Row], *, num_facts: int, phrasing: str, with_maintenance: bool) -> list[Offer]:
    """The arms that tell their bytes. The rows are those of one study and one twin.

    `with_maintenance` adds what a change of a fact needs (texts, ids, raw vectors; training facts) to the bytes that
    answer.
    """
    here = [row for row in rows if (row.num_facts, row.phrasing, row.role) == (num_facts, phrasing, "arm")]
    found = []
    for memory, searched_for in dict.fromkeys((row.memory, row.smallest_for) for row in here):
        seeds = [row for row in here if (row.memory, row.smallest_for) == (memory, searched_for)]
        bits, storage = seed_spread(seeds, "bits_ce"), seed_spread(seeds, "storage_bytes")
        maintenance = seed_spread(seeds, "maintain_bytes")
        if bits is None or storage is None or (with_maintenance and maintenance is None):
            continue
        more = maintenance.median if with_maintenance and maintenance else 0.0
        found.append(Offer(memory=memory, group=group_of(seeds[0]), num_bytes=storage.median + more, bits=bits.median))
    return found


def pareto(found: Sequence[Offer]) -> list[Offer]:
    """Those that no other one beats in bytes without recalling less, or in bits without being larger; bytes rising."""
    best: list[Offer] = []
    for offer in sorted(found, key=lambda offer: (offer.num_bytes, -offer.bits, offer.memory)):
        if not best or offer.bits > best[-1].bits:
            best.append(offer)
    return best


def worth_naming(best: Sequence[Offer]) -> list[Offer]:
    """Of a front those that recall clearly more than the one named before."""
    least = _TOLD_APART * max((offer.bits for offer in best), default=0.0)
    named: list[Offer] = []
    for offer in best:
        if not named or offer.bits >= named[-1].bits + least:
            named.append(offer)
    return named


def draw_front(rows: Sequence[Row], stem: str, *, num_facts: int, with_maintenance: bool) -> Picture:
    """One pair of axes for the written words, one for new ones where they were asked."""
    name = f"{stem}-front" + ("-maintained" if with_maintenance else "")
    asked = {phrasing: title for phrasing, title in _PHRASINGS.items() if any(r.phrasing == phrasing for r in rows)}
    with style(name):
        figure = new_figure(FULL_WIDTH if len(asked) > 1 else 0.72 * FULL_WIDTH, 5.2)
        all_axes = figure.subplots(1, len(asked), sharey=True, squeeze=False)[0]
        named: list[list[Offer]] = []
        for axes, (phrasing, title) in zip(all_axes, asked.items(), strict=True):
            found = offers(rows, num_facts=num_facts, phrasing=phrasing, with_maintenance=with_maintenance)
            found = [offer for offer in found if offer.num_bytes > 0]
            best = pareto(found)
            axes.step(
                [offer.num_bytes for offer in best],
                [offer.bits for offer in best],
                where="post",
                color="#888888",
                linewidth=1.2,
                zorder=1,
            )
            for group in Group:
                own = [offer for offer in found if offer.group is group]
                if own:
                    axes.scatter(
                        [offer.num_bytes for offer in own],
                        [offer.bits for offer in own],
                        color=COLOURS[group],
                        marker=MARKERS[group],
                        s=28,
                        label=group.value if axes is all_axes[0] else None,
                    )
            axes.set_xlabel("bytes, with what a change needs" if with_maintenance else "storage bytes")
            axes.set_title(title)
            axes.set_xscale("log")
            axes.margins(x=0.2)
            bytes_axis(axes, "x")
            named.append(worth_naming(best))
        all_axes[0].set_ylabel("bits recalled")
        figure.legend(loc="outside right upper", fontsize=10)
        for axes, front in zip(all_axes, named, strict=True):  # once the legend has taken its place
            place_labels(axes, [_label(offer) for offer in front])
        return finish(
            figure,
            name=name,
            caption=_caption(rows, num_facts, with_maintenance),
            alt="Bits recalled against bytes, one mark a memory; the best for each size joined.",
        )


def _label(offer: Offer) -> Label:
    """Without its family, which the colour tells."""
    text = re.sub(r"^(ffn|faiss-[qs])-", "", offer.memory)
    return Label(x=offer.num_bytes, y=offer.bits, text=text, colour=COLOURS[offer.group])


def _caption(rows: Sequence[Row], num_facts: int, with_maintenance: bool) -> str:
    demand = seed_spread([row for row in rows if row.num_facts == num_facts and row.side != "paired"], "demand_bits")
    whole = f"{demand_text(demand)}, {bytes_text(demand.median / 8)}" if demand else ""
    asked = f" All there is to recall: {whole}." if whole else ""
    what = (
        "Bytes that answer and those that a change of a fact needs: texts, ids, raw vectors; training facts of weights."
        if with_maintenance
        else "Bytes that answer."
    )
    how = "Joined: what nothing smaller matches; named where it recalls clearly more."
    return f"{count_text(num_facts)} facts. {medians_text(rows)} {what} {how}{asked}"
