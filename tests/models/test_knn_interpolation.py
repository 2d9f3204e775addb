"""kNN-LM against a loop over neighbours, its weights against a grid, and what is distilled."""

import math

import numpy as np
import pytest
import torch

from models.candidate_tree import CandidateTree
from models.decoder_config import DecoderConfig
from models.distilled_neighbours import DistillationModule, DistilledNeighbours
from models.ffn_kinds import DenseConfig
from models.knn_interpolation import Interpolation, KnnReading, best_weight, fit_interpolation, share_by_token
from models.step_module import take_steps

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
V, D, K = 13, 8, 4


def decoder(seed=0):
    return DecoderConfig(dim=D, ffn=DenseConfig(width=9)).build(V, generator=torch.Generator().manual_seed(seed)).eval()


def stored(num=30, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, D, generator=generator), torch.randint(V, (num,), generator=generator)


def looks_up(states_ND, tokens_N, k=K):
    """By brute force: cosines."""
    unit_ND = torch.nn.functional.normalize(states_ND, dim=1)

    def look_up(asked_QD):
        cosines_QN = torch.nn.functional.normalize(asked_QD, dim=1) @ unit_ND.T
        best_QK, places_QK = cosines_QN.topk(k)
        return best_QK, tokens_N[places_QK]

    return look_up


def test_the_interpolation_is_a_loop_over_neighbours() -> None:
    model, (states_ND, tokens_N) = decoder(), stored()
    interpolation = Interpolation(0.1, (0.65,), (0.2, 0.7))
    tokens_BT = torch.randint(V, (2, 5), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        reading = KnnReading(model, looks_up(states_ND, tokens_N), interpolation)
        hidden_BTD, _ = reading.read(tokens_BT)
        found_BTV = reading.logits(hidden_BTD)
        buckets = set()
        for row in range(2):
            for at in range(5):
                state_D = hidden_BTD[row, at]
                cosines = [float(torch.dot(state_D, other) / state_D.norm() / other.norm()) for other in states_ND]
                nearest = sorted(range(30), key=lambda place: -cosines[place])[:K]
                total = sum(math.exp(cosines[place] / 0.1) for place in nearest)
                p_V = model.logits(state_D).softmax(-1).numpy().copy()
                weight = 0.7 if cosines[nearest[0]] >= 0.65 else 0.2
                buckets.add(weight)
                p_V *= 1 - weight
                for place in nearest:
                    p_V[int(tokens_N[place])] += weight * math.exp(cosines[place] / 0.1) / total
                assert np.allclose(found_BTV[row, at].exp().numpy(), p_V, atol=1e-5)
        assert buckets == {0.2, 0.7}


def test_a_state_without_neighbours_is_answered_by_the_decoder_alone() -> None:
    model = decoder()
    nothing = KnnReading(
        model,
        lambda states: (torch.full((len(states), K), -torch.inf), torch.zeros(len(states), K, dtype=torch.long)),
        Interpolation(0.1, (), (0.9,)),
    )
    with torch.no_grad():
        hidden_BTD, past = nothing.read(torch.tensor([[1, 2, 3]]))
        torch.testing.assert_close(nothing.logits(hidden_BTD), model.logits(hidden_BTD).log_softmax(-1))
        tree = CandidateTree([[4], [5, 6]], end=0)
        found = tree.log_likelihoods(nothing, hidden_BTD[:, -1], past)
        torch.testing.assert_close(found, tree.log_likelihoods(model, hidden_BTD[:, -1], past))


def test_shares_sum_to_one_where_there_is_a_neighbour() -> None:
    similarities = torch.tensor([[0.9, 0.5, -torch.inf], [-torch.inf] * 3])
    shares = share_by_token(similarities, torch.tensor([[2, 2, 0], [1, 1, 1]]), V, 0.2)
    assert shares[0, 2] == pytest.approx(1) == float(shares[0].sum()) and (shares[1] == 0).all()


def test_the_weight_is_the_best_of_a_grid() -> None:
    generator = torch.Generator().manual_seed(2)
    p_knn_N, p_decoder_N = torch.rand(200, generator=generator), torch.rand(200, generator=generator)
    grid = torch.linspace(0, 1, 2001)
    likelihoods = (grid[:, None] * p_knn_N + (1 - grid[:, None]) * p_decoder_N).log().sum(1)
    assert best_weight(p_knn_N, p_decoder_N) == pytest.approx(float(grid[likelihoods.argmax()]), abs=2e-3)
    assert best_weight(torch.ones(5), torch.full((5,), 0.1)) > 0.999
    assert best_weight(torch.zeros(5), torch.full((5,), 0.1)) < 1e-6
    assert best_weight(torch.zeros(0), torch.zeros(0)) == 0


def test_near_neighbours_get_the_larger_weight_where_they_are_the_better_ones() -> None:
    similarities = torch.cat([torch.full((50, 2), 0.95), torch.full((50, 2), 0.3)])
    is_true = torch.cat([torch.ones(50, 2), torch.zeros(50, 2)]).bool()
    fitted = fit_interpolation(torch.full((100,), 0.5), similarities, is_true, buckets=2)
    assert fitted.weights[0] < 0.01 and fitted.weights[1] > 0.99 and 0.3 < fitted.edges[0] <= 0.95
    found = fitted.weights_of(torch.tensor([0.2, 0.99, -torch.inf]))
    torch.testing.assert_close(found, torch.tensor([*fitted.weights, 0.0]))
    one = fit_interpolation(torch.full((100,), 0.5), similarities, is_true, buckets=1)
    assert one.edges == () and one.weights[0] < 0.02  # log(1/2 + w/2) + log(1/2 - w/2) is largest at w = 0


def test_the_temperature_is_chosen_too() -> None:
    """The nearest is right and four others that stand close are wrong: only a low temperature tells them apart."""
    similarities = torch.tensor([[0.9, 0.8, 0.8, 0.8]]).repeat(40, 1)
    is_true = torch.tensor([[True, False, False, False]]).repeat(40, 1)
    assert fit_interpolation(torch.full((40,), 0.1), similarities, is_true, buckets=1).temperature == 0.01


def test_what_neighbours_say_is_distilled() -> None:
    model, (states_ND, tokens_N) = decoder(), stored(num=12)
    generator = torch.Generator().manual_seed(0)
    ffn = DenseConfig(width=64).build(D, D, generator=generator)
    distilled = DistilledNeighbours(model, ffn)
    tokens_NK = torch.stack([tokens_N, (tokens_N + 1) % V], dim=1)
    shares_NK = torch.tensor([[0.75, 0.25]]).repeat(12, 1)
    module = DistillationModule(
        ffn, model.read_out, states_ND, shares_NK, tokens_NK, steps=1500, learning_rate=1e-2, batch_size=12,
        generator=generator,
    )  # fmt: skip
    take_steps(module)
    with torch.no_grad():
        found_NV = distilled.shares(states_ND)
        assert (found_NV.gather(1, tokens_NK) - shares_NK).abs().mean() < 0.1
        hidden_BTD, _ = distilled.read(torch.tensor([[1, 2, 3]]))
        torch.testing.assert_close(distilled.logits(hidden_BTD), model.logits(hidden_BTD).log_softmax(-1))
        distilled.weight_1.fill_(1.0)
        torch.testing.assert_close(
            distilled.logits(hidden_BTD).exp(), distilled.shares(hidden_BTD.flatten(0, 1)).view(1, 3, V)
        )
