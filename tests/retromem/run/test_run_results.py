"""What the cells of a run have left, and what a report is told of it, from rows written out."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import UserError
from retromem.panels.points import Point, points_to_csv
from retromem.panels.theory.physical_limit import PhysicalCapacityConfig
from retromem.rows import CapacityRow, Row
from retromem.run.report_run import (
    RunResults,
    _budgets,
    _capacities_read_off,
    _limits,
    _made_by,
    _warnings,
    is_finished,
    panels_of,
    published_of,
    read_plan,
    read_results,
)
from retromem.run.run_cell import forget_cell, read_result


def row(**other: Any) -> Row:
    return Row(
        **{
            "study": "keys", "side": "parametric", "memory": "ffn-relu-8", "role": "arm", "family": "ffn-relu",
            "stores": "questions", "knowledge": "abc", "knowledge_name": "keys", "twin": False, "seed": 0,
            "phrasing": "identical", "num_facts": 100, **other,
        }
    )  # fmt: skip


def test_what_the_trainings_of_a_run_took() -> None:
    assert _budgets([row(), row(optimizer_steps=0)]) == {}
    rows = [
        row(optimizer_steps=3000, exposures=3000.0, succeeded=True, precision="int8"),
        row(optimizer_steps=1200, exposures=2400.0, succeeded=False, precision="float32"),
        row(optimizer_steps=1200, exposures=2400.0, succeeded=False, precision="float32", phrasing="heldout"),
        row(optimizer_steps=1200, exposures=None, succeeded=False, seed=1),
        row(optimizer_steps=None, exposures=9e9, precision="int4"),
    ]
    assert _budgets(rows) == {
        "training": "1,200 to 3,000 optimiser steps, 0 to 3,000 exposures a fact; "
        "2 trainings ended by their cap in seconds",
        "precision of the weights": "float32, int8",
    }  # fmt: skip
    told = ("study", "b"), ("memory", "m"), ("num_facts", 7), ("twin", True)
    rows += [
        row(**{name: other, "optimizer_steps": 1200, "exposures": 1.0, "succeeded": False}) for name, other in told
    ]
    assert "; 6 trainings ended" in _budgets(rows)["training"]


def test_weights_that_answer_less_than_nine_tenths_are_warned_of() -> None:
    rows = [
        row(accuracy=0.5, num_facts=200), row(accuracy=0.894, num_facts=200), row(accuracy=1.0, num_facts=100),
        row(study="good", accuracy=0.9), row(study="good", accuracy=0.1), row(study="unknown", accuracy=None),
        row(study="index", accuracy=0.1, side="retrieval"), row(study="null", accuracy=0.1, role="control"),
        row(study="worded", accuracy=0.1, phrasing="heldout"), row(study="bad", accuracy=0.0, num_facts=1000),
    ]  # fmt: skip
    told = "of the written questions; a wider one, or more optimiser steps, may."
    assert _warnings(rows) == [
        f"bad: at 1,000 facts no FFN tried answers more than 0% {told}",
        f"keys: at 200 facts no FFN tried answers more than 89% {told}",
    ]


def test_limits_are_of_what_was_run() -> None:
    encoder = "One encoder serves every memory of a study: what it cannot tell apart, none can."
    alone = "FFNs are trained by themselves on frozen keys; no transformer stands around them."
    times = "Times are of the machine named above, one thread a process, with other cells running beside."
    twin = "On the real values the encoder knows some answers already; claims are made on the twin."
    width = "The pair is run at one width; its curve is not part of this report."
    index = row(side="retrieval", memory="faiss", family="faiss-q")
    pair = row(side="paired", memory="paired-8", family="paired")
    assert _limits([]) == []
    assert _limits([index, replace(index, shared_bytes=0)]) == [times]
    assert _limits([replace(index, shared_bytes=5)]) == [encoder, times]
    assert _limits([row(), replace(index, twin=True)]) == [alone, times, twin]
    assert _limits([pair, replace(pair, seed=1), index]) == [alone, times, width]
    assert _limits([pair, replace(pair, memory="paired-9")]) == [alone, times]
    assert _limits([replace(pair, role="control")]) == [alone, times]


def test_capacities_are_read_off_where_none_was_searched_for() -> None:
    rows = [row(study=study, num_facts=size, accuracy=1.0, phrasing=phrasing)
            for study in ("a", "b") for size in (10, 20) for phrasing in ("identical", "heldout")]  # fmt: skip
    rows += [replace(one, study="c", halves=True) for one in rows[:4]]
    rows += [row(study="d", num_facts=size, accuracy=0.96, phrasing=phrasing)
             for size in (10, 20) for phrasing in ("identical", "heldout")]  # fmt: skip
    searched = CapacityRow(
        study="b", memory="m", twin=False, phrasing="identical", tau=0.5, seed=0, num_facts=1, censored=False,
        storage_bytes=None, num_params=None, bits=None,
    )  # fmt: skip
    found = _capacities_read_off(rows, [searched])
    assert [(one.study, one.phrasing, one.tau, one.num_facts) for one in found] == [
        ("a", "identical", 0.99, 20),
        ("d", "identical", 0.99, 0),
        ("a", "heldout", 0.95, 20),
        ("d", "heldout", 0.95, 20),
    ]


def test_results_of_a_run_are_read_and_what_is_none_is_a_problem(tmp_path: Path) -> None:
    capacity = CapacityRow(
        study="b", memory="m", twin=False, phrasing="identical", tau=0.5, seed=0, num_facts=1, censored=False,
        storage_bytes=None, num_params=None, bits=None,
    )  # fmt: skip
    point = Point(quantity="accuracy", series="relu", x=2.0, y=0.5, seed=1)
    made = {
        "identity": {},
        "rows": [],
        "capacity": None,
        "smallest": None,
        "status": "done",
        "reason": "",
        "made_by": {"day": "1", "torch": "2.6"},
    }
    results: dict[str, Any] = {
        "whole": {**made, "rows": [asdict(row()), asdict(row(seed=1))], "capacity": asdict(capacity)},
        "panel": {**made, "points": [asdict(point)], "made_by": {"day": "2"}},
        "refused": {**made, "status": "refused", "reason": "too few"},
        "older": {**made, "rows": [{**asdict(row()), "colour": 1}]},
        "unmade": {name: value for name, value in made.items() if name != "made_by"},
        "broken": {**made, "rows": [{**asdict(row()), "accuracy": 2.0}]},
        "list": [],
        "no status": {},
    }
    for cell, result in results.items():
        (tmp_path / "cells" / cell).mkdir(parents=True)
        (tmp_path / "cells" / cell / "result.json").write_text(json.dumps(result))
    (tmp_path / "cells" / "failed").mkdir()
    (tmp_path / "cells" / "failed" / "error.txt").write_text("Traceback\n  line\nValueError: no\n")
    names = [*results, "failed", "nowhere"]
    found = read_results(tmp_path, names)
    assert found.rows == [row(), row(seed=1)]
    assert found.capacities == [capacity]
    assert found.points == [("panel", point)]
    assert [(cell, kind) for cell, kind, _ in found.problems] == [
        ("refused", "refused"), ("older", "not read"), ("unmade", "not read"), ("broken", "not read"),
        ("list", "not run"), ("no status", "not run"), ("failed", "failed"), ("nowhere", "not run"),
    ]  # fmt: skip
    reasons = {cell: reason for cell, _, reason in found.problems}
    assert reasons["refused"] == "too few" and reasons["failed"] == "ValueError: no"
    assert reasons["nowhere"] == "no result yet; the same command goes on from here"
    assert reasons["unmade"] == "its result is of another version, or was changed ('made_by'); run it again"
    assert _made_by(found) == {"day": "1 and 2", "torch": "2.6"}
    finished = {name for name in names if is_finished(tmp_path / "cells" / name)}
    assert finished == {"whole", "panel", "refused"}
    # Of a result that is not read nothing is taken.
    half = RunResults()
    with pytest.raises(TypeError):
        half.add("half", {**results["whole"], "capacity": {"unknown": 1}})
    assert half == RunResults()
    forget_cell(tmp_path / "cells" / "whole")
    assert not (tmp_path / "cells" / "whole").exists() and read_result(tmp_path / "cells" / "whole") is None
    forget_cell(tmp_path / "cells" / "whole")  # what is gone is gone


def test_a_plan_is_one_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run folder, for plan.json is missing; runs lie in runs/<name>"):
        read_plan(tmp_path)
    for content, said in (
        ("{", "cannot be read"),
        ("[]", "is no plan of a run"),
        ('{"name": 1}', "is no plan of a run"),
    ):
        (tmp_path / "plan.json").write_text(content)
        with pytest.raises(UserError, match=said):
            read_plan(tmp_path)
    (tmp_path / "plan.json").write_text('{"cells": ["a"]}')
    assert read_plan(tmp_path) == {"cells": ["a"]}


def test_points_as_lines() -> None:
    points = {
        "one": [
            Point(quantity="accuracy", series="relu", x=2.0, y=0.25, seed=1),
            Point(quantity="a, b", series="s", labels={"asked": "alias"}, y=3.0),
        ],
        "none": [],
        "two": [Point(quantity="bits", series="r", x=0.0, y=1e7, seed=0)],
    }
    assert points_to_csv(points) == (
        "panel,quantity,series,labels,x,y,seed\n"
        'one,accuracy,relu,,2,0.25,1\none,"a, b",s,asked=alias,,3,\ntwo,bits,r,,0,1e+07,0\n'
    )


def testpanels_of_have_the_points_of_their_own_cells_each_once() -> None:
    bound, other = PhysicalCapacityConfig(seeds=(7,)), PhysicalCapacityConfig(dims=(4,))
    points = [Point(quantity="q", series=f"s{number}", x=1.0, y=2.0, seed=0) for number in range(3)]
    results = RunResults(points=[("a", points[0]), ("b", points[1]), ("a", points[2]), ("a2", points[0])])
    record = {
        "panels": {
            "one": {"config": asdict(bound), "cells": ["a", "a2"]},
            "none": {"config": asdict(other), "cells": ["c"]},
            "two": {"config": asdict(other), "cells": ["b"]},
        }
    }
    first, second = panels_of(record, results)
    assert published_of(record, results) == []
    assert (first.name, list(first.points)) == ("one", [points[0], points[2]])
    assert (second.name, list(second.points)) == ("two", [points[1]])
    assert first.page.title == "Physical capacity: parameters times bits"
    assert panels_of({}, results) == published_of({}, results) == []
