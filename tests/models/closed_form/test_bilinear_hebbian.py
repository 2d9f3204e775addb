"""The bilinear Hebbian store: explicit sums, normal equations, and steps that never make the fit worse."""

import numpy as np
import pytest
import torch

from models.closed_form.bilinear_hebbian import half_step, hebbian_memory


def facts_of(num_facts, dim, num_values, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.nn.functional.normalize(torch.randn(num_facts, dim, generator=generator), dim=1)
    codes = torch.nn.functional.normalize(torch.randn(num_values, dim, generator=generator), dim=1)
    return keys, torch.randint(num_values, (num_facts,), generator=generator), codes


def store(keys, value_ids, codes, units, read_out):
    generator = torch.Generator().manual_seed(3)
    return hebbian_memory(keys, value_ids, codes, units=units, read_out=read_out, generator=generator)


def hidden_of(w, keys):
    return (keys.double() @ w["w_gate_DF"].double()) * (keys.double() @ w["w_in_DF"].double())


def squared_error(w, keys, value_ids, codes):
    return float((hidden_of(w, keys) @ w["w_out_FE"].double() - codes.double()[value_ids]).square().sum())


def share_right(w, keys, value_ids, codes):
    answers = (hidden_of(w, keys) @ w["w_out_FE"].double() @ codes.double().T).argmax(dim=1)
    return float(answers.eq(value_ids).double().mean())


def test_raw_is_the_mean_of_outer_products():
    keys, value_ids, codes = facts_of(9, 5, 4)
    w = store(keys, value_ids, codes, 7, "raw")
    phi = hidden_of(w, keys).numpy()
    expected = sum(np.outer(phi[n], codes[value_ids[n]]) for n in range(9)) / 9
    assert w["w_out_FE"].numpy() == pytest.approx(expected, abs=1e-6)


def test_whitened_solves_its_normal_equations_on_the_projections_of_raw():
    keys, value_ids, codes = facts_of(60, 5, 4)
    w, raw = (store(keys, value_ids, codes, 7, read_out) for read_out in ("whitened", "raw"))
    assert torch.equal(w["w_in_DF"], raw["w_in_DF"])
    assert torch.equal(w["w_gate_DF"], raw["w_gate_DF"])
    phi = hidden_of(w, keys).numpy()
    penalty = 1e-6 * (phi**2).sum(axis=0).mean()
    expected = np.linalg.solve(phi.T @ phi + penalty * np.eye(7), phi.T @ codes[value_ids].double().numpy())
    assert w["w_out_FE"].numpy() == pytest.approx(expected, abs=1e-5)


def test_half_step_is_least_squares_in_the_moved_projection():
    keys, value_ids, codes = facts_of(200, 5, 6)
    w = {name: weight.double() for name, weight in store(keys, value_ids, codes, 3, "whitened").items()}
    targets = codes.double()[value_ids]
    moved = half_step(keys.double(), w["w_gate_DF"], w["w_in_DF"], w["w_out_FE"], targets)
    gates = keys.double() @ w["w_gate_DF"]
    design = torch.einsum("nd,nf,fe->nedf", keys.double(), gates, w["w_out_FE"]).reshape(200 * 5, 5 * 3).numpy()
    expected = np.linalg.lstsq(design, targets.flatten().numpy(), rcond=None)[0].reshape(5, 3)
    assert moved.numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("num_facts", [40, 150, 600])
def test_every_half_step_lowers_the_squared_error(num_facts):
    keys, value_ids, codes = facts_of(num_facts, 16, 16)
    whitened = store(keys, value_ids, codes, 21, "whitened")
    targets = codes.double()[value_ids]
    w = {name: weight.double() for name, weight in whitened.items()}
    errors = [squared_error(w, keys, value_ids, codes)]
    for held, moved in (("w_gate_DF", "w_in_DF"), ("w_in_DF", "w_gate_DF")):
        w[moved] = half_step(keys.double(), w[held], w[moved], w["w_out_FE"], targets)
        errors.append(squared_error(w, keys, value_ids, codes))
    assert errors[0] > errors[1] > errors[2] - 1e-9
    finished = squared_error(store(keys, value_ids, codes, 21, "data_dependent"), keys, value_ids, codes)
    assert finished <= errors[2] * (1 + 1e-4) + 1e-4


def test_read_outs_rank_as_published():
    keys, value_ids, codes = facts_of(55, 16, 16)
    raw, whitened, moved = (
        share_right(store(keys, value_ids, codes, 21, read_out), keys, value_ids, codes)
        for read_out in ("raw", "whitened", "data_dependent")
    )
    assert raw < whitened < moved
    assert moved >= 0.99
