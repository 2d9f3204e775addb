"""The solves of values on a line with the Jacobian formed, which the code never does."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.closed_form.value_line import value_line_memory

Weights = dict[str, Tensor]


def outputs(weights: Weights, inputs: Tensor) -> Tensor:
    gates = functional.silu(inputs @ weights["gate"] + weights["gate_bias"])
    return (gates * (inputs @ weights["in"] + weights["in_bias"])) @ weights["out"] + weights["bias"]


def jacobian_of(rows: Callable[[Weights], Tensor], weights: Weights) -> Tensor:
    at = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    found = [torch.autograd.grad(row, list(at.values()), retain_graph=True) for row in rows(at)]
    return torch.stack([torch.cat([part.flatten() for part in gradient]) for gradient in found])


def moved_by(weights: Weights, jacobian: Tensor, missing: Tensor, damping: float) -> Weights:
    """The smallest damped move that gives the rows what they miss, to first order."""
    gram = jacobian @ jacobian.T
    damped = gram + damping * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    move = (jacobian.T @ torch.linalg.solve(damped, missing)).split([weight.numel() for weight in weights.values()])
    return {name: weight + part.view_as(weight) for (name, weight), part in zip(weights.items(), move, strict=True)}


def solved(weights: Weights, share, loss_at, rows_at, *, goal: float, most: int) -> tuple[Weights, int]:
    """Levenberg-Marquardt: four times the damping until a move helps, then a fifth of it."""
    damping = 1e-2
    for solves in range(most):
        if share(weights) >= goal:
            return weights, solves
        jacobian, (missing, loss) = jacobian_of(rows_at(weights), weights), loss_at(weights)
        while True:
            if damping >= 1e6:
                return weights, solves
            moved = moved_by(weights, jacobian, missing, damping)
            if loss(moved) < loss(weights):
                break
            damping *= 4
        weights, damping = moved, max(damping / 5, 1e-9)
    return weights, most


def first_phase(weights, inputs, targets, step, *, most):
    def missing_at(at):
        return targets - outputs(at, inputs)[:, 0]

    return solved(
        weights,
        lambda at: float((missing_at(at).abs() < step / 2).double().mean()),
        lambda at: (missing_at(at), lambda other: float((missing_at(other) ** 2).sum())),
        lambda at: lambda other: outputs(other, inputs)[:, 0],
        goal=0.7,
        most=most,
    )


def second_phase(weights, inputs, values, levels, step, *, goal, most):
    facts, num_values = len(inputs), len(levels)
    wrong_of = torch.tensor([[w for w in range(num_values) if w != v] for v in values.tolist()])

    def gaps_at(at):
        """Of every wrong value of every fact: how far its logit lies below the true one, over their distance."""
        logits = outputs(at, inputs)
        true = logits.gather(1, values[:, None])
        return (true - logits.gather(1, wrong_of)) / (levels[values][:, None] - levels[wrong_of]).abs()

    def share(at):
        return float((gaps_at(at).amin(1) > 0.01 * step).double().mean())

    def lost_at(at):
        lost = torch.zeros(facts, dtype=torch.bool)
        if share(at) > 0.9:
            lost[gaps_at(at).amin(1).argsort()[: int(0.8 * (1 - goal) * facts)]] = True
        return lost

    def nearest_at(at):
        return gaps_at(at).sort(dim=1).values[:, :4]

    def asked_at(at):
        """The pairs of a fact and a wrong value that take part in a solve."""
        order = gaps_at(at).argsort(dim=1)[:, :4]
        asks = (nearest_at(at) < 0.25 * step) & ~lost_at(at)[:, None]
        rows = [(n, int(order[n, j])) for n in range(facts) for j in range(order.shape[1]) if asks[n, j]]
        return torch.tensor(rows).T

    def missing_and_loss(at):
        lost, (n, j) = lost_at(at), asked_at(at)
        missing = (0.15 * step - gaps_at(at)[n, j]).clamp(min=0)
        return missing, lambda other: float((0.15 * step - nearest_at(other)[~lost]).clamp(min=0).square().sum())

    def rows_at(at):
        n, j = asked_at(at)
        return lambda other: gaps_at(other)[n, j]

    return solved(weights, share, missing_and_loss, rows_at, goal=goal, most=most)


def by_hand(keys, values, codes, *, units, goal, max_solves, generator):
    num_values, dim = len(codes), keys.shape[1]
    inputs = keys.double()
    levels = torch.arange(num_values).double()
    levels = (levels - levels.mean()) / levels.std(correction=0)
    step = float(levels[1] - levels[0])
    gate, into = torch.randn(2, dim, units, generator=generator).double()
    none = torch.zeros(units).double()
    weights = {"gate": 2.0 * gate, "gate_bias": none, "in": into / math.sqrt(units), "in_bias": none}
    weights |= {"out": torch.ones(units, 1).double(), "bias": torch.zeros(1).double()}
    weights, first = first_phase(weights, inputs, levels[values], step, most=min(20, max_solves))
    # logit of v = t_v s - t_v^2 / 2
    weights |= {"out": weights["out"] * levels, "bias": weights["bias"] * levels - levels**2 / 2}
    weights, _ = second_phase(weights, inputs, values, levels, step, goal=goal, most=max_solves - first)
    to_codes = np.linalg.pinv(codes.double().numpy()).T
    names = {"w_gate_DF": "gate", "b_gate_F": "gate_bias", "w_in_DF": "in", "b_in_F": "in_bias"}
    found = {name: weights[mine].numpy() for name, mine in names.items()}
    found |= {"w_out_FE": weights["out"].numpy() @ to_codes, "b_out_E": weights["bias"].numpy() @ to_codes}
    return found


@pytest.mark.parametrize(
    ("facts", "values", "options"),
    [
        (40, 6, {"units": 6, "goal": 0.9, "max_solves": 60}),
        (40, 6, {"units": 6, "goal": 0.99, "max_solves": 7}),
        (50, 6, {"units": 4, "goal": 0.93, "max_solves": 24}),
        (48, 6, {"units": 5, "goal": 0.97, "max_solves": 40}),
        (56, 5, {"units": 4, "goal": 0.96, "max_solves": 28}),
        (30, 3, {"units": 4, "goal": 0.95, "max_solves": 40}),
    ],
)
def test_weights_are_those_of_solves_with_the_jacobian_formed(facts, values, options):
    generator = torch.Generator().manual_seed(facts)
    keys = functional.normalize(torch.randn(facts, 4, generator=generator), dim=1)
    codes = torch.randn(values, 7, generator=generator)
    ids = torch.randint(values, (facts,), generator=generator)
    expected = by_hand(keys, ids, codes, **options, generator=torch.Generator().manual_seed(1))
    goal = options.pop("goal")
    found = value_line_memory(
        keys, ids, codes, **options, goal_accuracy=goal, generator=torch.Generator().manual_seed(1)
    )
    assert list(found) == ["w_gate_DF", "b_gate_F", "w_in_DF", "b_in_F", "w_out_FE", "b_out_E"]
    for name, weight in found.items():
        assert weight.numpy() == pytest.approx(expected[name], rel=1e-4, abs=1e-5), name
