"""`compare` and `report` of a run whose cells are done: every option arrives; what the machine refuses is one line."""

import errno
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from retrieval.errors import UserError
from retromem.cli import _name_of, main
from retromem.configuration import apply_override, build, read_config
from retromem.run.cells import plan
from retromem.run.experiment import ExperimentConfig
from retromem.run.report_run import read_plan
from retromem.run.run_cell import Workplace, run_cell

TINY: dict[str, Any] = {
    "title": "Tiny",
    "question": "Does it run?",
    "measures": {"robustness": False},
    "studies": {
        "keys": {
            "knowledge": {"source": "keys", "dim": 6, "num_values": 4, "num_facts": 64},
            "arms": [{"memories": [{"memory": "static"}], "seeds": [0]}],
        }
    },
}


def finished(path: str, name: str, **settings: str) -> list[str]:
    """Runs, in this process, every cell that `compare` will ask for; their folders."""
    content = read_config(Path(path))
    for dotted, value in settings.items():
        apply_override(content, dotted.replace("__", "."), value)
    cells = plan(build(ExperimentConfig, content, source=path), encoder_hash="", text_dim=0)
    place = Workplace(cells_folder=f"runs/{name}/cells", cache_folder="")
    assert {run_cell(cell, place) for cell in cells} == {"done"}
    return [cell.folder_name for cell in cells]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAKELEVEL", raising=False)  # under make the call itself is printed
    monkeypatch.setattr("retromem.measure.latency._REPEATS", 2)
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))


def test_every_option_of_compare_arrives(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "max_weight_facts": "16",
        "studies__keys__arms__0__seeds": "[3, 1]",
        "studies__keys__knowledge__num_facts": "20",
        "title": "Other",
    }
    cells = finished("tiny.yaml", "mine", **settings)
    given = "studies.keys.arms.0.seeds='[3, 1]' studies.keys.knowledge.num_facts=9 title=Other"
    arguments = ["compare", "tiny.yaml", "--name", "mine", "--max-facts", "16", "--workers", "3", "--set", given]
    arguments += ["--studies.keys.knowledge.num_facts", "20"]  # after all that --set says
    monkeypatch.setenv("MAKELEVEL", "1")
    main(arguments)
    lines = capsys.readouterr().out.splitlines()
    shown = lines[0].removeprefix("+ ")
    assert shown.startswith("python -m retromem compare tiny.yaml --name mine --max-facts 16 --workers 3 --set ")
    # Sizes that nobody chose: 2, 4, 8 and 16 of weights, and all 20 of memories that are not trained.
    assert len(cells) == 2 * 5
    assert lines[1] == f"mine: all {len(cells)} cells are done; writing the report"
    assert re.fullmatch(rf"0 of {len(cells)} cells run in \d+ s; read reports/mine/index\.html", lines[-1])
    record = read_plan(Path("runs/mine"))
    assert record["cells"] == cells
    assert (record["name"], record["title"], record["question"]) == ("mine", "Other", "Does it run?")
    assert record["method"]["command"] == shown and record["method"]["seeds"] == "1, 3"
    kept = read_config(Path("runs/mine/config.yaml"))
    assert kept["max_weight_facts"] == 16 and kept["studies"]["keys"]["knowledge"]["num_facts"] == 20
    page = Path("reports/mine/report.md").read_text()
    monkeypatch.delenv("MAKELEVEL")
    main(["report", "runs/mine/"])
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "reports/mine/index.html" and told[0].startswith("Nothing to compare")
    assert Path("reports/mine/report.md").read_text() == page


def test_a_run_is_called_by_its_config_or_by_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    finished("tiny.yaml", "tiny", studies__keys__arms__0__num_facts="[8]")
    main(["compare", "tiny.yaml", "--studies.keys.arms.0.num_facts=[8]"])
    # Settings make another run, which finds the cells of the first one.
    said = capsys.readouterr().out
    assert re.match(r"tiny-num_facts=_8_-[0-9a-f]{6}: all 1 cells are done; writing the report\n", said)
    main(["compare", "tiny.yaml", "--studies.keys.arms.0.num_facts=[8]", "--name", "tiny"])
    assert capsys.readouterr().out.startswith("tiny: all 1 cells are done; writing the report\n")
    Path("mine.csv").write_text("subject,relation,value\n")
    for command, said in (
        (["compare", "--facts", "mine.csv"], "configs/own_facts.yaml: there is no such config file"),
        (["compare"], "configs/quickstart.yaml: there is no such config file"),
    ):
        with pytest.raises(SystemExit) as end:
            main(command)
        assert end.value.code == 2
        assert capsys.readouterr().err.startswith(f"retromem: {said}")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left", "runs/x"), "runs/x: cannot be written: No space left; make room"),
        (OSError(errno.EDQUOT, "Quota exceeded", "x"), "x: cannot be written: Quota exceeded; make room"),
        (OSError(errno.EFBIG, "Too large"), "a file: cannot be written: Too large; make room"),
        *(
            (OSError(number, "No", "x"), "x: cannot be used: No; name another place, or change its permissions")
            for number in (errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR)
        ),
        (
            PermissionError(13, "Permission denied", "runs/x.lock"),
            "runs/x.lock: cannot be used: Permission denied; name another place, or change its permissions",
        ),
        (
            FileExistsError(17, "File exists", "runs"),
            "runs: cannot be used: File exists; name another place, or change its permissions",
        ),
        (MemoryError(), "not enough memory (for what was asked); ask for less"),
        (MemoryError("Unable to allocate 305 GiB"), "not enough memory (Unable to allocate 305 GiB); ask for less"),
        (UserError("a: b"), "a: b"),
    ],
)
def test_what_the_machine_refuses_is_one_line(
    error: BaseException, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr("retromem.run.doctor.describe", fail)
    with pytest.raises(SystemExit) as ending:
        main(["doctor"])
    assert ending.value.code == 2
    assert capsys.readouterr().err == f"retromem: {said}\n"


def test_other_errors_keep_their_traceback_and_an_interrupt_says_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> str:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("retromem.run.doctor.describe", fail)
    with pytest.raises(OSError, match="broken"):
        main(["doctor"])

    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("retromem.run.doctor.describe", interrupted)
    monkeypatch.setattr("retromem.configuration.read_config", interrupted)
    for command, left in (
        ("compare", "finished cells are kept, the same command goes on from there"),
        ("doctor", "nothing is left half-written"),
    ):
        with pytest.raises(SystemExit) as ending:
            main([command])
        assert ending.value.code == 130
        assert capsys.readouterr().err == f"retromem: interrupted; {left}\n"
    main([])
    assert "usage: python -m retromem" in capsys.readouterr().out


def test_a_run_goes_on_from_the_settings_that_it_kept_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    kept = tmp_path / "mine" / "config.yaml"
    kept.write_text("title: t")
    assert _name_of(kept) == "config"  # anybody's file of that name
    (tmp_path / "mine" / "plan.json").write_text("{}")
    assert _name_of(kept) == "mine" and _name_of(tmp_path / "mine" / "other.yaml") == "other"
