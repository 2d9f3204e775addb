"""What this installation is made of, in one screen: the first thing to ask for when something is odd."""

import os
import re
from pathlib import Path

from retrieval.errors import UserError
from retromem.run.method import describe_machine, versions


def _openmp_runtimes() -> list[str]:
    """OpenMP libraries mapped into this process, once torch and FAISS are in."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return ["unknown on this system"]
    paths = re.findall(r"/\S*/lib[gi]?omp\S*", maps.read_text())
    return sorted({"/".join(Path(path).parts[-2:]) for path in paths})


def device_name() -> str:
    """The GPU that torch would use."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none that torch can use"


def describe() -> str:
    """Versions, threads, both OpenMP runtimes, GPU, FAISS build, the encoder found and its hash."""
    from retrieval._faiss import faiss
    from retrieval.encoder_config import EncoderConfig
    from retrieval.encoder_files import find_default

    import torch  # isort: skip  # FAISS's door imports torch first

    told = [
        *describe_machine().items(),
        *versions().items(),
        ("gpu", device_name()),
        ("threads", f"torch {torch.get_num_threads()}, faiss {faiss.omp_get_max_threads()}"),
        ("openmp", ", ".join(_openmp_runtimes())),
        ("", f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'not set')}"),
        ("faiss build", f"{faiss.get_compile_options().strip()}; {getattr(faiss, 'get_num_gpus', int)()} GPUs"),
    ]
    try:
        path, sha256 = find_default()
        told.append(("encoder", EncoderConfig().resolve().description))
        told.append(("", f"{path.name}, model.safetensors sha256 {sha256}"))
    except UserError as error:
        told.append(("encoder", str(error)))
    return "\n".join(f"{key:<12} {value}" for key, value in told)
