"""An FFN in the bytes it is stored in, and its frozen value codes: what FFN memories and pairs have in common.

Shape legend: N facts, B block, I inputs of the FFN, E code dimension, V values, M candidates of a relation.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from models.any_ffn import AnyFFNConfig
from models.training_budget import TrainingBudget, TrainingDiverged
from retrieval.random_rotation import random_rotation, rotated
from retromem.memories.ffn_settings import FFNSettings
from retromem.memories.value_codes import value_codes
from retromem.rows import LawBroken
from retromem.seam import ValueTable, WriteCost

if TYPE_CHECKING:
    import torch

    from models.ffn import FFN
    from models.key_value_training import KeyValueModule


class StoredFFN:
    """Trains, packs, and answers from what was packed."""

    def __init__(
        self,
        ffn: AnyFFNConfig,
        settings: FFNSettings,
        values: ValueTable,
        *,
        dim: int,
        seed: int,
        joined_dim: int | None = None,
    ) -> None:
        """`dim`: of the keys. What the settings rotate them to is that of the codes too, unless they say otherwise.

        `joined_dim`: of the FFN's input, where it is given more than the key.
        """
        self.config, self.settings, self.values, self.seed = ffn, settings, values, seed
        self._rotation_DE = None
        if settings.rotate_to is not None:
            self._rotation_DE = random_rotation(dim, settings.rotate_to, settings.rotation_seed + seed)
        self.key_dim = settings.rotate_to or dim
        self.dim_in = joined_dim or self.key_dim
        self.code_dim = settings.code_dim or self.key_dim
        self.codes_VE = value_codes(values, self.code_dim, seed=seed)
        self.packed = b""
        self.trained_on = "cpu"

    @property
    def seeded_bytes(self) -> int:
        """The value codes and the rotation of the keys: in memory, on no disk."""
        return self.codes_VE.nbytes + (0 if self._rotation_DE is None else self._rotation_DE.nbytes)

    def rotated(self, keys_ND: Float32[ndarray, "N D"]) -> Float32[ndarray, "N I"]:
        """Keys as the FFN is given them."""
        return keys_ND if self._rotation_DE is None else rotated(keys_ND, self._rotation_DE)

    @property
    def num_params(self) -> int:
        return self.config.num_params(self.dim_in, self.code_dim)

    @property
    def num_active_params(self) -> int:
        return self.config.num_active_params(self.dim_in, self.code_dim)

    def _new(self, generator: "torch.Generator") -> "FFN":
        ffn = self.config.build(self.dim_in, self.code_dim, generator=generator)
        stored = sum(weight.numel() for weight in ffn.state_dict().values())
        if stored != self.num_params:
            raise LawBroken(f"{self.config.label}: num_params says {self.num_params:,}, but it stores {stored:,}")
        return ffn

    def train(
        self,
        keys_ND: Float32[ndarray, "N D"],
        relation_ids_N: Int64[ndarray, " N"],
        value_ids_N: Int64[ndarray, " N"],
        budget: TrainingBudget,
        *,
        accelerator: str,
    ) -> tuple[WriteCost, "KeyValueModule"]:
        """Train on keys, or what the FFN is given in their place, then round to the precision that is stored."""
        import torch

        from models.key_value_training import KeyValueData, KeyValueModule, fit
        from models.weight_packing import packed

        start = time.perf_counter()
        starts_R = np.asarray(self.values.starts, dtype=np.int64)
        generator = torch.Generator().manual_seed(self.seed)
        ffn, codes_VE = self._new(generator), torch.from_numpy(self.codes_VE)
        data = KeyValueData(
            keys_ND=torch.from_numpy(keys_ND),
            value_ids_N=torch.from_numpy(value_ids_N),
            first_candidates_N=torch.from_numpy(starts_R[relation_ids_N]),
            end_candidates_N=torch.from_numpy(starts_R[relation_ids_N + 1]),
        )
        rounds_to = self.settings.precision if budget.rounding == "aware" else None
        module = KeyValueModule(ffn, data, codes_VE, budget, generator=generator, rounds_to=rounds_to)
        if budget.steps:
            self.trained_on = fit(module, accelerator=accelerator)
        self._use_finite(packed(ffn, self.settings.precision), f"lower {module.to_lower}")
        shown = module.steps_done * module.batch_facts
        # The frozen codes get no gradient: 4 FLOPs a number of theirs.
        a_fact = self.config.training_flops(self.dim_in, self.code_dim) + 4 * self.codes_VE.size
        cost = WriteCost(
            seconds=time.perf_counter() - start,
            texts_encoded=len(keys_ND),
            flops=float(shown * a_fact),
            exposures=shown / len(keys_ND),
            optimizer_steps=module.steps_done,
            succeeded=module.succeeded,
            share_of_steps=module.steps_done / budget.steps if budget.goal_accuracy and budget.steps else None,
            abandoned=module.abandoned,
        )
        return cost, module

    def keep(self, weights: "Mapping[str, torch.Tensor]") -> None:
        """Round weights that were computed elsewhere, by name, to the precision that is stored."""
        import torch

        from models.weight_packing import packed

        ffn = self._new(torch.Generator())
        ffn.load_state_dict(dict(weights))
        self._use_finite(packed(ffn, self.settings.precision), "choose another method, or fewer facts")

    def _use_finite(self, packed: bytes, remedy: str) -> None:
        """TrainingDiverged where the weights do not survive their rounding: that is no lack of capacity."""
        self.use(packed)
        if not all(weight.isfinite().all() for weight in self.ffn.state_dict().values()):
            if self.settings.precision != "float32":
                remedy = f"store them in float32, or {remedy}"
            raise TrainingDiverged(
                f"the weights are not finite once they are stored in {self.settings.precision}: {remedy}"
            )

    def use(self, packed: bytes) -> None:
        """Answer from these stored weights."""
        import torch

        from models.weight_packing import load_packed

        self.ffn = self._new(torch.Generator()).eval()
        load_packed(self.ffn, packed, self.settings.precision)
        self.packed = packed

    def log_probs(self, inputs_BI: "torch.Tensor", relation: int) -> Float32[ndarray, "B M"]:
        """Of the candidates of one relation."""
        import torch

        codes_ME = torch.from_numpy(self.codes_VE[self.values.starts[relation] : self.values.starts[relation + 1]])
        with torch.inference_mode():
            answer_BM: Float32[ndarray, "B M"] = torch.log_softmax(self.ffn(inputs_BI) @ codes_ME.T, dim=1).numpy()
        return answer_BM
