"""The only door to FAISS. Everybody imports it from here, inside functions: it costs seconds.

torch comes first, then FAISS: each wheel brings its own OpenMP runtime, and the other order has crashed (faiss #4273).
With both loaded, the idle threads of one spin on the cores that the other needs: small training steps alternating with
small searches ran 37 times slower. `OMP_WAIT_POLICY=PASSIVE` lets them sleep; a runtime reads it once, as it is loaded.
"""

import os
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: F401

from retrieval.errors import UserError

try:
    import faiss as _faiss
except ModuleNotFoundError as error:
    raise UserError("FAISS is not installed: pip install 'retromem[cpu]' (or 'retromem[gpu]')") from error

faiss: Any = _faiss  # its own annotations know half of what its Python layer adds
