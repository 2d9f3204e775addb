"""How the six attributes of an invented person are said and asked, from biography_wordings.yaml."""

from collections.abc import Mapping
from importlib.resources import files

import yaml

from retromem.knowledge.wordings import Wordings

_READ = yaml.safe_load((files(__package__) / "biography_wordings.yaml").read_text(encoding="utf-8"))
BIOGRAPHY_WORDINGS: Mapping[str, Wordings] = {
    attribute: Wordings(
        statements=tuple(own["statements"]),
        written=tuple(own["written"]),
        calibrate=own["calibrate"],
        heldout=tuple(own["heldout"]),
    )
    for attribute, own in _READ.items()
}
