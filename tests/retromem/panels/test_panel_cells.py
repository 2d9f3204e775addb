"""A panel from its config to its page: cells a seed, points kept once, results reused."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from retrieval.errors import UserError
from retromem.configuration import build
from retromem.panels.point_spread import curve, lines_of, series_of, spread_at
from retromem.panels.points import Point, point_from_json, points_to_csv
from retromem.panels.theory.toy_features import ToyFeaturesConfig
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Chart, Panel, PanelPage
from retromem.run.experiment import ExperimentConfig
from retromem.run.report_run import report_run
from retromem.run.run_experiment import run_experiment

TINY = ToyFeaturesConfig(num_features=8, dim=3, steps=30, seeds=(0, 1))


def run(folder: Path, config: ExperimentConfig) -> tuple[Path, list[str]]:
    said: list[str] = []
    finished = run_experiment(
        config,
        name="tiny",
        command="make report",
        say=said.append,
        runs=folder / "runs",
        reports=folder / "reports",
        cache=folder / "cache",
        num_workers=2,
    )
    return finished.report, said


def experiment(**panels: ToyFeaturesConfig) -> ExperimentConfig:
    return ExperimentConfig(title="Tiny", question="Does it run?", panels=panels)


def read_points(report: Path) -> list[dict[str, str]]:
    with (report / "points.csv").open() as lines:
        return list(csv.DictReader(lines))


@pytest.mark.slow
def test_a_panel_alone_makes_a_page_and_its_points(tmp_path: Path) -> None:
    report, said = run(tmp_path, experiment(toy=TINY))
    assert "2 of 2 cells to run" in said[0]
    points = read_points(report)
    measured = [p for p in points if (p["quantity"], p["series"]) == ("dimensions_per_feature", "trained")]
    assert {p["seed"] for p in measured} == {"0", "1"} and len(measured) == 2 * 20
    # A formula is the same for every seed, and stands in the file once.
    assert len([p for p in points if p["series"] == "plateau 1/2"]) == 20
    page = (report / "index.html").read_text()
    assert page.count("Sparse features share dimensions") == 2  # on top and in its section: no list of one
    assert "What was found" not in page
    assert page.count("8 sparse features in 3 dimensions") == 1
    assert not (report / "results.csv").exists()
    assert (report / "figures" / "toy.png").stat().st_size > 10_000

    # One seed more: the others are not measured again. From the folder alone the report is the same.
    more = ToyFeaturesConfig(num_features=8, dim=3, steps=30, seeds=(0, 1, 2))
    _, said = run(tmp_path, experiment(toy=more))
    assert "1 of 3 cells to run" in said[0]
    before = (report / "index.html").read_bytes()
    report_run(tmp_path / "runs" / "tiny", report)
    assert (report / "index.html").read_bytes() == before


def test_an_unknown_panel_is_refused_with_the_nearest() -> None:
    content = {"title": "t", "question": "q", "panels": {"a": {"panel": "toy_feature"}}}
    with pytest.raises(UserError, match=r"panels\.a\.panel: 'toy_feature' is none of .*nearest is 'toy_features'"):
        build(ExperimentConfig, content, source="x.yaml")


def test_an_experiment_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no cell to run"):
        run(tmp_path, experiment())


POINTS = [
    Point(quantity="accuracy", series="relu", x=2.0, y=0.9, seed=0),
    Point(quantity="accuracy", series="relu", x=2.0, y=0.7, seed=1),
    Point(quantity="accuracy", series="relu", x=1.0, y=1.0, seed=0),
    Point(quantity="accuracy", series="chance", x=1.0, y=0.1),
    Point(quantity="purity", series="relu", y=0.4, seed=0),
    Point(quantity="recall", series="bm25", labels={"asked": "heldout", "form": "short"}, x=1.0, y=0.3, seed=0),
    Point(quantity="recall", series="bm25", labels={"asked": "alias", "form": "short"}, x=1.0, y=0.2, seed=0),
]


def test_points_are_read_back_by_quantity_series_and_place() -> None:
    spread = spread_at(POINTS, "accuracy", "relu", 2.0)
    assert spread is not None and (spread.median, spread.low, spread.high, spread.num_seeds) == (0.8, 0.7, 0.9, 2)
    assert list(curve(POINTS, "accuracy", "relu")) == [1.0, 2.0]
    assert spread_at(POINTS, "accuracy", "gelu", 2.0) is None
    assert series_of(POINTS, "accuracy") == ["relu", "chance"]
    assert points_to_csv({"p": POINTS}).splitlines()[:2] == [
        "panel,quantity,series,labels,x,y,seed",
        "p,accuracy,relu,,2,0.9,0",
    ]
    assert points_to_csv({"p": POINTS}).splitlines()[-1] == "p,recall,bm25,asked=alias; form=short,1,0.2,0"
    assert [point_from_json(json.loads(json.dumps(asdict(point)))) for point in POINTS] == POINTS


def test_a_number_is_read_by_all_its_labels_and_a_list_by_some() -> None:
    spread = spread_at(POINTS, "recall", "bm25", 1.0, asked="heldout", form="short")
    assert spread is not None and (spread.median, spread.num_seeds) == (0.3, 1)
    assert list(curve(POINTS, "recall", "bm25", asked="alias", form="short")) == [1.0]
    assert spread_at(POINTS, "recall", "bm25", 1.0, asked="heldout") is None
    assert spread_at(POINTS, "recall", "bm25", 1.0) is None and curve(POINTS, "recall", "bm25") == {}
    assert [line.name for line in lines_of(POINTS, "recall", form="short")] == [
        "bm25, heldout, short",
        "bm25, alias, short",
    ]
    assert [line.name for line in lines_of(POINTS, "recall", asked="alias")] == ["bm25, alias, short"]
    assert (series_of(POINTS, "recall"), series_of(POINTS, "recall", form="long")) == (["bm25"], [])


def test_charts_of_curves_and_of_rows_are_drawn_with_their_names() -> None:
    page = PanelPage(
        title="Panel",
        answer="Answered.",
        finding="Found.",
        explained=["How."],
        charts=[
            Chart(
                title="Curves", quantities=["accuracy"], x_label="facts", y_label="right", x_scale="log", percent=True
            ),
            Chart(title="Rows", quantities=["purity"], y_label="purity"),
            Chart(title="Labelled", quantities=["recall"], labels={"form": "short"}, y_label="recall"),
            Chart(title="None", quantities=["recall"], labels={"form": "long"}, y_label="recall"),
        ],
    )
    picture = draw_panel(Panel(name="p", page=page, points=POINTS))
    assert picture.svg == draw_panel(Panel(name="p", page=page, points=POINTS)).svg
    for text in ("Curves", "Rows", "chance", "relu", "facts", "100 %", "bm25, heldout", "bm25, alias"):
        assert f">{text}<" in picture.svg
    assert "None" not in picture.svg
    assert picture.caption == "Medians over 2 seeds, range shaded. Grey and dashed: formulas."
