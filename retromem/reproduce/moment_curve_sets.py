"""arXiv 2601.20844, as re-measured: in 2 k dimensions any k documents can be an answer, if numbers are exact."""

from functools import partial

import numpy as np

from retromem.reproduce.claim import Claim
from retromem.theory.moment_curve import num_wrong_sets


def right_pairs_in_float64(num_documents: int) -> float:
    """Pairs that are the two best documents of their query."""
    wrong, sets = num_wrong_sets(num_documents, 2, dtype=np.float64)
    return float(sets - wrong)


def wrong_pairs_in_float32(num_documents: int) -> float:
    """Pairs that are not, when the same vectors are rounded."""
    return float(num_wrong_sets(num_documents, 2, dtype=np.float32)[0])


CLAIMS = [
    Claim(
        source="arXiv 2601.20844, as re-measured",
        setting="moment curve, d = 4, k = 2, 300 documents in float64: pairs that their query ranks first",
        unit="pairs of 44,850",
        published=44_850.0,
        band=(44_850.0, 44_850.0),
        measure=partial(right_pairs_in_float64, 300),
        seconds_expected=3.0,
    ),
    Claim(
        source="arXiv 2601.20844, as re-measured",
        setting="the same vectors in float32, 46 documents: pairs that their query does not rank first",
        unit="pairs of 1,035",
        published=16.0,
        band=(1.0, 60.0),  # which of them fail depends on the order of summation; that some do does not
        measure=partial(wrong_pairs_in_float32, 46),
        seconds_expected=1.0,
    ),
]
