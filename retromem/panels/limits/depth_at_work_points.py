"""Points of deep stacks: accuracy over depth, and what each block of the deepest does before and after training.

Shape legend: N facts, D dimension of the stream, F hidden units of a block.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from models.any_ffn import sized
from models.diagnostics.matrix_rank import activation_ranks
from models.ffn import HiddenLayerFFN
from models.stack import StackFFN
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, random_table, stored_bits, train_built, weight_generator
from retromem.panels.limits.depth_at_work import CHANCE, OTHERS, SCHEMES, UNCORRELATED, DepthAtWorkConfig
from retromem.panels.points import Point


def depth_at_work_points(config: DepthAtWorkConfig, seed: int) -> list[Point]:
    """The charted schemes at every depth, the others at the largest."""
    table = random_table(config.num_facts, config.dim, config.num_values, seed=seed)
    deepest = max(config.depths)
    points = [
        Point(quantity="loss", series=CHANCE, x=float(depth), y=math.log(config.num_values)) for depth in config.depths
    ]
    # The participation ratio of N x D independent numbers: 1 / PR = 1 / N + 1 / D for large N and D.
    uncorrelated = 1 / (1 / config.num_facts + 1 / config.dim)
    for quantity in ("rank_untrained", "rank_trained"):
        for block in range(deepest + 1):
            points.append(Point(quantity=quantity, series=UNCORRELATED, x=float(block), y=uncorrelated))
    for scheme in SCHEMES:
        for depth in config.depths:
            points += _one_stack(config, scheme, depth, table, seed=seed)
    for scheme in OTHERS:
        points += _one_stack(config, scheme, deepest, table, seed=seed)
    return points


def _one_stack(config: DepthAtWorkConfig, scheme: str, depth: int, table: KeyTable, *, seed: int) -> list[Point]:
    generator = weight_generator(seed)
    sized_config = sized(config.stack(scheme, depth), config.num_params, config.dim, config.dim)
    stack = sized_config.build(config.dim, config.dim, generator=generator)
    assert isinstance(stack, StackFFN)
    points: list[Point] = []

    def add(quantity: str, y: float, x: float | None = None) -> None:
        points.append(Point(quantity=quantity, series=scheme, x=x, y=y, seed=seed))

    def add_ranks(ending: str) -> None:
        ranks = stream_ranks(stack, table.keys_ND)
        add(f"last_rank_{ending}", ranks[-1], float(depth))
        if depth == max(config.depths):
            for block, rank in enumerate(ranks):
                add(f"rank_{ending}", rank, float(block))

    add_ranks("untrained")
    train_built(stack, table, TrainingBudget(steps=config.steps, goal_nats=0.0), generator=generator)
    add_ranks("trained")
    of_blocks = {"bits_lost": bits_lost(stack, table), "dead_units": dead_shares(stack, table.keys_ND)}
    if stack.config.residual != "none":
        of_blocks["update"] = update_ratios(stack, table.keys_ND)
    measured = {
        "accuracy": accuracy(stack, table),
        "loss": final_loss(stack, table),
        "least_bits_lost": min(of_blocks["bits_lost"]),
        **{f"mean_{quantity}": fmean(ys) for quantity, ys in of_blocks.items()},
    }
    for quantity, y in measured.items():
        add(quantity, y, float(depth))
    if depth == max(config.depths):
        for quantity, ys in of_blocks.items():
            for block, y in enumerate(ys, start=1):
                add(f"{quantity}_of_block", y, float(block))
    return points


@torch.no_grad()
def final_loss(stack: StackFFN, table: KeyTable) -> float:
    """Mean cross-entropy, in nats a fact."""
    return float(functional.cross_entropy(stack(table.keys_ND) @ table.codes_VE.T, table.value_ids_N))


@torch.no_grad()
def stream_ranks(stack: StackFFN, keys_ND: Float[Tensor, "N D"]) -> list[float]:
    """Participation ratio of the stream, less its mean over the facts, before the first block and after each."""
    return [float(activation_ranks([state_ND]).participation_ratio) for state_ND in stack.states(keys_ND)]


@torch.no_grad()
def update_ratios(stack: StackFFN, keys_ND: Float[Tensor, "N D"]) -> list[float]:
    """Of each block: the length of what it adds over that of what it is added to, both over all facts."""
    config = stack.config
    outputs = [torch.zeros_like(keys_ND) for _ in stack.blocks]

    def add(layer: int, _module: object, _inputs: object, out_ND: Tensor) -> None:
        outputs[layer] = outputs[layer] + out_ND

    hooks = [module.register_forward_hook(partial(add, layer)) for layer, module in _parts(stack)]
    states = stack.states(keys_ND)
    for hook in hooks:
        hook.remove()
    carried = (2 * config.depth) ** 0.25 if config.residual == "deepnorm" else 1.0
    scales = {"layerscale": "scale_LD", "rezero": "scale_L1"}
    ratios = []
    for layer, out_ND in enumerate(outputs):
        scale = getattr(stack, scales[config.residual])[layer] if config.residual in scales else 1.0
        ratios.append(float((scale * out_ND).norm() / (carried * states[layer]).norm()))
    return ratios


@torch.no_grad()
def dead_shares(stack: StackFFN, keys_ND: Float[Tensor, "N D"]) -> list[float]:
    """Of each block: the share of its hidden units that are 0 for every fact."""
    dead: list[float] = []

    def look(block: HiddenLayerFFN, inputs: tuple[Tensor]) -> None:
        dead.append(1 - float((block.hidden(inputs[0]) != 0).any(0).double().mean()))

    hooks = [block.register_forward_pre_hook(look) for block in stack.blocks]
    stack(keys_ND)
    for hook in hooks:
        hook.remove()
    return dead


def bits_lost(stack: StackFFN, table: KeyTable) -> list[float]:
    """Of each block: how many bits a fact fewer are stored when it, and the matrix beside it, give zeros."""
    whole = stored_bits(stack, table)
    lost = []
    for layer in range(stack.config.depth):
        with silenced(stack, layer):
            lost.append((whole - stored_bits(stack, table)) / len(table.keys_ND))
    return lost


@contextmanager
def silenced(stack: StackFFN, layer: int) -> Iterator[None]:
    """Within: this block gives zeros."""
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, out_ND: torch.zeros_like(out_ND))
        for at, module in _parts(stack)
        if at == layer
    ]
    yield
    for hook in hooks:
        hook.remove()


def _parts(stack: StackFFN) -> Sequence[tuple[int, torch.nn.Module]]:
    """Every module that adds to the stream, with its layer."""
    return [*enumerate(stack.blocks), *enumerate(stack.branches)]
