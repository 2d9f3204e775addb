"""What holds for every test, set before torch, FAISS or the hub's client are imported."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from importlib.machinery import SourceFileLoader

from hypothesis import settings  # after them: it may import numpy
from jaxtyping import _import_hook


class _CheckedLoader(_import_hook._JaxtypingLoader):
    """Checks shapes as jaxtyping's own loader does, and leaves alone what the checked module imports.

    That one looks for all of it (torch, lightning: thousands of files) among bytecode of its own, finds none and
    compiles it anew: a third of a minute in each worker.
    """

    def get_code(self, fullname: str) -> object:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    exec_module = SourceFileLoader.exec_module


_import_hook._JaxtypingLoader = _CheckedLoader  # type: ignore[misc]

# A deadline would be an assertion on time, on machines that are busy.
settings.register_profile("retromem", deadline=None, max_examples=60)
settings.load_profile("retromem")
