"""What holds for every test, set before torch, FAISS or the hub's client are imported."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from hypothesis import settings  # after them: it may import numpy

# A deadline would be an assertion on time, on machines that are busy.
settings.register_profile("retromem", deadline=None, max_examples=60)
settings.load_profile("retromem")
