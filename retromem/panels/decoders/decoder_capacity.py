"""Panel: how many bits of names and values does a decoder hold, as people grow through its capacity?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from models.any_ffn import AnyFFNConfig
from models.decoder_config import DecoderConfig
from models.ffn_kinds import DenseConfig
from retromem.knowledge.biographies import NUM_NAMES
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import grid, known, known_curve, sentences, spread_cell, tables
from retromem.report.numerals import significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Table

PER_TOTAL, PER_BESIDE, PER_ACTIVE = "bits_per_param", "bits_per_non_embedding_param", "bits_per_active_param"
DEMAND = {"kind": "asked of it"}
"""label of what there was to hold"""
_ENOUGH = 0.85
"""of the demand: a decoder that holds more was not shown to be full"""


def shown(exposures: int) -> str:
    """The series of a training."""
    return f"{exposures:,} exposures"


@dataclass(frozen=True, kw_only=True)
class DecoderCapacityConfig(PanelConfig):
    """Bits of names and values (bit complexity) in a decoder trained on records of people, by exposures and people."""

    panel: Literal["decoder_capacity"] = "decoder_capacity"
    num_people: tuple[int, ...] = (1000, 2000, 4000)
    """in the set; each is one record"""
    exposures: tuple[int, ...] = (100, 1000)
    """times that each record is shown"""
    num_birth_years: int = 100
    """336 dates each"""
    dim: int = 32
    """of the stream"""
    depth: int = 2
    """layers"""
    heads: int = 2
    """of attention"""
    ffn: AnyFFNConfig = field(default_factory=DenseConfig)
    """of each layer"""
    batch_size: int = 96
    """records a step"""
    learning_rate: float = 5e-3
    """of AdamW, with a cosine"""
    computes_in: Literal["float32", "bfloat16"] = "float32"
    """activations and products"""

    seconds_expected: ClassVar[float] = 3000.0
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.decoder  # which refuses what no decoder can have
        if max(self.num_people) > NUM_NAMES:
            raise ValueError(f"num_people must be at most {NUM_NAMES:,}, the names that there are")

    @property
    def decoder(self) -> DecoderConfig:
        return DecoderConfig(dim=self.dim, depth=self.depth, heads=self.heads, ffn=self.ffn, context=32)

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.decoders.decoder_capacity_points import decoder_capacity_points

        return decoder_capacity_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        return PanelPage(
            title="How many bits of names and values does a decoder hold?",
            answer=sentences(points, self._answer),
            finding=sentences(points, self._of_each),
            explained=[
                f"A decoder with {self.ffn.label} FFNs, a stream of {self.dim} and a depth of {self.depth} is "
                "trained on records of invented people: a name of two words and five values, every token with a loss. "
                "Bits are those of the literature on language models (Allen-Zhu and Li 2024, bit complexity): what "
                "naming the people and their values costs without the decoder, less what it costs with it; names "
                "included, the city of work, which follows from the employer, left out. They are not the bits of "
                "this project's rows, where the question is given.",
                "Capacity is the most bits over all numbers of people, not those at the largest one: beyond it stored "
                "bits may fall. Per parameter of all, the embeddings of the 2,022 words among them.",
            ],
            charts=[
                Chart(
                    title="Bits per parameter",
                    quantities=[PER_TOTAL],
                    x_label="people",
                    y_label="bits per parameter, all of them",
                    series=[shown(exposures) for exposures in self.exposures],
                ),
            ],
            tables=tables(points, self._table),
        )

    def best(self, points: Sequence[Point], exposures: int) -> tuple[float, Spread]:
        """People and bits per parameter where most are held."""
        curve = known_curve(points, PER_TOTAL, shown(exposures))
        people = max(curve, key=lambda at: curve[at].median)
        return people, curve[people]

    def _answer(self, points: Sequence[Point]) -> str:
        most = max(self.exposures)
        people, bits = self.best(points, most)
        return (
            f"After {most:,} exposures {significant_text(bits.median)} bits per parameter, at {people:,.0f} people, in "
            f"{self.ffn.label} FFNs."
        )

    def _of_each(self, points: Sequence[Point]) -> str:
        said = []
        for exposures in self.exposures:
            people, bits = self.best(points, exposures)
            demand = known(points, PER_TOTAL, shown(exposures), people, **DEMAND).median
            full = "" if bits.median < _ENOUGH * demand else ", nearly all that there was: a lower bound"
            said.append(f"{significant_text(bits.median)} after {exposures:,} ({people:,.0f} people{full})")
        return "Bits per parameter at the best number of people: " + "; ".join(said) + "."

    def _table(self, points: Sequence[Point]) -> Table:
        rows = {
            f"{shown(exposures)}, {people:,} people": (shown(exposures), float(people))
            for exposures in self.exposures
            for people in self.num_people
        }
        columns = {
            "bits per parameter": PER_TOTAL,
            "beside the embeddings": PER_BESIDE,
            "per active one": PER_ACTIVE,
            "bits of a name": "name_bits_per_person",
            "bits of a person's values": "value_bits_per_person",
        }
        return grid(
            points,
            "Bits held,",
            "trained on",
            rows,
            columns,
            lambda row, quantity: spread_cell(spread_at(points, quantity, row[0], row[1])),
        )
