"""What the configs of memories that answer by an FFN have in common: its keys, its codes, its precision."""

from dataclasses import dataclass

from models.dial_checks import check_one_or_more
from models.precisions import Precision
from retromem.memories.dial import Load
from retromem.memories.named_config import NamedConfig


@dataclass(frozen=True, kw_only=True)
class FFNSettings(NamedConfig):
    """How keys come to the FFN, and how its weights are stored."""

    memory: str
    rotate_to: int | None = None
    """dimensions of a random rotation from a seed, before the FFN; None: the keys as they are"""
    rotation_seed: int = 0
    """of the rotation, added to the memory's own"""
    code_dim: int | None = None
    """dimension of the frozen value codes; that of the keys, once rotated, where empty"""
    precision: Precision = "float32"
    """of the stored weights, which are the ones evaluated"""

    def __post_init__(self) -> None:
        check_one_or_more(code_dim=self.code_dim, rotate_to=self.rotate_to)
        if self.rotate_to is None and self.rotation_seed:
            raise ValueError("rotation_seed has no effect without rotate_to; leave it out")

    @property
    def rotation_label(self) -> str:
        """Of the name of a memory whose keys are rotated: `rot96-`."""
        return "" if self.rotate_to is None else f"rot{self.rotate_to}-"

    @property
    def precision_label(self) -> str:
        """`-int4`; empty for weights as they are trained."""
        return "" if self.precision == "float32" else f"-{self.precision}"

    def dims(self, load: Load) -> tuple[int, int]:
        """Inputs and outputs of the FFN, for keys as those of the load."""
        dim = self.rotate_to or load.dim
        return dim, self.code_dim or dim
