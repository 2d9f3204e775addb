"""Names as people see them: two spellings that look the same are one name."""

import re
import unicodedata

# Signs that show nothing and mean nothing in a name: control characters, soft hyphen, grapheme joiner, marks of
# direction, zero-width space, word joiner, byte-order mark and what stands for objects that are not there.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
# A zero-width joiner or non-joiner means something inside Arabic, Indic and Mongolian words and between emoji alone.
_IDLE_JOINER = re.compile(
    "(?<![\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u18af\u2600-\u27bf\ufb50-\ufdff\ufe0f\ufe70-\ufefe\U0001f000-\U0001faff])"
    r"[\u200c\u200d]|[\u200c\u200d](?=[\u200c\u200d\s]|$)"
)


def tidied(text: str) -> str:
    """The text in Unicode's normal form C, single spaces in place of any others, without signs that show nothing.

    Tidying twice changes nothing.
    """
    if not text.isascii():
        # Before and after: what is taken out may stand between a letter and its accent.
        text = unicodedata.normalize("NFC", _without_invisible(text))
    elif not text.isprintable():
        text = _INVISIBLE.sub("", text)
    return " ".join(text.split())


def _without_invisible(text: str) -> str:
    text = _INVISIBLE.sub("", text)
    return _IDLE_JOINER.sub("", text) if "\u200c" in text or "\u200d" in text else text
