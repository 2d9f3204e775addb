"""Facts as the texts that a language model is trained on, and questions as its prompts.

    <begin> Where was Ann Lee born? Paris <end>         a question and its answer: the answer's tokens have a loss
    <begin> Ann Lee was born in Paris. <end>            a statement: those of the value, or all of them

Shape legend: N texts, T tokens of the longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from models.token_batches import padded
from retromem.language.text_tokens import TextTokens
from retromem.seam import Facts


@dataclass(frozen=True)
class TrainingTexts:
    """Tokens, and which of them have a loss."""

    tokens_NT: Int64[Tensor, "N T"]
    learnt_NT: Bool[Tensor, "N T"]
    lengths_N: Int64[Tensor, " N"]
    is_question_N: Bool[Tensor, " N"]


def prompts_of(tokens: TextTokens, questions: Sequence[str]) -> list[list[int]]:
    """What the answer is written after."""
    return tokens.prompts(questions)


def training_texts(facts: Facts, tokens: TextTokens, *, statements: bool, whole_texts: bool) -> TrainingTexts:
    """Every fact as a question and its answer in each wording and, where wanted, as a statement.

    `whole_texts`: every token has a loss, and not those of the value alone.
    """
    assert facts.values.strings is not None
    values = [facts.values.strings[value] for value in facts.value_ids_N.tolist()]
    answers = [[*ids, tokens.end] for ids in tokens.answers(values)]
    texts: list[list[int]] = []
    first_learnt: list[tuple[int, int]] = []
    for cue in facts.cues:
        assert cue.texts is not None
        for prompt, answer in zip(prompts_of(tokens, cue.texts), answers, strict=True):
            texts.append([*prompt, *answer])
            first_learnt.append((len(prompt), len(prompt) + len(answer)))
    if statements:
        assert facts.statements is not None and facts.statements.texts is not None
        for text, value in zip(facts.statements.texts, values, strict=True):
            ids, first, end = tokens.span(text, value)
            texts.append([tokens.begin, *ids, tokens.end])
            first_learnt.append((first + 1, end + 1))
    tokens_NT, lengths_N = padded(texts)
    places_T = torch.arange(tokens_NT.shape[1])
    if whole_texts:
        learnt_NT = (places_T > 0) & (places_T < lengths_N[:, None])
    else:
        spans_N2 = torch.tensor(first_learnt)
        learnt_NT = (places_T >= spans_N2[:, :1]) & (places_T < spans_N2[:, 1:])
    num_questions = len(facts.cues) * len(facts)
    return TrainingTexts(tokens_NT, learnt_NT, lengths_N, torch.arange(len(texts)) < num_questions)
