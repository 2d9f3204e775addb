"""Published numbers beside ours: what passes, what is run and kept, and the tables that numbers are measured on."""

import csv
import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
import yaml

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retrieval.errors import UserError
from retromem import cli
from retromem.configuration import build, read_config
from retromem.panels.panel_config import PanelConfig
from retromem.panels.points import Point
from retromem.panels.published.ffn_capacity import stored_facts
from retromem.panels.published.free_embedding_documents import FreeEmbeddingDocumentsConfig
from retromem.panels.published.hopfield_load import stable_share
from retromem.panels.published.line_regions import LineRegionsConfig
from retromem.panels.published.published_panel import OURS, Published, PublishedPanel
from retromem.panels.published.static_function_overhead import StaticFunctionOverheadConfig
from retromem.panels.published.two_token_keys import pair_table
from retromem.panels.published.willshaw_load import WillshawLoadConfig, false_units_fired, random_patterns
from retromem.run.experiment import ExperimentConfig
from retromem.run.reproduction import reproduction
from retromem.theory.limit_cubic import critical_documents
from retromem.theory.willshaw_capacity import (
    WILLSHAW_ONES_PER_SYNAPSE,
    bits_a_synapse,
    false_unit_share,
    false_units,
    most_patterns,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
REPO = Path(__file__).parents[3]
SHIPPED = REPO / "configs" / "reproduce.yaml"


def regions(**published: float) -> LineRegionsConfig:
    return LineRegionsConfig(published=Published(source="Somebody 2020", **{"value": 2.0, **published}))  # type: ignore[arg-type]


def points(*ours: float) -> list[Point]:
    return [Point(quantity=OURS, series="x", y=y, seed=seed) for seed, y in enumerate(ours)]


def shipped() -> dict[str, PublishedPanel]:
    panels = build(ExperimentConfig, read_config(SHIPPED), source=str(SHIPPED)).panels
    return {name: panel for name, panel in panels.items() if isinstance(panel, PublishedPanel)}


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
def test_a_row_passes_within_its_band(ours: float, band: tuple[float, float], passes: bool) -> None:
    low, high = band
    panel = regions(low=low, high=high) if math.isfinite(high) else regions(low=low)
    row = panel.row(points(ours))
    assert row.passes is passes
    assert (row.low, row.high) == band
    assert row.ratio == pytest.approx(ours / 2, nan_ok=True)


def test_ours_is_the_mean_of_the_seeds_and_none_where_one_is_missing() -> None:
    panel = regions(within=0.1)
    assert panel.row(points(1.0, 2.0, 6.0)).ours == 3.0
    row = panel.row(points(1.0, 2.0), seconds=7.0, reason="The worker process was killed.")
    assert (row.ours, row.ratio, row.passes, row.seconds) == (None, None, False, 7.0)
    assert row.reason == "The worker process was killed."
    assert "no number regions per neuron against 2 published" in panel.page([]).answer


def test_a_published_zero_has_no_ratio() -> None:
    row = regions(value=0.0, high=0.003).row(points(0.001))
    assert (row.ratio, row.passes, row.low) == (None, True, -math.inf)


def test_a_band_must_hold_its_number() -> None:
    for given, message in (
        ({"low": 2.1}, "its band, 2.1 to inf, does not hold its number, 2"),
        ({"high": 1.9}, "its band, -inf to 1.9, does not hold"),
        ({}, "give within, or low and high"),
        ({"within": 0.1, "low": 1.0}, "give within, or low and high"),
    ):
        with pytest.raises(ValueError, match=message):
            regions(**given)


def test_a_search_must_be_four_times_finer_than_the_band() -> None:
    coarse = Published(source="Somebody 2020", value=0.69, within=0.009)
    with pytest.raises(ValueError, match=r"resolution must be a quarter of the tolerance or less, 0\.0022"):
        WillshawLoadConfig(published=coarse)


def test_the_numbers_that_formulas_give_stand_in_the_config_as_they_give_them() -> None:
    panels = shipped()
    ones, bits, documents = (panels[name] for name in ("willshaw_ones", "willshaw_bits", "weller_8"))
    assert isinstance(ones, WillshawLoadConfig) and isinstance(documents, FreeEmbeddingDocumentsConfig)
    pattern = (ones.active, ones.units)
    expected = most_patterns(1.0, pattern, pattern)
    assert ones.published.value == pytest.approx(WILLSHAW_ONES_PER_SYNAPSE, rel=1e-12)
    assert ones.published.low == pytest.approx(expected * ones.active**2 / ones.units**2 * 0.99, rel=1e-12)
    assert bits.published.value == pytest.approx(
        bits_a_synapse(expected, false_unit_share(expected, pattern, pattern), ones.units, pattern), rel=1e-12
    )
    assert documents.published.value == pytest.approx(critical_documents(documents.dim), abs=0.05)


def test_what_is_measured_does_not_hang_on_the_published_number() -> None:
    """It is no part of a result's identity: a result would outlive the number that it was searched around."""
    files = sorted((REPO / "retromem" / "panels" / "published").glob("*.py"))
    reading = [file.name for file in files if "self.published" in file.read_text()]
    assert len(files) > 15 and reading == ["published_panel.py"]


def test_every_number_of_the_project_says_what_it_is() -> None:
    rows = [panel.row([]) for panel in shipped().values()]
    assert len({(row.source, row.setting) for row in rows}) == len(rows) > 35
    assert all(row.source and row.setting and row.unit for row in rows)


# ---- which are run -------------------------------------------------------------------------------------------------


def test_full_holds_the_quick_ones_too() -> None:
    quick, full = (reproduction(tier=tier, path=SHIPPED).panels for tier in ("quick", "full"))
    assert set(quick) < set(full)
    assert set(full) - set(quick) == {
        "two_token_trained_64",
        "two_token_trained_128",
        "two_token_constructed_128",
        "weller_8",
    }
    assert "limit_small_words" not in full, "its files are not ours to ship"
    with pytest.raises(UserError, match="TIER=slow: is no tier; name one of quick, full"):
        reproduction(tier="slow", path=SHIPPED)


def test_words_choose_among_sources_and_settings() -> None:
    assert set(reproduction(only="hopfield", path=SHIPPED).panels) == {"hopfield_amit", "hopfield_one_step"}
    assert set(reproduction(only="SIGMA90 of the trained", path=SHIPPED).panels) == {"two_token_trained_noise"}
    with pytest.raises(UserError, match=r"ONLY=d = 9: is in no source .*TIER=full has more.*; sources are Nichani"):
        reproduction(only="d = 9", path=SHIPPED)


def test_files_that_are_not_there_are_said_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corpus\.jsonl"):
        reproduction(limit_small_folder=tmp_path, path=SHIPPED)


# ---- what is written and kept --------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with three numbers to reproduce, one of which is out of its band."""
    monkeypatch.chdir(tmp_path)
    curve = {"panel": "moment_curve_sets", "published": {"source": "Anybody <b> 1999", "value": 15.0, "within": 0.01}}
    panels = {
        "right": {**curve, "documents": 6},
        "wrong": {**curve, "documents": 7},
        "lines": {
            "panel": "line_regions",
            "published": {"source": "Hanin", "value": 1.0, "low": 0.5, "high": 2.0},
            "networks": 8,
            "seeds": [0, 1],
        },
    }
    (tmp_path / "configs").mkdir()
    content = {"title": "Again", "question": "Same?", "panels": panels}
    (tmp_path / "configs" / "reproduce.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path


def run(*arguments: str) -> int | str | None:
    try:
        cli.main(["reproduce", *arguments])
    except SystemExit as ending:
        return ending.code
    return 0


def test_a_number_out_of_its_band_is_status_1_and_the_first_thing_the_page_says(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 1
    told = capsys.readouterr().out
    assert "4 of 4 cells run" in told and told.endswith("2 of 3 published numbers reproduced\n")
    assert "FAILS: Anybody <b> 1999, moment curve, d = 4, k = 2, 7 documents in float64" in told
    assert "21 against 15 pairs" in told
    folder = place / "reports" / "reproduce"
    with (folder / "published.csv").open() as lines:
        table = list(csv.DictReader(lines))
    assert list(table[0])[:6] == ["source", "setting", "published", "ours", "ratio", "passes"]
    assert [(line["ours"], line["passes"]) for line in table[:2]] == [("15", "true"), ("21", "false")]
    assert float(table[1]["ratio"]) == pytest.approx(1.4)
    assert table[2]["passes"] == "true"
    page = (folder / "index.html").read_text()
    assert "2 of 3 published numbers are reproduced." in page and "Anybody &lt;b&gt; 1999" in page
    assert "1 of 3 numbers are out of their bands." in (folder / "report.md").read_text()
    assert not (folder / "results.csv").exists()


def test_what_is_measured_is_kept_and_a_band_is_no_part_of_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 1
    config = place / "configs" / "reproduce.yaml"
    content = yaml.safe_load(config.read_text())
    content["panels"]["wrong"]["published"] = {"source": "Anybody <b> 1999", "value": 21.0, "within": 0.01}
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    (interrupted,) = (place / "runs" / "reproduce" / "cells").glob("lines-s1-*/result.json")
    interrupted.unlink()
    capsys.readouterr()
    assert run() == 0
    told = capsys.readouterr().out
    assert "1 of 4 cells run" in told and told.endswith("3 of 3 published numbers reproduced\n")
    assert run("--force") == 0
    assert "4 of 4 cells run" in capsys.readouterr().out


def test_a_part_of_the_table_leaves_the_whole_one_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--only", "HANIN") == 0
    assert "1 of 1 published numbers reproduced" in capsys.readouterr().out
    assert (place / "reports" / "reproduce-part" / "published.csv").exists()
    assert not (place / "reports" / "reproduce").exists()


# ---- what is measured ----------------------------------------------------------------------------------------------


def measured(panel: PanelConfig, seed: int = 0) -> float:
    (point,) = panel.measure(seed, lambda knowledge: knowledge)
    return point.y


def test_two_token_keys_are_distinct_pairs_with_balanced_labels() -> None:
    table = pair_table(8, 200)
    keys = table.keys_ND.numpy()
    assert keys.shape == (200, 32)
    assert (keys[:, :16].sum(1) == 1).all() and (keys[:, 16:].sum(1) == 1).all()
    assert len(np.unique(keys, axis=0)) == 200
    assert np.bincount(table.value_ids_N.numpy()).tolist() == [25] * 8
    assert torch.equal(pair_table(8, 100).keys_ND, table.keys_ND[:100])
    assert DenseConfig(kind="relu", width=8).num_params(32, 8) == 5 * 8**2


@pytest.mark.slow
def test_the_better_budget_counts() -> None:
    idle, busy = TrainingBudget(steps=1, learning_rate=1e-9), TrainingBudget(steps=600, learning_rate=0.03)
    config = DenseConfig(kind="relu", width=8)

    def stored(*budgets: TrainingBudget) -> int:
        return stored_facts(config, 16, 16, 1.0, seed=0, budgets=budgets, resolution=0.01)

    assert stored(idle, busy) == stored(busy) > 0
    assert stored(idle) == 0


def test_hebbs_rule_keeps_the_share_of_bits_that_its_noise_leaves() -> None:
    patterns = torch.from_numpy(np.random.default_rng(0).choice(np.array([-1.0, 1.0], dtype=np.float32), (60, 400)))
    expected = NormalDist().cdf(1 / math.sqrt((60 - 1) / (400 - 1)))
    assert stable_share(patterns) == pytest.approx(expected, abs=0.002)
    assert stable_share(patterns[:1]) == 1.0


def test_a_ribbon_stays_below_its_published_overhead() -> None:
    published = Published(source="Dillinger and Walzer 2021", value=0.1, low=0.0, high=0.1)
    assert 0 < measured(StaticFunctionOverheadConfig(keys=4096, published=published)) < 0.05


def test_patterns_have_so_many_units_all_sets_alike() -> None:
    patterns = random_patterns(20_000, 6, 3, torch.Generator().manual_seed(0))
    sets, counts = np.unique(np.sort(patterns.numpy(), axis=1), axis=0, return_counts=True)
    assert len(sets) == math.comb(6, 3) and (np.diff(sets, axis=1) > 0).all()
    assert np.abs(counts - 1000).max() < 5 * math.sqrt(1000)


def test_as_many_false_units_fire_as_are_expected() -> None:
    pattern = 9, 512
    num = most_patterns(1.0, pattern, pattern)
    generator = torch.Generator().manual_seed(0)
    cues, targets = (random_patterns(num, 512, 9, generator) for _ in range(2))
    assert false_units_fired(cues, targets, 512, num) == pytest.approx(false_units(num, pattern, pattern), abs=0.1)
    assert false_units_fired(cues[:20], targets[:20], 512, 20) == 0.0
