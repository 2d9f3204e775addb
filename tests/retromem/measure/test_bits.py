"""The estimators against closed forms, brute force and the laws of the currency."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retromem.knowledge.cities import cities, city_timezones
from retromem.measure import bits


def fit(log_probs_QC, true_Q, prior_Q, num_facts):
    fitted = bits.CalibrationFit(num_facts=num_facts)
    for _ in range(fitted.num_passes):
        fitted.add(log_probs_QC, true_Q, prior_Q)
        fitted.end_pass()
    return fitted.result


def test_multinomial_counts_the_arrangements():
    values = "aabbbc"
    arrangements = len(set(itertools.permutations(values)))
    assert bits.log2_multinomial([2, 3, 1]) == pytest.approx(math.log2(arrangements))
    assert bits.log2_binomial(10.0, 3.0) == pytest.approx(math.log2(math.comb(10, 3)))


def test_demand_by_hand():
    assert bits.demand_uniform([3, 2], [16, 4]) == pytest.approx(3 * 4 + 2 * 2)
    relation_ids = np.array([0, 0, 0, 1, 1])
    value_ids = np.array([0, 0, 1, 5, 6])
    assert bits.demand_of_values(relation_ids, value_ids) == pytest.approx(math.log2(3) + math.log2(2))


def test_a_relation_that_follows_from_another_adds_nothing():
    country = np.array([0, 0, 1, 1, 2, 2])
    continent = np.array([7, 7, 7, 7, 8, 8])
    assert bits.demand_of_values(country, continent) == 0.0
    assert bits.demand_of_values(np.zeros(6, dtype=np.int64), continent) > 0


def test_three_facts_by_hand():
    # Three facts, four values drawn uniformly: two answered with probability 1, one with the wrong value.
    log2_p = bits.log2_calibrated(np.array([1.0, 1.0, 0.0]), np.full(3, 0.25), epsilon=0.5)
    assert log2_p == pytest.approx([math.log2(0.625), math.log2(0.625), math.log2(0.125)])
    assert bits.bits_ce(6.0, log2_p, 3) == pytest.approx(6 + 2 * math.log2(0.625) - 3)
    expected = 6 - math.log2(3) - math.log2(3) - math.log2(4)
    assert bits.bits_argmax(6.0, [True, True, False], np.full(3, 4), 3) == pytest.approx(expected)


def test_asking_half_of_the_facts_scales_to_all():
    log2_p = np.array([-0.5, -1.5])
    assert bits.bits_ce(10.0, log2_p, 4) == pytest.approx(10 - 2.0 * 2)
    # Of two values each: half a bit for the first, none for the second.
    assert bits.bits_ce_clipped(log2_p, np.ones(2), 4) == pytest.approx((0.5 + 0) * 2)
    right = np.array([True, False])
    expected = 40 - bits.log2_binomial(4.0, 2.0) - 2 * math.log2(15) - math.log2(5)
    assert bits.bits_argmax(40.0, right, np.full(2, 16), 4) == pytest.approx(expected)


@pytest.mark.parametrize("num_values", [2, 16, 300])
def test_a_guesser_recalls_nothing_though_per_fact_clipping_pays_it(num_values):
    rng = np.random.default_rng(0)
    truth = rng.integers(num_values, size=5000)
    log_probs = np.log(rng.dirichlet(np.ones(num_values), size=5000))
    prior = np.full(5000, 1 / num_values)
    calibration = fit(log_probs[:500], truth[:500], prior[:500], 5000)
    p = bits.true_probability(log_probs, truth, np.array([calibration.temperature]))[:, 0]
    log2_p = bits.log2_calibrated(p, prior, calibration.epsilon)
    demand = 5000 * math.log2(num_values)
    assert bits.bits_ce(demand, log2_p, 5000) <= 40
    assert bits.bits_argmax(demand, log_probs.argmax(1) == truth, np.full(5000, num_values), 5000) <= 40
    overconfident = np.log2(bits.true_probability(log_probs, truth, np.ones(1))[:, 0] + 1e-9)
    assert bits.bits_ce_clipped(overconfident, np.full(5000, math.log2(num_values)), 5000) > 40


def test_a_frequency_guesser_recalls_nothing_on_skewed_values():
    rng = np.random.default_rng(1)
    truth = rng.choice(50, size=4000, p=rng.dirichlet(np.full(50, 0.2)))
    counts = np.bincount(truth, minlength=50)
    prior = counts[truth] / 4000
    demand = bits.demand_of_values(np.zeros(4000, dtype=np.int64), truth)
    assert bits.bits_ce(demand, np.log2(prior), 4000) == 0.0


def test_fit_finds_the_best_pair_of_a_brute_force_grid():
    rng = np.random.default_rng(2)
    truth = rng.integers(8, size=400)
    logits = rng.normal(size=(400, 8))
    logits[np.arange(400), truth] += 2.0
    logits[:40] = rng.normal(size=(40, 8)) * 20  # confidently wrong
    log_probs = 3.0 * logits - np.log(np.exp(3.0 * logits).sum(1, keepdims=True))
    prior = np.full(400, 1 / 8)
    calibration = fit(log_probs, truth, prior, 400)

    def likelihood(temperature, epsilon):
        p = bits.true_probability(log_probs, truth, np.array([temperature]))[:, 0]
        return bits.log2_calibrated(p, prior, epsilon).mean()

    grid = itertools.product(np.geomspace(0.05, 50, 120), np.linspace(1 / 400, 1, 120))
    best = max(likelihood(t, e) for t, e in grid)
    assert likelihood(calibration.temperature, calibration.epsilon) >= best - 2e-3


def test_a_perfect_memory_is_smoothed_by_one_over_n_only():
    log_probs = np.full((100, 4), -np.inf)
    truth = np.arange(100) % 4
    log_probs[np.arange(100), truth] = 0.0
    calibration = fit(log_probs, truth, np.full(100, 0.25), 100)
    assert 0.01 <= calibration.epsilon <= 0.01 * (1 + 2**-10)
    assert calibration.temperature >= bits.MIN_TEMPERATURE


def test_epsilon_never_falls_below_the_smallest_normal_float16():
    log_probs = np.array([[0.0, -np.inf]])
    calibration = fit(log_probs, np.array([0]), np.array([0.5]), 10**7)
    assert calibration.epsilon == bits.MIN_EPSILON == 2.0**-14


def test_an_empty_answer_is_worth_the_prior():
    log_probs = np.full((10, 4), -np.inf)
    truth = np.zeros(10, dtype=np.int64)
    p = bits.true_probability(log_probs, truth, np.ones(1))[:, 0]
    assert (p == 0).all()
    calibration = fit(log_probs, truth, np.full(10, 0.25), 10)
    assert calibration.epsilon == 1.0
    assert bits.bits_ce(20.0, bits.log2_calibrated(p, np.full(10, 0.25), 1.0), 10) == 0.0


def test_calibration_is_four_bytes_and_comes_back():
    calibration = bits.Calibration(temperature=0.5, epsilon=2**-10)
    assert len(calibration.to_bytes()) == bits.Calibration.num_bytes == 4
    assert bits.Calibration.from_bytes(calibration.to_bytes()) == calibration


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6), num_facts=st.integers(1, 60), num_values=st.integers(2, 9), sharp=st.floats(0.01, 30)
)
def test_laws_bits_lie_between_zero_and_demand(seed, num_facts, num_values, sharp):
    rng = np.random.default_rng(seed)
    truth = rng.integers(num_values, size=num_facts)
    logits = sharp * rng.normal(size=(num_facts, num_values))
    log_probs = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    log_probs -= logits.max(1, keepdims=True)
    prior = np.full(num_facts, 1 / num_values)
    calibration = fit(log_probs, truth, prior, num_facts)
    p = bits.true_probability(log_probs, truth, np.array([calibration.temperature]))[:, 0]
    assert (p <= 1 + 1e-9).all()
    demand = num_facts * math.log2(num_values)
    ce = bits.bits_ce(demand, bits.log2_calibrated(p, prior, calibration.epsilon), num_facts)
    argmax = bits.bits_argmax(demand, log_probs.argmax(1) == truth, np.full(num_facts, num_values), num_facts)
    assert 0 <= ce <= demand + 1e-9
    assert 0 <= argmax <= demand + 1e-9


def test_saying_nothing_is_worth_nothing():
    rng = np.random.default_rng(0)
    for num_values in (2, 4, 16):
        silent = np.zeros(2000, dtype=bool)
        worth = bits.bits_argmax(
            2000 * math.log2(num_values), silent, np.full(2000, num_values), 2000, answered_Q=silent
        )
        assert worth == 0.0
        guesses, truth = rng.integers(num_values, size=(2, 2000))
        worth = bits.bits_argmax(2000 * math.log2(num_values), guesses == truth, np.full(2000, num_values), 2000)
        assert worth <= 40


def test_the_estimators_need_numpy_alone():
    code = (
        "import sys\n"
        "class Only:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('jaxtyping', 'torch', 'faiss', 'scipy', 'retrieval', 'models', 'pandas'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Only())\n"
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('bits', {bits.__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['bits'] = module\n"
        "spec.loader.exec_module(module)\n"
        "assert module.bits_ce(8.0, module.np.zeros(2), 2) == 8.0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_country_and_time_zone_are_not_added_as_if_independent():
    by_city = {}
    for table in (cities(), city_timezones()):
        for subject, value in zip(table.subjects, table.values, strict=True):
            by_city.setdefault(subject, []).append(value)
    both = [values for values in by_city.values() if len(values) == 2]
    country, zone = (np.unique([values[place] for values in both], return_inverse=True)[1] for place in (0, 1))
    alone = [
        bits.demand_of_values(np.zeros(len(both), dtype=np.int64), values) / len(both) for values in (country, zone)
    ]
    chained = alone[0] + bits.demand_of_values(country, zone) / len(both)
    assert sum(alone) == pytest.approx(12.2, abs=0.15)
    assert chained == pytest.approx(6.4, abs=0.15)
