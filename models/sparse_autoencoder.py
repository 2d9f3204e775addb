"""Sparse autoencoders over hidden activations: h is taken for a sum of few directions out of many, one for each latent.

    x = h / scale,   a = (x - b_dec) W_enc + b_enc,   h' = scale (f W_dec + b_dec),   rows of W_dec of unit length

with latents f of one of three kinds:

- relu_l1: f = relu(a); the loss adds weight * sum_l f_l (Bricken et al. 2023, "Towards Monosemanticity");
- topk: f keeps the k largest of relu(a); the loss adds only that latents which have died explain what the others do not
  (Gao et al. 2024, arXiv 2406.04093). Without it 93 of 256 latents died at 3 active over a small FFN, with it 10;
- jumprelu: f = a 1[a > theta], theta learned for each latent; the loss adds (L0 / target - 1)^2 (Rajamanoharan et al.
  2024, arXiv 2407.14435).

To compare kinds at an equal number of active latents, all three are told that number: the weight of relu_l1 is no
setting, it rises while more latents are active than asked for and falls while fewer are.

Shape legend: N facts, B batch, F hidden units, L latents, K active latents.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.dial_checks import check_above_zero, check_one_or_more
from models.step_module import StepModule, take_steps
from models.training_budget import STEPS_A_LOOK, TrainingDiverged

BANDWIDTH = 0.2
"""of the kernel through which thresholds learn, in units of the spread of h (`scale`). The paper's .001 is for billions
of inputs: of a few hundred hardly any lies that close to a threshold."""
FIRST_THRESHOLD = 0.05
"""of every latent of jumprelu; with .1 more latents die"""
FIRST_L1_WEIGHT = 0.01
"""of relu_l1 at the first step, beside the unexplained share of the variance"""
L1_WEIGHT_RATE = 0.01
"""change of the logarithm of that weight, a step, at twice the active latents asked for or more"""
L1_FALLS_BELOW = 1.05
"""times the active latents asked for. Once the right latents speak, a wide range of weights leaves their number alone:
the least of them shrinks the latents least."""
DEAD_AFTER = 2500
"""inputs without activity that make a latent dead for the auxiliary loss of topk (10 million in the paper)"""
AUXILIARY_WEIGHT = 1 / 32
"""of the auxiliary loss of topk (Gao et al. 2024, appendix A)"""
DECAY_FROM = 0.8
"""share of the steps after which the learning rate falls linearly to 0"""


SAME = 64
"""activations that lie within so many roundings of their mean, relative to their length, are the same: one input gives
others in the last digits when it is computed in another block"""


@dataclass(frozen=True, kw_only=True)
class SparseAutoencoderConfig:
    """One sparse autoencoder and its training."""

    kind: Literal["relu_l1", "topk", "jumprelu"] = "topk"
    expansion: int = 4
    """latents for each hidden unit"""
    active: int = 8
    """latents active for an input: at most so many for topk, about so many in the mean for the others"""
    steps: int = 3000
    """optimisation steps, of Adam"""
    learning_rate: float = 1e-2
    batch_size: int = 256
    """inputs a step, drawn with replacement"""
    seed: int = 0

    def __post_init__(self) -> None:
        check_one_or_more(expansion=self.expansion, active=self.active, steps=self.steps, batch_size=self.batch_size)
        check_above_zero(learning_rate=self.learning_rate)

    def latents(self, units: int) -> int:
        """Latents over so many hidden units. ValueError where they are fewer than shall be active."""
        latents = self.expansion * units
        if self.active > latents:
            raise ValueError(f"active must be at most {latents}, the latents over {units} units, not {self.active}")
        return latents


def step(
    a_BL: Float[Tensor, "B L"], threshold_L: Float[Tensor, " L"], *, bandwidth: float = BANDWIDTH
) -> Float[Tensor, "B L"]:
    """1[a > threshold], with a derivative by the threshold: -(1 / bandwidth) 1[|a - threshold| < bandwidth / 2].

    Rajamanoharan et al. 2024, section 3 (rectangle kernel). The derivative by a is 0.
    """
    with torch.no_grad():
        distance_BL = a_BL - threshold_L
        kernel_BL = (distance_BL.abs() < bandwidth / 2) / bandwidth
        open_BL = (distance_BL > 0).to(a_BL)
    return open_BL - kernel_BL * (threshold_L - threshold_L.detach())


def jumprelu(
    a_BL: Float[Tensor, "B L"], threshold_L: Float[Tensor, " L"], *, bandwidth: float = BANDWIDTH
) -> Float[Tensor, "B L"]:
    """a 1[a > threshold], with a derivative by the threshold: the threshold times that of `step`.

    Rajamanoharan et al. 2024, section 3. The derivative by a is the true one, 1[a > threshold].
    """
    step_BL = step(a_BL, threshold_L, bandwidth=bandwidth)
    open_BL = step_BL.detach()
    return a_BL * open_BL + threshold_L.detach() * (step_BL - open_BL)


def _variance(h_NF: Float[Tensor, "N F"]) -> Float[Tensor, ""]:
    """Mean square distance from the mean. ValueError where there is none beyond what rounding leaves."""
    variance = (h_NF - h_NF.mean(0)).square().sum(1).mean()
    if not h_NF.isfinite().all():
        raise ValueError("activations are not finite")
    if variance <= (SAME * torch.finfo(h_NF.dtype).eps) ** 2 * h_NF.square().sum(1).mean():
        raise ValueError("all activations are the same: there is no variance to explain")
    return variance


class SparseAutoencoder(nn.Module):
    """Encoder, decoder and, for jumprelu, the threshold of each latent; starts from the mean and spread of h_NF.

    ValueError where all rows of h_NF are the same, or for fewer latents than shall be active.
    """

    scale: Tensor

    def __init__(
        self, config: SparseAutoencoderConfig, h_NF: Float[Tensor, "N F"], *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        mean_F, units = h_NF.mean(0), h_NF.shape[1]
        scale = _variance(h_NF).sqrt()
        latents = config.latents(units)
        w_LF = functional.normalize(torch.randn(latents, units, generator=generator).to(h_NF), dim=1)
        self.register_buffer("scale", scale)
        self.w_dec_LF = nn.Parameter(w_LF)
        self.b_dec_F = nn.Parameter(mean_F / scale)
        self.w_enc_FL = nn.Parameter(w_LF.T.clone())
        self.b_enc_L = nn.Parameter(h_NF.new_zeros(latents))
        if config.kind == "jumprelu":
            # Its logarithm is what learns: a threshold below 0 would let negative latents through.
            self.log_threshold_L = nn.Parameter(h_NF.new_full((latents,), math.log(FIRST_THRESHOLD)))

    def pre_activations(self, h_BF: Float[Tensor, "B F"]) -> Float[Tensor, "B L"]:
        """a: what the latents see before anything is silenced."""
        return (h_BF / self.scale - self.b_dec_F) @ self.w_enc_FL + self.b_enc_L

    def latents(self, a_BL: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """f: what is left of the pre-activations, 0 or more."""
        if self.config.kind == "jumprelu":
            return jumprelu(a_BL, self.log_threshold_L.exp())
        f_BL = functional.relu(a_BL)
        if self.config.kind == "relu_l1":
            return f_BL
        top_BK, latents_BK = f_BL.topk(self.config.active, dim=1)
        return torch.zeros_like(f_BL).scatter(1, latents_BK, top_BK)

    def encode(self, h_BF: Float[Tensor, "B F"]) -> Float[Tensor, "B L"]:
        """Latents of hidden activations."""
        return self.latents(self.pre_activations(h_BF))

    def decode(self, f_BL: Float[Tensor, "B L"]) -> Float[Tensor, "B F"]:
        """Hidden activations as the latents tell them."""
        return self.scale * (f_BL @ self.w_dec_LF + self.b_dec_F)


class _Penalty:
    """What the loss adds to the unexplained share of the variance; remembers what it has seen of the training."""

    def __init__(self, autoencoder: SparseAutoencoder) -> None:
        self._autoencoder, self._active = autoencoder, autoencoder.config.active
        self._l1_weight = FIRST_L1_WEIGHT
        self._idle_L = torch.zeros_like(autoencoder.b_enc_L)

    def __call__(self, a_BL: Tensor, f_BL: Tensor, error_BF: Tensor) -> Tensor:
        match self._autoencoder.config.kind:
            case "relu_l1":
                return self._l1(f_BL)
            case "topk":
                return AUXILIARY_WEIGHT * self._unexplained_by_dead(a_BL, f_BL, error_BF)
            case "jumprelu":
                active = step(a_BL, self._autoencoder.log_threshold_L.exp()).sum(1).mean()
                return (active / self._active - 1).square()

    def _l1(self, f_BL: Tensor) -> Tensor:
        penalty = self._l1_weight * f_BL.sum(1).mean()
        too_many = float((f_BL > 0).sum(1).double().mean()) / self._active - L1_FALLS_BELOW
        self._l1_weight *= math.exp(L1_WEIGHT_RATE * min(1.0, too_many))
        return penalty

    def _unexplained_by_dead(self, a_BL: Tensor, f_BL: Tensor, error_BF: Tensor) -> Tensor:
        """Of what the live latents leave unexplained, what the F / 2 most active dead ones leave too."""
        self._idle_L = torch.where((f_BL > 0).any(0), 0.0, self._idle_L + len(f_BL))
        dead_L = self._idle_L > DEAD_AFTER
        speaking = min(int(dead_L.sum()), max(1, error_BF.shape[1] // 2))
        top_BK, latents_BK = functional.relu(a_BL).masked_fill(~dead_L, 0.0).topk(speaking, dim=1)
        dead_BL = torch.zeros_like(a_BL).scatter(1, latents_BK, top_BK)
        told_BF = dead_BL @ self._autoencoder.w_dec_LF
        return (error_BF.detach() - told_BF).square().sum(1).mean()


class SparseAutoencoderModule(StepModule):
    """Trains a sparse autoencoder. Loss: unexplained share of the variance plus penalty."""

    def __init__(self, h_NF: Float[Tensor, "N F"], config: SparseAutoencoderConfig) -> None:
        super().__init__(config.steps)
        self.config, self._h_NF = config, h_NF
        self._generator = torch.Generator().manual_seed(config.seed)
        self.autoencoder = SparseAutoencoder(config, h_NF, generator=self._generator)
        self._penalty = _Penalty(self.autoencoder)
        self._optimizer = torch.optim.Adam(self.autoencoder.parameters(), lr=config.learning_rate, fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda done: min(1.0, (1 - done / config.steps) / (1 - DECAY_FROM))
        )

    def step(self, number: int) -> Tensor:
        config, autoencoder = self.config, self.autoencoder
        h_BF = self._h_NF[torch.randint(len(self._h_NF), (config.batch_size,), generator=self._generator)]
        a_BL = autoencoder.pre_activations(h_BF)
        f_BL = autoencoder.latents(a_BL)
        error_BF = (h_BF - autoencoder.decode(f_BL)) / autoencoder.scale
        loss: Tensor = error_BF.square().sum(1).mean() + self._penalty(a_BL, f_BL, error_BF)
        self._descend(loss)
        self._schedule.step()
        with torch.no_grad():
            # Longer rows would let relu_l1 shrink its latents, and with them its penalty, for nothing.
            autoencoder.w_dec_LF.copy_(functional.normalize(autoencoder.w_dec_LF, dim=1))
        if (number % STEPS_A_LOOK == 0 or number == config.steps - 1) and not loss.isfinite():
            raise TrainingDiverged(
                f"the loss is {loss.item()} after {number} steps at learning_rate {config.learning_rate:g}: lower it"
            )
        return loss


def train(h_NF: Float[Tensor, "N F"], config: SparseAutoencoderConfig) -> SparseAutoencoder:
    """A sparse autoencoder of these hidden activations.

    Raises:
        ValueError: all activations are the same or some not finite, or fewer latents than shall be active.
        TrainingDiverged: the loss is no number any more.
    """
    module = SparseAutoencoderModule(h_NF, config)
    take_steps(module)
    return module.autoencoder


@dataclass(frozen=True, kw_only=True)
class SparseAutoencoderReadings:
    """How well, and with how many latents, a sparse autoencoder tells hidden activations."""

    variance_explained: float
    """1 - sum |h - h'|^2 / sum |h - mean h|^2: 1 where nothing is lost, below 0 where the mean would tell more"""
    mean_active: float
    """L0: latents active for a fact"""
    num_dead: int
    """latents that no fact activates"""


def read(autoencoder: SparseAutoencoder, h_NF: Float[Tensor, "N F"]) -> SparseAutoencoderReadings:
    """What the autoencoder makes of these activations, usually those it was trained on. ValueError where all are the
    same."""
    with torch.no_grad():
        f_NL = autoencoder.encode(h_NF)
        lost = (h_NF - autoencoder.decode(f_NL)).square().sum(1).mean()
    active_NL = f_NL > 0
    return SparseAutoencoderReadings(
        variance_explained=float(1 - lost / _variance(h_NF)),
        mean_active=float(active_NL.sum(1).double().mean()),
        num_dead=int((~active_NL.any(0)).sum()),
    )
