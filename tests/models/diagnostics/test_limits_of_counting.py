"""Regions, ranks and purity at the limits below which nothing is counted, and exact small examples."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.diagnostics.activation_patterns import ActivationPatterns, mean_positive_activations, read_patterns
from models.diagnostics.active_purity import ActivePurity, active_purity
from models.diagnostics.key_value_neurons import Triggers, top_triggers
from models.diagnostics.linear_regions import (
    ReLULayer,
    _cut,
    he_normal_stack,
    regions_in_polygon,
    regions_on_segment,
    regions_per_neuron,
)
from models.diagnostics.matrix_rank import activation_ranks, ranks_of_singular_values, truncated

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def changing_at(*positions, constant=None):
    """Units of the first coordinate that change at these positions, and one that is constant."""
    weights, biases = [1.0] * len(positions), [-position for position in positions]
    if constant is not None:
        weights, biases = [*weights, 0.0], [*biases, constant]
    return ReLULayer(w_DF=np.array([weights, [0.0] * len(weights)]), b_F=np.array(biases))


@pytest.mark.parametrize(
    ("layer", "regions"),
    [
        # relative to the largest pre-activation, here about 1
        (changing_at(1.5e-11), 2),
        (changing_at(0.5e-11), 1),
        (changing_at(1 - 1.5e-11), 2),
        (changing_at(1 - 0.5e-11), 1),
        # here 10
        (changing_at(5e-11, constant=10.0), 1),
        (changing_at(5e-11, constant=-10.0), 1),
        (changing_at(15e-11, constant=-10.0), 2),
        (changing_at(1 - 5e-11, constant=10.0), 1),
        (changing_at(0.5, -0.1, 1.1), 2),
        (changing_at(0.25, 0.5, 0.75), 4),
        (changing_at(0.0, 1.0), 1),
    ],
)
def test_a_region_that_is_thinner_than_the_tolerance_is_not_counted(layer, regions):
    assert regions_on_segment([layer], np.zeros(2), np.array([1.0, 0.3])) == regions
    assert regions_in_polygon([layer], SQUARE) == regions
    assert regions_in_polygon([layer], SQUARE[::-1].copy()) == regions


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_corner_at_the_tolerance_itself_lies_on_the_boundary(sign):
    """Beside a unit that is -1 everywhere the tolerance is 1e-11 exactly."""
    for end, regions in ((1e-11, 1), (1.01e-11, 2)):
        layer = ReLULayer(w_DF=np.array([[-0.5 * sign, 0.0], [0.0, 0.0]]), b_F=np.array([sign * end, -1.0]))
        assert regions_on_segment([layer], np.zeros(2), np.array([1.0, 0.0])) == regions
        assert regions_in_polygon([layer], SQUARE) == regions


def test_units_that_change_in_almost_one_point_part_two_pieces_or_three():
    for apart, regions in ((0.5e-11, 2), (2e-11, 3)):
        assert regions_on_segment([changing_at(0.4, 0.4 + apart)], np.zeros(2), np.array([1.0, 0.0])) == regions


def test_a_second_layer_cuts_only_where_the_first_lets_it():
    """relu(x - .5) is what the second layer sees: its unit changes at x = .75, and a second one at no x."""
    first = changing_at(0.5)
    second = ReLULayer(w_DF=np.array([[1.0, 1.0]]), b_F=np.array([-0.25, 0.25]))
    assert regions_on_segment([first, second], np.zeros(2), np.array([1.0, 0.0])) == 3
    assert regions_in_polygon([first, second], SQUARE) == 3
    third = ReLULayer(w_DF=np.array([[1.0], [-1.0]]), b_F=np.array([0.375]))  # changes at x = .625
    assert regions_on_segment([first, second, third], np.zeros(2), np.array([1.0, 0.0])) == 4
    assert regions_in_polygon([first, second, third], SQUARE) == 4
    # the same from the other end, and of a stretch of it
    assert regions_on_segment([first, second, third], np.array([1.0, 0.0]), np.zeros(2)) == 4
    assert regions_on_segment([first, second, third], np.array([0.55, 0.0]), np.array([0.7, 0.0])) == 2


def test_a_piece_is_cut_into_what_is_active_and_the_rest():
    """The first unit changes between the left and the right corners of a square, the second is carried along."""
    z = np.array([[-1.0, 0.0], [3.0, 1.0], [3.0, 2.0], [-1.0, 4.0]])
    active, rest = _cut(z, 0, 1e-9)
    assert active.tolist() == [[0.0, 0.25], [3.0, 1.0], [3.0, 2.0], [0.0, 3.5]]
    assert rest.tolist() == [[-1.0, 0.0], [0.0, 0.25], [0.0, 3.5], [-1.0, 4.0]]
    # Corners within the tolerance belong to both.
    z = np.array([[0.5, 1.0], [2.0, 5.0], [-0.5, 7.0], [-2.0, 9.0]])
    active, rest = _cut(z, 0, 0.5)
    assert active.tolist() == [[0.5, 1.0], [2.0, 5.0], [-0.5, 7.0]]
    assert rest.tolist() == [[0.5, 1.0], [-0.5, 7.0], [-2.0, 9.0]]


def test_stacks_are_drawn_layer_by_layer_weights_first():
    layers, rng = he_normal_stack(3, 4, 3, rng=np.random.default_rng(9)), np.random.default_rng(9)
    for layer, fan_in in zip(layers, (3, 4, 4), strict=True):
        assert layer.w_DF.tolist() == pytest.approx(rng.standard_normal((fan_in, 4)) * (2 / fan_in) ** 0.5)
        assert layer.b_F.tolist() == pytest.approx(rng.standard_normal(4) * 1e-3)


def test_regions_of_a_neuron_are_a_mean_over_stacks_and_neurons():
    rng, counts = np.random.default_rng(4), []
    for _ in range(3):
        layers = he_normal_stack(5, 7, 2, rng=rng)
        x = rng.normal(size=5)
        counts.append(regions_on_segment(layers, -x, x))
    assert len(set(counts)) > 1
    assert regions_per_neuron(7, 2, num_stacks=3, dim_in=5, seed=4) == pytest.approx(sum(counts) / 3 / 14)


def test_directions_count_from_so_small_a_share_of_all_activations_on():
    """Two facts, 1 in the first unit and +-d in the second: a singular value of sqrt 2 d, of sqrt 2 in all."""
    for deviation, counts in ((0.95e-13, 0), (1.05e-13, 1)):
        h = torch.tensor([[1.0, deviation], [1.0, -deviation]], dtype=torch.float64)
        for blocks in ([h], h.split(1)):
            ranks = activation_ranks(blocks)
            assert (
                float(ranks.effective),
                float(ranks.stable),
                float(ranks.participation_ratio),
                int(ranks.energy),
            ) == ((counts,) * 4 if counts == 0 else (pytest.approx(1.0),) * 3 + (1,))


def test_four_ranks_of_four_singular_values():
    """6, 3, 2, 1: p = 1/2, 1/4, 1/6, 1/12; squares 36, 9, 4, 1 of 50, of which 45 are nine tenths."""
    ranks = ranks_of_singular_values(torch.tensor([[6.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]]))
    assert ranks.effective.tolist() == pytest.approx([2**0.5 * 4**0.25 * 6 ** (1 / 6) * 12 ** (1 / 12), 0.0])
    assert ranks.stable.tolist() == pytest.approx([50 / 36, 0.0])
    assert ranks.participation_ratio.tolist() == pytest.approx([2500 / (36**2 + 81 + 16 + 1), 0.0])
    assert ranks.energy.tolist() == [2, 0]


def test_truncation_of_a_diagonal_keeps_its_largest_entries():
    a = torch.diag(torch.tensor([5.0, -3.0, 2.0, 7.0]))
    assert truncated(a, 2).diagonal().tolist() == pytest.approx([5.0, 0.0, 0.0, 7.0], abs=1e-6)
    both = truncated(torch.stack([a, 2 * a]), torch.tensor([1, 3]))
    assert both[0].diagonal().tolist() == pytest.approx([0.0, 0.0, 0.0, 7.0], abs=1e-6)
    assert both[1].diagonal().tolist() == pytest.approx([10.0, -6.0, 0.0, 14.0], abs=1e-5)


def test_units_stand_out_at_a_probability_of_one_in_twenty():
    """Of 39 permutations one may be as pure, (1 + 1) / 40, and no second."""
    purity = torch.tensor([0.8, 0.8, 0.8, torch.nan, 0.5])
    null = torch.full((39, 5), 0.25)
    null[:1, 0] = 0.8  # as pure counts
    null[:2, 1] = 0.9
    null[:, 4] = 0.75
    found = ActivePurity(active_facts_L=torch.tensor([9, 5, 1, 0, 7]), purity_L=purity, null_PL=null)
    assert found.live_L.tolist() == [True, True, True, False, True]
    assert found.share_above_null == 2 / 4  # the first and the third
    assert found.mean.observed == pytest.approx((3 * 0.8 + 0.5) / 4)
    expected = [(0.8 + 0.9 + 0.25 + 0.75) / 4, (0.25 + 0.9 + 0.25 + 0.75) / 4, *[(3 * 0.25 + 0.75) / 4] * 37]
    assert found.mean.null_P.tolist() == pytest.approx(expected)
    for permutations, share in ((19, 1.0), (18, 0.0)):
        few = ActivePurity(
            active_facts_L=torch.tensor([3]), purity_L=torch.tensor([0.9]), null_PL=torch.full((permutations, 1), 0.3)
        )
        assert few.share_above_null == share


@pytest.mark.parametrize("weighted", [False, True])
def test_purity_and_its_null_are_those_of_the_permutations_drawn(weighted):
    activations = torch.tensor([[2.0, -1.0, 0.5], [1.0, 0.0, 4.0], [4.0, 3.0, 0.0], [0.0, 1.0, 1.0], [3.0, -2.0, -0.5]])
    labels = torch.tensor([0, 2, 2, 0, 3])
    found = active_purity(
        activations, labels, weighted=weighted, permutations=4, generator=torch.Generator().manual_seed(2)
    )

    def shares(dealt):
        of_units = []
        for unit in activations.T.tolist():
            weights = [max(a, 0) if weighted else float(a > 0) for a in unit]
            by_label = [sum(w for w, label in zip(weights, dealt, strict=True) if label == v) for v in range(4)]
            of_units.append(max(by_label) / sum(weights))
        return pytest.approx(of_units)

    assert found.active_facts_L.tolist() == [4, 2, 3]
    unasked = active_purity(activations, labels, permutations=4, generator=torch.Generator().manual_seed(2))
    assert torch.equal(unasked.null_PL, found.null_PL) == (not weighted)  # each fact once
    assert found.purity_L.tolist() == shares(labels.tolist())
    draw = torch.Generator().manual_seed(2)
    for row in found.null_PL.tolist():
        assert row == shares(labels[torch.randperm(5, generator=draw)].tolist())
    assert len(found.null_PL) == 4


@settings(max_examples=20)
@given(seed=st.integers(0, 999), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), kept=st.integers(1, 7))
def test_triggers_of_blocks_of_any_size_are_those_of_the_whole(seed, sizes, kept):
    h = torch.randn(sum(sizes), 3, generator=torch.Generator().manual_seed(seed))
    found, whole = (top_triggers(blocks, num_triggers=kept) for blocks in (h.split(sizes), [h]))
    assert isinstance(found, Triggers)
    assert torch.equal(found.activations_FK, whole.activations_FK)
    assert torch.equal(found.fact_ids_FK, whole.fact_ids_FK)
    assert found.fact_ids_FK.shape == (3, min(kept, sum(sizes)))


def test_patterns_of_a_few_facts_counted_by_hand():
    h = torch.tensor([[1.0, 0.0, -1.0], [2.0, -3.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 5.0], [1.0, 2.0, 3.0]])
    patterns = read_patterns(iter([h[:2], h[2:]]))
    assert isinstance(patterns, ActivationPatterns)
    assert (patterns.num_distinct, patterns.num_alone) == (3, 1)
    assert patterns.active_facts_F.tolist() == [4, 2, 3]
    assert patterns.active_share == pytest.approx(9 / 15)
    assert patterns.seen(read_patterns([torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])])).tolist() == [True, False]


def test_positive_means_of_units_that_are_active_for_none_one_and_three_facts():
    h = torch.tensor([[-1.0, 0.0, 2.0], [-3.0, 7.0, 3.0], [0.0, -4.0, 7.0], [-2.0, -6.0, -9.0]])
    for blocks in ([h], [h[:1], h[1:]]):
        assert mean_positive_activations(iter(blocks)).tolist() == [0.0, 7.0, 4.0]
