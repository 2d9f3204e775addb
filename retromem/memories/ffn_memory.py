"""Facts in the weights of an FFN: key -> FFN -> frozen value codes -> log-probabilities of the candidates.

Shape legend: N facts, Q queries, B block, D key dimension, E code dimension, V values, M candidates of a relation.
"""

import io
import json
import time
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from models.ffn_kinds import FFNKind, num_params, training_flops
from models.training_budget import TrainingBudget
from retrieval.sealed_folder import verify_sealed
from retromem.memories.ranking import rank_candidates
from retromem.memories.saved import SavedFiles, load_calibration, load_values
from retromem.memories.value_codes import value_codes
from retromem.seam import Facts, Footprint, Part, Queries, Recall, Side, ValueTable, WriteCost

if TYPE_CHECKING:
    import torch

    from models.key_value_training import KeyValueModule

_KIND = "ffn-memory"
_WEIGHTS = "weights.bin"
_CUE_KEYS = "training_cues.npy"
_CUE_TEXTS = "training_cues.json.zlib"
_TRAINING_VALUES = "training_values.npy"
_OPTIMIZER = "optimizer.npy"


@dataclass(frozen=True, kw_only=True)
class FFNMemoryConfig:
    """One FFN of a kind and a width."""

    memory: Literal["ffn"] = "ffn"
    kind: FFNKind = "gelu"
    """hidden layer: relu, gelu or swiglu"""
    width: int = 64
    """hidden units of a dense FFN; gated kinds get fewer, at equal parameters"""
    code_dim: int | None = None
    """dimension of the frozen value codes; that of the keys where empty"""
    precision: Literal["float32", "float16", "int8"] = "float32"
    """of the stored weights, which are the ones evaluated"""
    training: TrainingBudget = field(default_factory=TrainingBudget)
    """optimiser steps and learning rate"""

    def __post_init__(self) -> None:
        if self.width < 1 or (self.code_dim is not None and self.code_dim < 1):
            raise ValueError("width and code_dim must be 1 or more")

    @property
    def name(self) -> str:
        suffix = "" if self.precision == "float32" else f"-{self.precision}"
        return f"ffn-{self.kind}-{self.width}{suffix}" + ("-untrained" if self.training.steps == 0 else "")

    @property
    def family(self) -> str:
        return f"ffn-{self.kind}"

    @property
    def reads_statements(self) -> bool:
        return False

    def build(self, *, seed: int) -> "FFNMemory":
        return FFNMemory(self, seed=seed)


