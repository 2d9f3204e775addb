"""Names of LIMIT's things and what else they are called, from limit_other_names.yaml."""

from collections.abc import Mapping
from importlib.resources import files

import yaml

OTHER_NAMES: Mapping[str, str] = yaml.safe_load(
    (files(__package__) / "limit_other_names.yaml").read_text(encoding="utf-8")
)
