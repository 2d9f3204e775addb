"""retromem: facts in the weights of an FFN, or in an external index, measured in one currency."""

from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"

_HOME = Path(__file__).resolve().parent.parent
for _name in ("models", "retrieval"):
    # Both names are common: a folder `models/` in the caller's directory must not silently take our place.
    _spec = find_spec(_name)
    _origin = Path(_spec.origin).resolve() if _spec and _spec.origin else None
    if _origin is None or _origin.parent.parent != _HOME:
        raise ImportError(
            f"retromem needs its own package {_name!r} in {_HOME}, but Python finds {_origin}; "
            "run from the repository, or set PYTHONSAFEPATH=1"
        )
