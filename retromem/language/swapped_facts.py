"""Facts as they were before their values changed: what a reader may have learnt that a store now contradicts."""

from dataclasses import replace

import numpy as np

from retromem.seam import Facts


def with_other_values(facts: Facts, *, seed: int) -> Facts:
    """The same questions, each fact with another value of its relation, drawn from the others, in its statement too."""
    strings, starts = facts.values.strings, np.asarray(facts.values.starts)
    statements = facts.statements
    assert strings is not None and statements is not None and statements.texts is not None
    first_N = starts[facts.cues[0].relation_ids_Q]
    num_N = starts[facts.cues[0].relation_ids_Q + 1] - first_N
    steps_N = np.random.default_rng([seed, 0x54A9]).integers(1, np.maximum(num_N, 2))
    values_N = first_N + (facts.value_ids_N - first_N + steps_N) % num_N
    texts = []
    for text, old, new in zip(statements.texts, facts.value_ids_N.tolist(), values_N.tolist(), strict=True):
        before, found, after = text.rpartition(strings[old])
        assert found, f"a statement says its value: {text}"
        texts.append(before + strings[new] + after)
    return replace(facts, value_ids_N=values_N, statements=replace(statements, texts=texts, keys_QD=None))
