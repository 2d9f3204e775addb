"""Published numbers beside ours: what passes, what is written, and the tables that claims are measured on."""

import csv
import math
import os
from functools import partial
from statistics import NormalDist

import numpy as np
import pytest
import torch

from models.ffn_kinds import DenseConfig, LinearConfig
from models.training_budget import TrainingBudget
from retrieval.errors import UserError
from retromem import cli
from retromem.measure.trained_ffn import (
    KeyTable,
    accuracy,
    most_facts,
    perturbed_accuracy,
    random_table,
    rounded,
    train,
)
from retromem.reproduce import run_reproduction
from retromem.reproduce.claim import Claim, within
from retromem.reproduce.hopfield import stable_share
from retromem.reproduce.independent_trial import stored_facts
from retromem.reproduce.linsefors_bushnaq import pair_table
from retromem.reproduce.ribbon import space_overhead
from retromem.reproduce.run_reproduction import claims_of, measured, reproduce
from retromem.reproduce.willshaw import false_units_fired, random_patterns
from retromem.theory.willshaw_capacity import false_units, most_patterns

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


NEAR_TWO = partial(float, 2.1)


def claim(published=2.0, measure=NEAR_TWO, band=None, **other):
    band = band or within(published, 0.1)
    fields = {"source": "Somebody 2020", "setting": "a | setting", "unit": "bits", "seconds_expected": 1.0, **other}
    return Claim(published=published, band=band, measure=measure, **fields)


# ---- what passes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "band", "passes"),
    [
        (1.8, (1.8, 2.2), True),
        (2.2, (1.8, 2.2), True),
        (2.2001, (1.8, 2.2), False),
        (1.7999, (1.8, 2.2), False),
        (9e9, (1.8, math.inf), True),
        (math.inf, (1.8, math.inf), False),
        (math.nan, (1.8, math.inf), False),
    ],
)
def test_a_row_passes_within_its_band(ours, band, passes):
    row = measured(claim(measure=partial(float, ours), band=band))
    assert row.passes is passes
    assert row.ratio == pytest.approx(ours / 2, nan_ok=True)


def test_a_measurement_that_raises_is_a_row_that_fails_and_says_why():
    row = measured(claim(measure=partial(int, "many")))
    assert (row.ours, row.ratio, row.passes) == (None, None, False)
    assert "ValueError: invalid literal" in row.reason


def test_a_published_zero_has_no_ratio():
    row = measured(claim(published=0.0, measure=partial(float, 0.001), band=(-1.0, 0.003)))
    assert (row.ratio, row.passes) == (None, True)


@pytest.mark.parametrize("tier", ["quick", "full"])
def test_every_claim_holds_its_own_published_number(tier):
    claims = claims_of(tier)
    assert len({(claim.source, claim.setting) for claim in claims}) == len(claims) > 15
    for one in claims:
        assert one.band[0] <= one.published <= one.band[1]
        if one.resolution is not None:
            tolerance = min(one.published - one.band[0], one.band[1] - one.published) / one.published
            assert one.resolution <= tolerance / 4 + 1e-9, one.setting
    assert set(claims_of("quick")) <= set(claims)


def test_an_unknown_tier_is_refused():
    with pytest.raises(UserError, match="TIER=slow: is no tier; name one of quick, full"):
        claims_of("slow")


# ---- what is written -----------------------------------------------------------------------------------------------


def test_rows_come_in_order_from_processes_of_their_own(tmp_path):
    told = []
    claims = [
        claim(setting="first", measure=partial(float, 1.95)),
        claim(setting="second", measure=partial(math.sqrt, -1.0), source="Anybody <b> 1999", seconds_expected=9.0),
        claim(setting="process", published=float(os.getpid()), measure=os.getpid, band=(0.0, math.inf)),
    ]
    rows = reproduce(claims, tmp_path / "out", command="make it", num_workers=2, say=told.append)
    assert [row.setting for row in rows] == ["first", "second", "process"]
    assert [row.passes for row in rows] == [True, False, True]
    assert rows[2].ours != os.getpid()
    assert len(told) == 4 and any("FAILS: Anybody" in line for line in told)
    with (tmp_path / "out" / "results.csv").open() as lines:
        table = list(csv.DictReader(lines))
    assert list(table[0])[:6] == ["source", "setting", "published", "ours", "ratio", "passes"]
    assert [(line["ours"], line["ratio"], line["passes"]) for line in table[:2]] == [
        ("1.95", "0.975", "true"),
        ("", "", "false"),
    ]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "2 of 3 published numbers are reproduced." in page
    assert "math domain error" in page or "nonnegative" in page
    assert "Anybody &lt;b&gt; 1999" in page and "make it" in page
    assert "1 of 3 numbers are out of their bands." in (tmp_path / "out" / "report.md").read_text()


def test_a_killed_worker_costs_numbers_not_the_table(tmp_path):
    told = []
    claims = [claim(setting="killed", measure=partial(os._exit, 9))]
    (row,) = reproduce(claims, tmp_path / "out", command="make it", num_workers=1, say=told.append)
    assert (row.ours, row.passes) == (None, False) and "run the command again" in row.reason
    assert "worker process was killed" in told[-1]
    assert (tmp_path / "out" / "index.html").exists()


@pytest.mark.parametrize(("ours", "status"), [(2.0, None), (3.0, 1)])
def test_the_command_ends_with_1_where_a_number_is_out_of_its_band(ours, status, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_reproduction, "claims_of", lambda tier, limit_small: [claim(measure=partial(float, ours))])
    if status is None:
        cli.main(["reproduce"])
    else:
        with pytest.raises(SystemExit) as ending:
            cli.main(["reproduce"])
        assert ending.value.code == status
    told = capsys.readouterr().out
    assert f"{int(status is None)} of 1 published numbers reproduced; read reports/reproduce/index.html" in told
    assert (tmp_path / "reports" / "reproduce" / "results.csv").exists()


