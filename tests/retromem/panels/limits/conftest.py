"""Keys without an encoder for panels that ask in other words."""

from collections.abc import Callable

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.text_keys import Template


class NamesAlone:
    """Keys that see the name, whatever the words around it: rewording costs nothing, another name everything."""

    encoder_hash = "names"

    def keys(self, texts: list[str], templates: list[Template]) -> Float32[ndarray, "Q D"]:
        keys_QD = np.zeros((len(texts), 64), dtype=np.float32)
        for row, (text, template) in enumerate(zip(texts, templates, strict=True)):
            before, _, after = template.text.partition("{subject}")
            name = text[len(before) : len(text) - len(after)]
            keys_QD[row] = np.random.default_rng(list(name.encode())).standard_normal(64)
        unit_QD: Float32[ndarray, "Q D"] = keys_QD / np.linalg.norm(keys_QD, axis=1, keepdims=True)
        return unit_QD


@pytest.fixture
def encoded_names() -> Callable[[KnowledgeSet], KnowledgeSet]:
    return lambda knowledge: knowledge.with_keys(NamesAlone())
