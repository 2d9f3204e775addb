"""kNN-LM without its store: what the neighbours of a state say is distilled into an FFN beside the decoder.

Shape legend: N states, K neighbours, D dimension of a state, B questions of equally long prompts.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.any_ffn import AnyFFNConfig
from models.dial_checks import check_above_zero, check_one_or_more
from models.ffn_kinds import DenseConfig
from retrieval.vector_index import IndexSpec
from retromem.memories.closed_book_memory import ClosedBookMemory, ClosedBookSettings
from retromem.memories.knn_lm_memory import fitted, neighbours_elsewhere
from retromem.memories.state_store import StateStore, states_of
from retromem.memories.store_memory import load_faiss
from retromem.seam import Facts, WriteCost

if TYPE_CHECKING:
    from models.decoder import Decoder
    from models.distilled_neighbours import DistilledNeighbours
    from models.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class DistilledConfig(ClosedBookSettings):
    """A decoder beside an FFN that learnt to say what a search among the decoder's states says (MLP Memory)."""

    version: ClassVar[int] = 2
    family: ClassVar[str] = "knn-distilled"
    memory: Literal["knn_distilled"] = "knn_distilled"
    ffn: AnyFFNConfig = field(default_factory=DenseConfig)
    """from a state to a state, which the read-out turns into shares of the tokens"""
    chunks: int = 16
    """k, states whose tokens are learnt"""
    distillation_steps: int = 2000
    """of the FFN's training"""
    distillation_rate: float = 3e-3
    """its learning rate at the first step"""

    def __post_init__(self) -> None:
        check_one_or_more(chunks=self.chunks)
        check_above_zero(distillation_rate=self.distillation_rate)

    def named(self, setting: str | None = None) -> str:
        return f"knn-distilled-{self.decoder_label}{self.texts_label}-{self.ffn.label}-k{self.chunks}"

    def build(self, *, seed: int) -> "DistilledMemory":
        return DistilledMemory(self, seed=seed)


class DistilledMemory(ClosedBookMemory):
    """Weights alone: the store of states is thrown away."""

    kind: ClassVar[str] = "knn-distilled"
    config_type: ClassVar[type[Any]] = DistilledConfig

    def write(self, facts: Facts) -> WriteCost:
        """As a closed book, with the distillation behind it."""
        cost, config = super().write(facts), self.config
        dim, shown = config.decoder.dim, config.distillation_steps * config.training.batch_size
        a_state = config.ffn.training_flops(dim, dim) + 4 * self._tokens.num_tokens * dim  # the read-out is kept
        return replace(cost, flops=cost.flops + shown * a_state)

    def _new(self) -> "DistilledNeighbours":
        return self._around(self._new_decoder())

    def _around(self, decoder: "Decoder") -> "DistilledNeighbours":
        import torch

        from models.distilled_neighbours import DistilledNeighbours

        dim = self.config.decoder.dim
        ffn = self.config.ffn.build(dim, dim, generator=torch.Generator().manual_seed(self.seed + 1))
        return DistilledNeighbours(decoder, ffn)

    def _completed(self, decoder: "Decoder", learnt: Facts) -> "LanguageModel":
        """Search among the decoder's states, distil what is found, and fit the FFN's weight on the same texts."""
        import torch

        from models.distilled_neighbours import DistillationModule
        from models.knn_interpolation import best_weight
        from models.step_module import take_steps

        load_faiss()
        config, model = self.config, self._around(decoder)
        states = states_of(decoder, self._training_texts(learnt))
        store = StateStore.of(
            states.states_ND.numpy(), states.tokens_N.numpy(), self._tokens.num_tokens, IndexSpec(factory="Flat")
        )
        temperature = fitted(decoder, store, states, config.chunks, 1).temperature
        cosines_NK, followed_NK = neighbours_elsewhere(store, states, config.chunks)
        module = DistillationModule(
            model.ffn,
            decoder.read_out,
            states.states_ND.clone(),
            torch.nan_to_num((cosines_NK / temperature).softmax(-1)),
            followed_NK,
            steps=config.distillation_steps,
            learning_rate=config.distillation_rate,
            batch_size=config.training.batch_size,
            generator=torch.Generator().manual_seed(self.seed),
        )
        if config.distillation_steps:
            take_steps(module)
        true_N1 = states.tokens_N[:, None]
        with torch.inference_mode():
            of_decoder_N, of_ffn_N = (
                shares_NV.gather(1, true_N1)[:, 0]
                for shares_NV in (decoder.logits(states.states_ND).softmax(-1), model.shares(states.states_ND))
            )
        model.weight_1.fill_(best_weight(of_ffn_N, of_decoder_N))
        return model

    def _weights(self) -> tuple[bytes, int, int]:
        packed, num_params, num_active = super()._weights()
        dim, ffn = self.config.decoder.dim, self.config.ffn
        return packed, num_params + ffn.num_params(dim, dim) + 1, num_active + ffn.num_active_params(dim, dim) + 1
