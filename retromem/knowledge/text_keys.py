"""From wordings to keys: what the encoder makes of a text, centred per wording.

The mean embedding of a wording says "a question about a country", not which city is meant. It is estimated from the
wording filled with 200 names that are no subjects, so that it is a property of encoder and wording, without labels.

Shape legend: Q texts, D encoder dimension.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder_config import Prompts
from retrieval.errors import UserError
from retrieval.random_rotation import random_rotation
from retromem.knowledge.wordings import fill

NO_PROMPTS = Prompts()


@dataclass(frozen=True)
class Template:
    """One wording: a question of a relation, or a statement, whose examples then take values in turn."""

    text: str
    values: tuple[str, ...] = ()

    def encoded(self, text: str, prompts: Prompts) -> str:
        """A text of this wording as the encoder is given it: with the prompt of a question, or of a statement."""
        return prompts.before(text, is_document=bool(self.values))

    def examples(self, names: Sequence[str]) -> list[str]:
        """The wording filled with names that are no subjects (and, in a statement, with values in turn)."""
        if not self.values:
            return [fill(self.text, name) for name in names]
        return [fill(self.text, name, self.values[row % len(self.values)]) for row, name in enumerate(names)]


@runtime_checkable
class TextKeys(Protocol):
    """Turns filled wordings into unit keys."""

    encoder_hash: str

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> Float32[ndarray, "Q D"]: ...


class CachedTextKeys:
    """Keys from the embedding cache, where every text must lie already."""

    def __init__(
        self,
        cache: EmbeddingCache,
        encoder_hash: str,
        *,
        centred: bool,
        names_off_the_set: Sequence[str],
        prompts: Prompts = NO_PROMPTS,
    ) -> None:
        self.encoder_hash = encoder_hash + ("" if centred else "-raw")
        self._raw_hash = encoder_hash
        self._cache = cache
        self._centred = centred
        self._names = names_off_the_set
        self._prompts = prompts
        self._means: dict[Template, Float32[ndarray, " D"]] = {}

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> Float32[ndarray, "Q D"]:
        given = [template.encoded(text, self._prompts) for text, template in zip(texts, templates, strict=True)]
        vectors_QD = self._cache.vectors(self._raw_hash, given)
        if not self._centred or not texts:
            return _units(vectors_QD, texts)
        # By identity first: hashing a statement's template goes through all of its relation's values.
        distinct = {id(template): template for template in templates}
        mean_of = {key: self._mean(template) for key, template in distinct.items()}
        centred_QD = vectors_QD - np.stack([mean_of[id(template)] for template in templates])
        return _units(centred_QD / np.maximum(np.linalg.norm(centred_QD, axis=1, keepdims=True), 1e-12), texts)

    def _mean(self, template: Template) -> Float32[ndarray, " D"]:
        if template not in self._means:
            given = [template.encoded(text, self._prompts) for text in template.examples(self._names)]
            examples_D = self._cache.vectors(self._raw_hash, given)
            self._means[template] = examples_D.mean(axis=0, dtype=np.float64).astype(np.float32)
        return self._means[template]


def _units(vectors_QD: Float32[ndarray, "Q D"], texts: Sequence[str]) -> Float32[ndarray, "Q D"]:
    """The vectors; UserError for a text in which the encoder found no word, whose vector is zero."""
    if (wordless := np.flatnonzero(~vectors_QD.any(axis=1))).size:
        raise UserError(
            f"{texts[wordless[0]]!r}: the encoder knows no word of this text ({len(wordless):,} such texts of "
            f"{len(texts):,}); take the fact out, or take another encoder"
        )
    return vectors_QD.astype(np.float32, copy=False)


class RotatedKeys:
    """Keys in fewer dimensions: the first of a random rotation that a seed gives, of unit length again."""

    def __init__(self, whole: TextKeys, dim: int, *, seed: int) -> None:
        self._whole, self._dim, self._seed = whole, dim, seed
        self.encoder_hash = f"{whole.encoder_hash}-rot{dim}-{seed}"

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> Float32[ndarray, "Q D"]:
        whole_QD = self._whole.keys(texts, templates)
        rotated_QD = whole_QD @ random_rotation(whole_QD.shape[1], self._dim, self._seed)
        unit_QD: Float32[ndarray, "Q D"] = rotated_QD / np.linalg.norm(rotated_QD, axis=1, keepdims=True)
        return unit_QD.astype(np.float32)


class TextCollector:
    """Stands where keys are made, and notes every text that will have to be encoded."""

    encoder_hash = "none yet"

    def __init__(self, names_off_the_set: Sequence[str], prompts: Prompts = NO_PROMPTS) -> None:
        self._names, self._prompts = names_off_the_set, prompts
        self._texts: dict[str, None] = {}
        self._templates: set[Template] = set()

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> Float32[ndarray, "Q D"]:
        self._note(zip(texts, templates, strict=True))
        for template in set(templates) - self._templates:
            self._templates.add(template)
            self._note((text, template) for text in template.examples(self._names))
        return np.zeros((len(texts), 1), dtype=np.float32)

    def note_plain(self, texts: Sequence[str], *, is_document: bool) -> None:
        """Texts of no wording, which are not centred."""
        self._texts.update(dict.fromkeys(self._prompts.before(text, is_document=is_document) for text in texts))

    def _note(self, worded: Iterable[tuple[str, Template]]) -> None:
        self._texts.update(dict.fromkeys(template.encoded(text, self._prompts) for text, template in worded))

    @property
    def texts(self) -> list[str]:
        """Every text seen so far, once, as the encoder is to be given it."""
        return list(self._texts)
