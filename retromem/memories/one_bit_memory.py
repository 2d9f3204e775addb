"""What memories of one-bit weights have in common: packed bits that answer, and what follows from a seed."""

from typing import Any, ClassVar, Self

from retromem.memories.weight_memory import WeightMemory


class OneBitMemory(WeightMemory):
    """Weights that can only be flipped."""

    bits_are: ClassVar[str]
    """of one bit, in the words of an error"""

    def __init__(self, config: Any, *, seed: int) -> None:
        super().__init__(config, seed=seed)
        self._packed: bytes | None = None

    def _use(self, packed: bytes) -> None:
        self._packed = packed

    def perturbed(self, *, relative_noise: float = 0.0, flip_rate: float = 0.0, seed: int) -> Self:
        """A copy with random bits flipped; NotImplementedError for noise, which one bit cannot take up."""
        from models.weight_packing import flip_bits

        if relative_noise:
            raise NotImplementedError(f"{self.bits_are} of one bit take no noise; flip bits instead")
        assert self._packed is not None
        disturbed = type(self)(self.config, seed=self.seed)
        disturbed._know(self._values, self._dim, self._encoder_hash, self._noted)
        disturbed._use(flip_bits(self._packed, flip_rate, seed=seed))
        return disturbed
