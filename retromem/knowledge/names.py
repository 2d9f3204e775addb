"""Names as people see them: two spellings that look the same are one name."""

import re
import unicodedata

import regex

# Signs that show nothing and mean nothing in a name: what Unicode says may be ignored (joiners are looked at apart),
# control characters and annotations. The flags of England, Scotland and Wales are made of such signs, and stay.
_INVISIBLE = regex.compile(
    "\U0001f3f4[\U000e0030-\U000e007a]+\U000e007f(*SKIP)(*FAIL)|"
    r"[\p{Default_Ignorable_Code_Point}\p{Cc}\ufff9-\ufffb--[\s\x1c-\x1f\u200c\u200d]]",
    regex.V1,
)
# Arabic letters that are set as they look in a word, and hyphens where no line may break.
_SET = regex.compile("[\u2010\u2011\ufb50-\ufdff\ufe70-\ufefc]")
# A zero-width joiner or non-joiner means something inside Arabic, Indic and Mongolian words and between emoji alone.
_IDLE_JOINER = re.compile(
    "(?<![\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u18af\u2600-\u27bf\U0001f000-\U0001faff])"
    r"[\u200c\u200d]|[\u200c\u200d](?=[\u200c\u200d\s]|$)"
)


def tidied(text: str) -> str:
    """The text in Unicode's normal form C, single spaces in place of any others, without signs that show nothing.

    Tidying twice changes nothing.
    """
    if not text.isascii():
        # Before and after: what is taken out may stand between a letter and its accent.
        text = unicodedata.normalize("NFC", _without_invisible(_SET.sub(_as_typed, text)))
    elif not text.isprintable():
        text = _INVISIBLE.sub("", text)
    return " ".join(text.split())


def _as_typed(found: regex.Match[str]) -> str:
    return unicodedata.normalize("NFKC", found.group()).replace("\u2010", "-")


def _without_invisible(text: str) -> str:
    text = _INVISIBLE.sub("", text)
    return _IDLE_JOINER.sub("", text) if "\u200c" in text or "\u200d" in text else text
