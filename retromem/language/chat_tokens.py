"""Questions and answers as a chat model was trained to read and write them: by the template of its tokenizer.

The question is the user's turn, the answer the assistant's. What the template puts between the two belongs to the
prompt; the first token that it puts behind the answer ends it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer

from retrieval.errors import UserError
from retromem.language.text_tokens import TextTokens, marked_tokens

_QUESTION, _ANSWER = "Which city is meant?", "Lyon"


class ChatTokens(TextTokens):
    """Statements are plain texts, as they are for a model without a template."""

    def __init__(self, tokenizer: Tokenizer, *, begin: int, end: int, source: str, chat: Any) -> None:
        """`chat`: the tokenizer of transformers, which has the template. UserError where it has no turn for a user and
        one for an assistant after it."""
        super().__init__(tokenizer, begin=begin, end=end, source=source)
        self._chat = chat
        asked = [{"role": "user", "content": _QUESTION}]
        try:
            prompt = self.rendered(asked, to_be_answered=True)
            whole = self.rendered([*asked, {"role": "assistant", "content": _ANSWER}])
        except Exception as error:  # a template is a program, and raises what it likes
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{source}: its chat template takes no question and answer ({reason})") from None
        lead, found, tail = whole.removeprefix(prompt).partition(_ANSWER)
        if not whole.startswith(prompt) or not found:  # of past turns it shows something else
            lead, tail = "", ""
        self._lead = lead.rstrip(" ")
        self._spaces = lead[len(self._lead) :]
        if behind := self._encoded([tail])[0]:
            self.end = behind[0]

    def rendered(self, turns: Sequence[Mapping[str, str]], *, to_be_answered: bool = False) -> str:
        """A conversation as one text."""
        return str(self._chat.apply_chat_template(turns, tokenize=False, add_generation_prompt=to_be_answered))

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def prompts(self, questions: Sequence[str]) -> list[list[int]]:
        turns = [[{"role": "user", "content": question}] for question in questions]
        return self._encoded([self.rendered(own, to_be_answered=True) + self._lead for own in turns])

    def answers(self, values: Sequence[str]) -> list[list[int]]:
        return self._encoded([self._spaces + value for value in values])

    def joined(self, texts: Sequence[str]) -> str:
        return "\n".join(texts)


def tokens_of(tokenizer: Any, place: str) -> TextTokens:
    """Of a tokenizer of transformers, with its chat template where it has one; `place` is what messages call it."""
    plain = marked_tokens(tokenizer, place)
    if not tokenizer.chat_template:
        return plain
    own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    return ChatTokens(own, begin=plain.begin, end=plain.end, source=place, chat=tokenizer)
