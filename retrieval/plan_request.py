"""What an index may cost and must find, as a user writes it: `auto: bytes<=64 per fact, recall>=0.95, ms<=2`."""

import re
from dataclasses import dataclass

from retrieval.errors import UserError

_PREFIX = "auto:"
_EXAMPLE = "auto: bytes<=64 per fact, recall>=0.95, ms<=2"
_LIMIT = re.compile(r"(bytes|ms|recall)\s*(<=|>=)\s*([0-9.eE+_-]+)\s*(per fact)?")


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """Limits, of which one at least is given."""

    max_bytes: float | None = None
    """of storage: index and payload"""
    per_fact: bool = False
    """whether `max_bytes` are those of one fact"""
    min_recall: float | None = None
    """recall@1 against exact search"""
    max_ms: float | None = None
    """of one query alone, on this machine"""

    def bytes_for(self, num_facts: int) -> float | None:
        """`max_bytes` of the whole store."""
        if self.max_bytes is None:
            return None
        return self.max_bytes * num_facts if self.per_fact else self.max_bytes


def is_request(index: str) -> bool:
    """Whether an index is to be planned instead of named."""
    return index.strip().lower().startswith(_PREFIX)


def parse_request(index: str) -> PlanRequest:
    """UserError for what is no list of limits, each given once."""
    found: dict[str, float] = {}
    per_fact = False
    for part in index.strip()[len(_PREFIX) :].split(","):
        match = _LIMIT.fullmatch(part.strip())
        try:
            number = float(match[3]) if match else None
        except ValueError:
            number = None
        if match is None or number is None:
            raise UserError(f"index {index!r}: {part.strip()!r} is no limit; write {_EXAMPLE!r}, or one of these")
        name, sign = match[1], match[2]
        if sign != (">=" if name == "recall" else "<=") or (match[4] and name != "bytes"):
            raise UserError(f"index {index!r}: {part.strip()!r} is no limit; write {_EXAMPLE!r}, or one of these")
        if name in found:
            raise UserError(f"index {index!r}: {name} is limited twice")
        if not 0 < number < float("inf") or (name == "recall" and number > 1):
            wanted = "more than 0 and at most 1" if name == "recall" else "more than 0"
            raise UserError(f"index {index!r}: {name} must be {wanted}, not {match[3]}")
        found[name] = number
        per_fact |= bool(match[4])
    return PlanRequest(
        max_bytes=found.get("bytes"), per_fact=per_fact, min_recall=found.get("recall"), max_ms=found.get("ms")
    )