def test_a_part_of_the_table_leaves_the_whole_one_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    claims = [claim(setting=f"d = {dim}", measure=partial(float, 2.0)) for dim in (4, 8)]
    monkeypatch.setattr(run_reproduction, "claims_of", lambda tier, limit_small: claims)
    cli.main(["reproduce", "--only", "D = 8"])
    assert "1 of 1 published numbers reproduced; read reports/reproduce-part/index.html" in capsys.readouterr().out
    assert not (tmp_path / "reports" / "reproduce").exists()
    with pytest.raises(SystemExit) as ending:
        cli.main(["reproduce", "--only", "d = 9"])
    assert ending.value.code == 2
    assert (
        "ONLY=d = 9: is in no source or setting of this tier (TIER=full has more); sources are"
        in capsys.readouterr().err
    )


# ---- what is measured ----------------------------------------------------------------------------------------------


def test_two_token_keys_are_distinct_pairs_with_balanced_labels():
    table = pair_table(8, 200)
    keys = table.keys_ND.numpy()
    assert keys.shape == (200, 32)
    assert (keys[:, :16].sum(1) == 1).all() and (keys[:, 16:].sum(1) == 1).all()
    assert len(np.unique(keys, axis=0)) == 200
    assert np.bincount(table.value_ids_N.numpy()).tolist() == [25] * 8
    assert torch.equal(pair_table(8, 100).keys_ND, table.keys_ND[:100])
    assert DenseConfig(kind="relu", width=8).num_params(32, 8) == 5 * 8**2


def test_random_tables_have_unit_rows_and_a_value_a_key_where_asked():
    table = random_table(30, 8, None, seed=0)
    assert table.value_ids_N.tolist() == list(range(30))
    assert table.codes_VE.shape == (30, 8)
    for rows in (table.keys_ND, table.codes_VE):
        assert rows.norm(dim=1) == pytest.approx(torch.ones(len(rows)))
    assert random_table(30, 8, 5, seed=0).value_ids_N.max() < 5


def test_accuracy_noise_and_rounding_on_a_map_that_is_known():
    table = KeyTable(keys_ND=torch.eye(4), value_ids_N=torch.tensor([0, 1, 2, 0]), codes_VE=torch.eye(4))
    ffn = LinearConfig().build(4, 4, generator=torch.Generator())
    with torch.no_grad():
        ffn.w_DE.copy_(torch.eye(4))
    assert accuracy(ffn, table) == 0.75
    assert perturbed_accuracy(ffn, table, 0.0, trials=3, seed=0) == 0.75
    assert perturbed_accuracy(ffn, table, 50.0, trials=200, seed=0) == pytest.approx(0.25, abs=0.08)
    assert torch.equal(ffn.w_DE, torch.eye(4))
    weights = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ffn.w_DE.copy_(weights)
    assert torch.equal(rounded(ffn, "float16").w_DE, weights.half().float())


def test_training_is_what_stores():
    table = random_table(60, 8, 4, seed=0)
    config = DenseConfig(kind="relu", width=16)
    assert accuracy(train(config, table, TrainingBudget(steps=500), seed=0), table) == 1
    assert accuracy(train(config, table, TrainingBudget(steps=0), seed=0), table) < 0.6


def test_a_capacity_at_the_end_of_its_range_is_no_number():
    assert most_facts(lambda n: n <= 77, low=16, high=128, resolution=0.001) == 77
    with pytest.raises(RuntimeError, match="even 128 facts were stored"):
        most_facts(lambda n: True, low=16, high=128, resolution=0.01)


@pytest.mark.slow
def test_the_better_budget_counts():
    idle, busy = TrainingBudget(steps=1, learning_rate=1e-9), TrainingBudget(steps=600, learning_rate=0.03)
    config = DenseConfig(kind="relu", width=8)
    both = stored_facts(config, 1.0, seed=0, budgets=(idle, busy))
    assert both == stored_facts(config, 1.0, seed=0, budgets=(busy,)) > 0
    assert stored_facts(config, 1.0, seed=0, budgets=(idle,)) == 0


def test_hebbs_rule_keeps_the_share_of_bits_that_its_noise_leaves():
    patterns = torch.from_numpy(np.random.default_rng(0).choice(np.array([-1.0, 1.0], dtype=np.float32), (60, 400)))
    expected = NormalDist().cdf(1 / math.sqrt((60 - 1) / (400 - 1)))
    assert stable_share(patterns) == pytest.approx(expected, abs=0.002)
    assert stable_share(patterns[:1]) == 1.0


def test_a_ribbon_stays_below_its_published_overhead():
    assert 0 < space_overhead(4096) < 0.05


def test_patterns_have_so_many_units_all_sets_alike():
    patterns = random_patterns(20_000, 6, 3, torch.Generator().manual_seed(0))
    sets, counts = np.unique(np.sort(patterns.numpy(), axis=1), axis=0, return_counts=True)
    assert len(sets) == math.comb(6, 3) and (np.diff(sets, axis=1) > 0).all()
    assert np.abs(counts - 1000).max() < 5 * math.sqrt(1000)


def test_as_many_false_units_fire_as_are_expected():
    pattern = 9, 512
    num = most_patterns(1.0, pattern, pattern)
    generator = torch.Generator().manual_seed(0)
    cues, targets = (random_patterns(num, 512, 9, generator) for _ in range(2))
    assert false_units_fired(cues, targets, 512, num) == pytest.approx(false_units(num, pattern, pattern), abs=0.1)
    assert false_units_fired(cues[:20], targets[:20], 512, 20) == 0.0
