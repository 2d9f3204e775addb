"""arXiv 2601.20844, as re-measured: in 2 k dimensions any k documents can be an answer, if numbers are exact."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from retromem.panels.published.published_panel import PublishedPanel
from retromem.theory.moment_curve import num_wrong_sets


@dataclass(frozen=True, kw_only=True)
class MomentCurveSetsConfig(PublishedPanel):
    """Pairs of documents on the moment curve that their query ranks first, or that it does not."""

    panel: Literal["moment_curve_sets"] = "moment_curve_sets"
    documents: int = 300
    """every pair of them is asked for"""
    precision: Literal["float64", "float32"] = "float64"
    """of the vectors"""
    counted: Literal["right", "wrong"] = "right"
    """pairs that come first, or those that do not"""
    seeds: tuple[int, ...] = (0,)
    """nothing is drawn"""

    unit = "pairs"

    @property
    def setting(self) -> str:
        ranks = "ranks first" if self.counted == "right" else "does not rank first"
        return (
            f"moment curve, d = 4, k = 2, {self.documents} documents in {self.precision}: of "
            f"{math.comb(self.documents, 2):,} pairs those that their query {ranks}"
        )

    def number(self, seed: int) -> float:
        dtype = np.float64 if self.precision == "float64" else np.float32
        wrong, sets = num_wrong_sets(self.documents, 2, dtype=dtype)
        return sets - wrong if self.counted == "right" else wrong
