"""How fast texts are encoded, beside the default call of sentence-transformers, and what the speed costs in recall.

Shape legend: N facts, D dimensions.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retromem.benchmarks.in_turns import Timed, in_turns
from retromem.knowledge.cities import CITY_WORDINGS, cities
from retromem.knowledge.wordings import fill

_NUM_TIMED, _NUM_FACTS = 2048, 4000


def measure(say: Callable[[str], None]) -> Iterator[Timed]:
    """Questions about cities, in turns; then recall@1 of reworded questions, by both sets of vectors."""
    from sentence_transformers import SentenceTransformer

    encoder = Encoder(EncoderConfig())
    encoder.load()
    default = SentenceTransformer(str(encoder.resolved.path), local_files_only=True)
    names = list(dict.fromkeys(cities().subjects))
    names = [names[row] for row in np.random.default_rng(0).permutation(len(names))[:_NUM_FACTS]]
    wordings = CITY_WORDINGS["country"]
    written = [fill(wordings.written[0], name) for name in names]
    reworded = [fill(wordings.heldout[1], name) for name in names]
    texts = [text for pair in zip(written, reworded, strict=True) for text in pair][:_NUM_TIMED]
    yield in_turns(
        f"encode {len(texts):,} questions",
        ("retromem", partial(encoder.encode, texts)),
        ("sentence-transformers' default call", partial(default.encode, texts, show_progress_bar=False)),
        turns=5,
    )
    ours = _recall_at_1(encoder.encode(written), encoder.encode(reworded))
    its = _recall_at_1(default.encode(written), default.encode(reworded))
    say(
        f"recall@1 of {_NUM_FACTS:,} reworded questions: {100 * ours:.2f} % by retromem, "
        f"{100 * its:.2f} % by the default call"
    )


def _recall_at_1(stored_ND: Float32[ndarray, "N D"], asked_ND: Float32[ndarray, "N D"]) -> float:
    """Share of the questions whose own text is the nearest; all vectors have unit norm."""
    return float((np.argmax(asked_ND @ stored_ND.T, axis=1) == np.arange(len(stored_ND))).mean())
