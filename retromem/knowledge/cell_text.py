"""What a cell of a table says, whatever kind of file it stood in: its text, nothing, or a refusal.

Every reader hands its cells over as they are; here alone they become text, so that the same facts are the same strings
from CSV, JSON, Parquet and data sets.
"""

import json
from datetime import date, datetime, time
from decimal import Decimal
from uuid import UUID

from retrieval.errors import UserError


def cell_text(value: object, where: str, column: str) -> str:
    """The text of a cell; empty for null and NaN. UserError, naming the place, for what is no text.

    Numbers of a Parquet file are written as Python writes them (1990.0 stays that), those of JSON stand as they are
    spelled; true and false as JSON has them. A time of midnight is its date alone.
    """
    if value is None or value != value:  # NaN is the one that is not itself
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise UserError(f"{where}: '{column}' holds bytes that are no UTF-8 text; give a text") from None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UserError(f"{where}: '{column}' holds half of a surrogate pair; give whole characters") from None
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, datetime) and value.tzinfo is None and str(value).endswith(" 00:00:00"):
        return str(value)[: -len(" 00:00:00")]
    is_number = isinstance(value, int | float) and abs(value) != float("inf")
    if is_number or isinstance(value, date | time | UUID):
        return str(value)
    shown = short(json.dumps(value, default=str, ensure_ascii=False))
    raise UserError(f"{where}: '{column}' is {shown}; give a text")


def short(value: object, most: int = 40) -> str:
    """The beginning of it, for messages."""
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}..."