class FFNMemory:
    """Weights trained on the write cues; nothing else of the facts is kept."""

    side: ClassVar[Side] = "parametric"

    def __init__(self, config: FFNMemoryConfig, *, seed: int, accelerator: str = "auto") -> None:
        self.config = config
        self.seed = seed
        self._accelerator = accelerator
        self.calibration = b""
        self._packed = b""
        self._training_files: dict[str, bytes] = {}
        self.trained_on = "cpu"

    @property
    def name(self) -> str:
        return self.config.name

    def write(self, facts: Facts) -> WriteCost:
        """Train on every cue of every fact, then round the weights to the precision they are stored in."""
        import torch

        from models.ffn import FFN
        from models.key_value_training import KeyValueData, KeyValueModule, fit
        from models.weight_packing import pack

        assert not self._packed, "a memory is written once"
        start = time.perf_counter()
        keys_ND = np.concatenate([cue.key_vectors() for cue in facts.cues])
        relation_ids_N = np.concatenate([cue.relation_ids_Q for cue in facts.cues])
        value_ids_N = np.tile(facts.value_ids_N, len(facts.cues))
        starts_R = np.asarray(facts.values.starts, dtype=np.int64)
        self._know(facts.values, keys_ND.shape[1], facts.cues[0].encoder_hash)
        generator = torch.Generator().manual_seed(self.seed)
        ffn = FFN(self.config.kind, self._dim, self.config.width, self._code_dim, generator=generator)
        module = KeyValueModule(
            ffn,
            KeyValueData(
                keys_ND=torch.from_numpy(keys_ND),
                value_ids_N=torch.from_numpy(value_ids_N),
                first_candidates_N=torch.from_numpy(starts_R[relation_ids_N]),
                end_candidates_N=torch.from_numpy(starts_R[relation_ids_N + 1]),
            ),
            torch.from_numpy(self._codes_VE),
            self.config.training,
            generator=generator,
        )
        if self.config.training.steps:
            self.trained_on = fit(module, accelerator=self._accelerator)
        self._use(pack(ffn.state_dict(), self.config.precision))
        self._training_files = _training_files(facts, module)
        shown = module.steps_done * min(module.batch_facts, len(keys_ND))
        return WriteCost(
            seconds=time.perf_counter() - start,
            texts_encoded=len(keys_ND),
            flops=float(
                shown * training_flops(self.config.kind, self.config.width, self._dim, *self._codes_VE.shape[::-1])
            ),
            exposures=shown / len(facts),
            optimizer_steps=module.steps_done,
            succeeded=module.succeeded,
        )

    def _know(self, values: ValueTable, dim: int, encoder_hash: str) -> None:
        self._values, self._dim, self._encoder_hash = values, dim, encoder_hash
        self._code_dim = self.config.code_dim or dim
        self._codes_VE = value_codes(values, self._code_dim, seed=self.seed)

    def _use(self, packed: bytes) -> None:
        """Answer from these stored weights."""
        import torch

        from models.ffn import FFN
        from models.weight_packing import unpack

        generator = torch.Generator()
        self._ffn = FFN(self.config.kind, self._dim, self.config.width, self._code_dim, generator=generator)
        shapes = {name: tuple(weight.shape) for name, weight in self._ffn.state_dict().items()}
        self._ffn.load_state_dict(unpack(packed, shapes, self.config.precision))
        self._packed = packed

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        import torch

        assert self._packed, "write or load before recall"
        assert queries.encoder_hash == self._encoder_hash, "these keys are of another encoder"
        keys_QD, starts = queries.key_vectors(), self._values.starts

        def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
            codes_ME = torch.from_numpy(self._codes_VE[starts[relation] : starts[relation + 1]])
            with torch.inference_mode():
                logits_BM: torch.Tensor = self._ffn(torch.from_numpy(keys_QD[rows])) @ codes_ME.T
                answer_BM: Float32[ndarray, "B M"] = torch.log_softmax(logits_BM, dim=1).numpy()
            return answer_BM

        return rank_candidates(queries, self._values, log_probs, top_k=top_k, score=score)

    def footprint(self) -> Footprint:
        codes_bytes = self._codes_VE.nbytes
        weights_bytes = sum(weight.numel() * weight.element_size() for weight in self._ffn.parameters())
        return self._saved_files().footprint(seeded_bytes=codes_bytes, resident_bytes=weights_bytes + codes_bytes)

    def perturbed(self, *, relative_noise: float = 0.0, flip_rate: float = 0.0, seed: int) -> "FFNMemory":
        """A copy with Gaussian noise on the weights (in units of each matrix's RMS) or with random bits flipped."""
        import torch

        from models.weight_packing import flip_bits

        copy = FFNMemory(self.config, seed=self.seed)
        copy._values, copy._dim, copy._encoder_hash = self._values, self._dim, self._encoder_hash
        copy._code_dim, copy._codes_VE = self._code_dim, self._codes_VE
        copy._use(flip_bits(self._packed, flip_rate, seed=seed))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in copy._ffn.parameters():
                rms = weight.square().mean().sqrt()
                weight.add_(relative_noise * rms * torch.randn(weight.shape, generator=generator))
        return copy

    def _saved_files(self) -> SavedFiles:
        meta = {
            "config": asdict(self.config),
            "seed": self.seed,
            "dim": self._dim,
            "encoder_hash": self._encoder_hash,
        }
        files = SavedFiles(_KIND, meta, self._values, self.calibration)
        params = num_params(self.config.kind, self.config.width, self._dim, self._code_dim)
        files.add(_WEIGHTS, Part.STORAGE, self._packed, num_params=params)
        for name, content in self._training_files.items():
            files.add(name, Part.MAINTAIN, content)
        return files

    def save(self, folder: Path) -> None:
        self._saved_files().write(folder)

    @classmethod
    def load(cls, folder: Path) -> "FFNMemory":
        meta: Any = verify_sealed(folder, kind=_KIND)["meta"]
        training = TrainingBudget(**meta["config"].pop("training"))
        memory = cls(FFNMemoryConfig(**meta["config"], training=training), seed=meta["seed"])
        memory._know(load_values(folder, meta), meta["dim"], meta["encoder_hash"])
        memory._use((folder / _WEIGHTS).read_bytes())
        memory.calibration = load_calibration(folder)
        names = (_CUE_KEYS, _CUE_TEXTS, _TRAINING_VALUES, _OPTIMIZER)
        memory._training_files = {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}
        return memory


def _training_files(facts: Facts, module: "KeyValueModule") -> dict[str, bytes]:
    """What changing one fact to the same quality needs: the facts that were trained on, and the optimiser's state."""
    if facts.cues[0].texts is None:
        cues = {_CUE_KEYS: _npy(np.concatenate([cue.key_vectors() for cue in facts.cues]))}
    else:
        cues = {_CUE_TEXTS: zlib.compress(json.dumps([list(cue.texts or ()) for cue in facts.cues]).encode(), 9)}
    state: list[torch.Tensor] = []
    for weight, moments in zip(module.backbone.parameters(), module.optimizer_moments(), strict=True):
        state += [weight.detach().float().cpu().flatten(), *moments]
    return {
        **cues,
        _TRAINING_VALUES: _npy(facts.value_ids_N),
        _OPTIMIZER: _npy(np.concatenate([part.numpy() for part in state])),
    }


def _npy(array: ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
