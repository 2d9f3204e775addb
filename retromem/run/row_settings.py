"""Settings that differ between the rows of a run, as columns beside those that every row has."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_IN_ROWS = ("study", "role", "seed", "num_facts", "twin", "halves", "shuffled", "knowledge_hash", "measure_version")
"""of a cell's identity: what a column of the row says"""


def settings_that_differ(identities: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Of the cell of each row, by dotted path (`memory.training.learning_rate`): what is not the same for all rows.

    Lists are one setting. A row whose memory does not have a setting has no entry for it; one that is left empty is ''.
    """
    flat = [dict(_flat(identity)) for identity in identities]
    names = dict.fromkeys(name for settings in flat for name in settings)
    differing = [name for name in names if len({settings[name] for settings in flat if name in settings}) > 1]
    return [{name: settings[name] for name in differing if name in settings} for settings in flat]


def _flat(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        dotted = f"{path}.{name}" if path else name
        if dotted in _IN_ROWS:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, dotted)
        else:
            yield dotted, "" if value is None else str(value)
