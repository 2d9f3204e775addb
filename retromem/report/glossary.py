"""The words of the page, each in a sentence."""

from retromem.report.numerals import percent_text
from retromem.rows import TAU

NAMES_OF_MEMORIES = "names of memories"
GLOSSARY: tuple[tuple[str, str], ...] = (
    ("fact", "a subject, a relation and one value: (Lyon, country, France)."),
    ("value", "what has to be answered. Every memory is given the list of possible values and picks one."),
    ("as written", "the very question that was written into the memory (identical in results.csv)."),
    ("paraphrased", "the same question in a wording that was never written, for any fact (heldout)."),
    ("alias", "a written wording with another name of the subject."),
    (
        "twin",
        "the same subjects, questions and values, but the values of each relation shuffled among its subjects: nothing "
        "known beforehand helps, so whatever is answered was stored. Sizes are claimed on it.",
    ),
    ("FFN weights", "a small feed-forward network trained to map each question's vector to its value."),
    (
        "question index",
        "exactly the questions the weights learn, by their vectors (faiss-q), their words (bm25-q) or both (hybrid-q), "
        "with their values.",
    ),
    (
        "statement index",
        "statements that contain the answer, as in retrieval-augmented generation (faiss-s, bm25-s, hybrid-s). It sees "
        "more than the weights do.",
    ),
    (
        "paired",
        "an FFN that also reads what the index finds: the store does the storing. Judged on facts that only it holds.",
    ),
    ("demand", "the fewest bits that tell all values apart, given how often each occurs."),
    (
        "bits recalled",
        "the demand less the bits still needed to name every right value given the memory's answers (bits_ce). "
        "Guessing earns none.",
    ),
    (
        "storage",
        "bytes of the smallest artefact that answers: weights with scales, or index with value ids. Not in it: what "
        "changing a fact needs (to maintain), the values' strings, what all memories share (the encoder), and what a "
        "seed regenerates.",
    ),
    (
        "ledger",
        "all that a memory takes: bytes that answer (storage), that changing a fact needs (to maintain), of the value "
        "strings and of the encoder (shared); and, in no sum, what a seed gives again (seeded: random rotations, value "
        "codes).",
    ),
    ("bits per param.", "bits recalled over all numbers that training sets; value codes that a seed gives are none."),
    ("query p50", "median time of one question asked alone, behind the encoder; with encoding: from its text on."),
    ("a wording of other facts", "as paraphrased, but the wording was written for other facts (seen)."),
    (
        "weight noise borne",
        "relative Gaussian noise on every weight, in units of its matrix's RMS, at which accuracy falls below 90 % "
        "(sigma90); flipped bits borne is the same for random bit flips in the storage bytes (flip90).",
    ),
    ("keys moved by .1", "accuracy when every key is moved by noise of a tenth of its length."),
    (
        "slots used",
        "share of the experts, memory slots or table rows that the stored facts use; unevenness is the divergence of "
        "their use from uniform (0: all alike).",
    ),
    ("bits per byte", "bits recalled over storage bytes; 8 is the physical limit."),
    (
        "bits at capacity",
        "where the most facts at an accuracy are searched for: their number times the bits of a value, wrong answers "
        "included, as the literature counts it (N log2 M). A little more than bits recalled at the same facts.",
    ),
    (
        "floor",
        "what a memory is measured from: the demand in bytes (entropy), which nothing that answers every question can "
        "undercut; a packed table of values for exact questions (static); and, as the least that counts, always the "
        "commonest value (mode).",
    ),
    (
        "smallest memory",
        "of a family: the fewest storage bytes that answer well enough, found by a search over its one dial (the width "
        "of an FFN, the bits of a code). The curve of a side takes the smallest family at each size, seed by seed.",
    ),
    (
        NAMES_OF_MEMORIES,
        "rot96: keys rotated to 96 dimensions by a random rotation that a seed gives. LSH: the signs of the "
        "numbers, one bit each; waves18x4: the signs of 18 random waves, cos(4 w . x + b) with Gaussian w, in their "
        "place. PQ24x1: a code of 24 parts of one bit each, compared with the whole question; RaBitQ, SQ8: a bit or "
        "a byte a number; Flat: whole vectors. q: questions are stored, s: statements. swiglu, gelu: the units of an "
        "FFN, and its width (of a gated one that of a dense FFN of as many parameters). int8, midrise4: weights of 8, "
        "of 4 bits, midrise ones entropy-coded where that is smaller; aware: rounded at every training step; "
        "noise0.3: keys moved while training. *: the dial that was searched.",
    ),
    ("control", "a memory that should fail, or a part taken away: untrained, shuffled, guessing, no neighbours."),
    (
        "crossover",
        "the numbers of facts between which the smaller memory changes sides, both answering "
        f"{percent_text(TAU['identical'])} as written or {percent_text(TAU['heldout'])} paraphrased.",
    ),
)
