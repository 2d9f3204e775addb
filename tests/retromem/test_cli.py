"""The command line as users meet it: mistakes are one line and status 2, and cost none of the slow imports."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from retrieval.encoder_files import DEFAULT_SHA256
from retrieval.sealed_folder import write_sealed
from retromem.cli import main
from retromem.knowledge.fact_files import source_name
from retromem.run.doctor import describe

REPO = Path(__file__).parents[2]
OWN_FACTS = str(REPO / "configs" / "own_facts.yaml")
SLOW_IMPORTS = ("torch", "faiss", "lightning", "datasets", "sentence_transformers")

TINY = {
    "title": "Tiny",
    "question": "Does it run?",
    "studies": {
        "keys": {
            "knowledge": {"source": "keys", "dim": 16, "num_values": 16, "num_facts": 128},
            "arms": [
                {
                    "memories": [{"memory": "frequency"}, {"memory": "static"}, {"memory": "faiss"}],
                    "num_facts": [64, 128],
                    "seeds": [0, 1],
                }
            ],
        }
    },
}

# Calls the command line in one process for many argument lists; the modules named on its own line cannot be imported.
DRIVER = """
import contextlib, io, json, sys, traceback

blocked = set(sys.argv[1].split(","))

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
import retromem
from retromem.cli import main

results = []
for arguments in json.load(sys.stdin):
    out, err, other = io.StringIO(), io.StringIO(), ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
            status = 0
        except SystemExit as end:
            status = end.code
        except BaseException:
            status, other = None, traceback.format_exc()
    results.append({"status": status, "out": out.getvalue(), "err": err.getvalue(), "other": other})
json.dump(results, sys.stdout)
"""


@dataclass(frozen=True)
class Outcome:
    status: int | None
    out: str
    err: str
    other: str
    """traceback, where the call ended in one"""


def environment() -> dict[str, str]:
    """Without what `make test` adds."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return {**own, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}


def call_blocked(calls: list[list[str]], folder: Path) -> list[Outcome]:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, ",".join(SLOW_IMPORTS)],
        input=json.dumps(calls),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Outcome(**result) for result in json.loads(done.stdout)]


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


GOOD = "".join(
    json.dumps({"subject": subject, "relation": "country", "value": value}) + "\n"
    for subject, value in [("Oslo", "Norway"), ("Rome", "Italy"), ("Lyon", "France")]
)
FILES: dict[str, str | bytes] = {
    "tiny.yaml": yaml.safe_dump(TINY),
    "good.jsonl": GOOD,
    "columns.csv": "name,relation,value\nOslo,country,Norway\n",
    "empty.jsonl": "",
    "header.csv": "subject,relation,value\n",
    "not_json.jsonl": GOOD + "Paris is in France\n",
    "list.jsonl": GOOD + '{"subject": "Paris", "relation": "country", "value": ["France"]}\n',
    "missing.jsonl": '{"subject": "Paris", "relation": "country"}\n',
    "leaks.jsonl": '{"subject": "Mexico City", "relation": "country", "value": "Mexico"}\n',
    "blank.csv": "subject,relation,value\nOslo,country,\n",
    "latin.csv": "subject,relation,value\nOslo,country,Norway\nSão Paulo,country,Brazil\n".encode("latin-1"),
    "facts.txt": "Oslo is in Norway\n",
    "other.yaml": "capital: {statement: '{subject} has {value}', seen: ['{subject} has']}\n",
    "no_subject.yaml": "country: {statement: '{subject} is in {value}', seen: ['Where is it?']}\n",
    "held_out.yaml": "country: {statement: '{subject} is in {value}', seen: ['{subject}?'], heldout: ['{subject}']}\n",
    "list.yaml": "[1, 2]\n",
    "broken.yaml": "title: x\nstudies: [\n",
    "latin.yaml": b"title: caf\xe9\n",
    "typo.yaml": yaml.safe_dump({**TINY, "titel": "x"}),
    "run/plan.json": "[]",
}

MEMORY = "--studies.keys.arms.0.memories.0"

MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    # facts
    "facts missing": (["compare", OWN_FACTS, "--facts", "nope.jsonl"], ["nope.jsonl", "no such file"]),
    "facts wrong columns": (
        ["compare", OWN_FACTS, "--facts", "columns.csv"],
        ["columns.csv, line 1", "'subject'", "found name"],
    ),
    "facts empty": (["compare", OWN_FACTS, "--facts", "empty.jsonl"], ["empty.jsonl has no facts", "subject"]),
    "facts header alone": (["compare", OWN_FACTS, "--facts", "header.csv"], ["header.csv", "no facts"]),
    "facts not JSON": (["compare", OWN_FACTS, "--facts", "not_json.jsonl"], ["not_json.jsonl, line 4", "JSON object"]),
    "facts no text": (["compare", OWN_FACTS, "--facts", "list.jsonl"], ["list.jsonl, line 4", "give a text"]),
    "facts no value": (
        ["compare", OWN_FACTS, "--facts", "missing.jsonl"],
        ["missing.jsonl, line 1", "'value' missing"],
    ),
    "facts all leak": (["compare", OWN_FACTS, "--facts", "leaks.jsonl"], ["leaks.jsonl", "no fact is left"]),
    "facts all blank": (["compare", OWN_FACTS, "--facts", "blank.csv"], ["blank.csv", "no fact is left"]),
    "facts not UTF-8": (["compare", OWN_FACTS, "--facts", "latin.csv"], ["latin.csv, line 3", "UTF-8"]),
    "facts of another kind": (["compare", OWN_FACTS, "--facts", "facts.txt"], ["facts.txt, line 1", "COLUMNS=1,2,3"]),
    "facts to index": (["index", "build", "out", "--facts", "list.jsonl"], ["list.jsonl, line 4"]),
    "columns without =": (
        ["compare", OWN_FACTS, "--facts", "columns.csv", "--columns", "name"],
        ["'name' should read ours=theirs"],
    ),
    "columns unknown": (
        ["compare", OWN_FACTS, "--facts", "columns.csv", "--columns", "subjct=name"],
        ["'subjct'", "did you mean 'subject'?"],
    ),
    # wordings
    "relation without templates": (
        ["compare", OWN_FACTS, "--facts", "good.jsonl", "--phrasings", "other.yaml"],
        ["other.yaml", "no templates for relation 'country'"],
    ),
    "template without subject": (
        ["compare", OWN_FACTS, "--facts", "good.jsonl", "--phrasings", "no_subject.yaml"],
        ["no_subject.yaml, relation 'country'", "without {subject}"],
    ),
    "template held out and seen": (
        ["compare", OWN_FACTS, "--facts", "good.jsonl", "--phrasings", "held_out.yaml"],
        ["held_out.yaml, relation 'country'", "held out and seen"],
    ),
    "phrasings missing": (
        ["index", "build", "out", "--facts", "good.jsonl", "--phrasings", "nope.yaml"],
        ["nope.yaml", "no such file"],
    ),
    "phrasings without facts": (["compare", "tiny.yaml", "--phrasings", "other.yaml"], ["add --facts"]),
    "facts without a place": (["compare", "tiny.yaml", "--facts", "good.jsonl"], ["tiny.yaml", "own_facts.yaml"]),
    # configs
    "config missing": (["compare", "nope.yaml"], ["nope.yaml", "no such config file"]),
    "config a folder": (["compare", "run"], ["run", "directory"]),
    "config no mapping": (["compare", "list.yaml"], ["list.yaml", "holds a list"]),
    "config no YAML": (["compare", "broken.yaml"], ["broken.yaml, line 3", "no valid YAML"]),
    "config not UTF-8": (["compare", "latin.yaml"], ["latin.yaml", "UTF-8"]),
    "config unknown key": (["compare", "typo.yaml"], ["typo.yaml", "titel", "'title'"]),
    "config unknown deep key": (
        ["compare", "tiny.yaml", "--studies.keys.knowledge.num_fact", "3"],
        ["tiny.yaml", "studies.keys.knowledge.num_fact", "'num_facts'"],
    ),
    "config unknown memory": (
        ["compare", "tiny.yaml", f"{MEMORY}.memory", "fais"],
        ["tiny.yaml", "studies.keys.arms.0.memories.0.memory", "'faiss'"],
    ),
    "config wrong type": (
        ["compare", "tiny.yaml", f"{MEMORY}=[faiss]"],
        ["tiny.yaml", "studies.keys.arms.0.memories.0", "a list"],
    ),
    "config out of range": (
        ["compare", "tiny.yaml", "--studies.keys.knowledge.num_values", "0"],
        ["tiny.yaml", "studies.keys.knowledge", "1 or more"],
    ),
    "config without a cell": (
        ["compare", "tiny.yaml", "--studies.keys.arms.0.seeds", "[]"],
        ["tiny.yaml", "seeds must name one or more"],
    ),
    "N larger than the set": (
        ["compare", "tiny.yaml", "--studies.keys.arms.0.num_facts", "[64, 1000]"],
        ["studies.keys.arms.0.num_facts", "1,000", "1 to 128"],
    ),
    "N larger than the facts": (
        ["compare", OWN_FACTS, "--facts", "good.jsonl", "--studies.facts.arms.0.num_facts", "[4]"],
        ["studies.facts.arms.0.num_facts", "1 to 3"],
    ),
    # overrides: the mistake in the value shows that it arrived
    "override by --set": (
        ["compare", "tiny.yaml", "--set", "title='Another title' studies.keys.arms.0.num_facts=[777]"],
        ["777"],
    ),
    "override by --section.field=": (["compare", "tiny.yaml", "--studies.keys.arms.0.num_facts=[777]"], ["777"]),
    "override of nothing": (["compare", "tiny.yaml", "--studies.keys.arms.3.seeds", "[0]"], ["no element '3'"]),
    "override without a value": (["compare", "tiny.yaml", "--measures.max_asked"], ["--measures.max_asked VALUE"]),
    "override of another command": (["doctor", "--a.b", "1"], ["only `compare`"]),
    "--set without =": (["compare", "tiny.yaml", "--set", "title"], ["--set", "'title'", "section.field=value"]),
    "--set unclosed": (["compare", "tiny.yaml", "--set", "title='x"], ["--set", "close every quote"]),
    # options
    "--name with a slash": (["compare", "tiny.yaml", "--name", "../x"], ["--name '../x'"]),
    "--name dots": (["compare", "tiny.yaml", "--name", ".."], ["--name '..'"]),
    "--name of two lines": (["compare", "tiny.yaml", "--name", "a\nb"], ["--name 'a\\nb'"]),
    "--name too long": (["compare", "tiny.yaml", "--name", "x" * 101], ["100 at most"]),
    "--workers none": (["compare", "tiny.yaml", "--workers", "0"], ["--workers", "1 or more"]),
    "--max-facts negative": (["compare", "tiny.yaml", "--max-facts", "-5"], ["--max-facts", "1 or more"]),
    "--max-facts text": (["compare", "tiny.yaml", "--max-facts", "all"], ["--max-facts", "'all'"]),
    "unknown option": (["compare", "tiny.yaml", "--forse"], ["--forse", "--help"]),
    "shortened option": (["compare", "tiny.yaml", "--fact", "good.jsonl"], ["--fact", "--help"]),
    "unknown command": (["comprae"], ["'comprae'", "compare", "--help"]),
    "unknown action": (["index", "bild", "out"], ["'bild'", "build"]),
    "one argument too many": (["compare", "tiny.yaml", "tiny.yaml"], ["unrecognized", "--help"]),
    # stores and runs
    "build without facts": (["index", "build", "out"], ["--facts FILE"]),
    "build without a folder": (["index", "build", "", "--facts", "good.jsonl"], ["folder of the store"]),
    "verify no store": (["index", "verify", "run"], ["run is no retromem store", "index build"]),
    "verify nothing": (["index", "verify", "nope"], ["nope is no retromem store"]),
    "search no store": (["index", "search", "run", "--query", "Where is Oslo?"], ["run is no retromem store"]),
    "search without a question": (["index", "search", "run"], ["--query"]),
    "search of blanks": (["index", "search", "run", "--query", " "], ["--query"]),
    "search with facts": (
        ["index", "search", "run", "--query", "x", "--facts", "a"],
        ["no use for --facts", "--query"],
    ),
    "verify with a query": (["index", "verify", "run", "--query", "x"], ["no use for --query", "takes no options"]),
    "build with a query": (
        ["index", "build", "out", "--facts", "a", "--query", "x"],
        ["no use for --query", "--facts"],
    ),
    "add without facts": (["index", "add", "run"], ["--facts FILE"]),
    "add to no store": (["index", "add", "run", "--facts", "good.jsonl"], ["run is no retromem store"]),
    "search --top 0": (["index", "search", "run", "--query", "x", "--top", "0"], ["--top", "1 or more"]),
    "report of nothing": (["report", "nope"], ["nope", "runs/<name>"]),
    "report of no folder": (["report", "good.jsonl"], ["good.jsonl", "Not a directory"]),
    "report of another plan": (["report", "run"], ["run/plan.json", "no plan of a run"]),
}


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Every mistake, made in one folder; the folder is the same afterwards."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    before = listing(folder)
    outcomes = call_blocked([arguments for arguments, _ in MISTAKES.values()], folder)
    assert listing(folder) == before, "a refused command left something behind"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["run"]
    return dict(zip(MISTAKES, outcomes, strict=True))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(mistakes: dict[str, Outcome], mistake: str) -> None:
    outcome = mistakes[mistake]
    assert outcome.other == ""
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith("retromem: ")
    assert outcome.err.endswith("\n")
    assert outcome.err.count("\n") == 1
    for part in MISTAKES[mistake][1]:
        assert part in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "tiny.yaml", "--studies.keys.arms.0.memories=[{memory: faiss, factory: Flatt}]"],
        ["index", "build", "out", "--facts", "good.jsonl", "--index", "Flatt"],
    ],
    ids=["compare", "index build"],
)
def test_an_unknown_index_is_a_mistake_like_any_other(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("tiny.yaml", "good.jsonl"):
        (tmp_path / name).write_text(str(FILES[name]))
    before = listing(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "'Flatt'" in err
    assert "SQ8" in err  # a right one
    assert listing(tmp_path) == before


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a tiny experiment was run, by the command that users type."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "tiny.yaml").write_text(str(FILES["tiny.yaml"]))
    arguments = ["compare", "tiny.yaml", "--name", "tiny", "--set", "title='Set by hand' studies.keys.arms.0.seeds=[0]"]
    done = subprocess.run(
        [sys.executable, "-m", "retromem", *arguments, "--measures.robustness", "false"],
        cwd=folder,
        env={**environment(), "MAKELEVEL": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


def test_a_run_says_what_it_does_and_leaves_a_run_and_a_report(ran: Path) -> None:
    lines = (ran / "stdout.txt").read_text().splitlines()
    assert lines[0].startswith(
        "+ python -m retromem compare tiny.yaml --name tiny --set 'title='"
    )  # a make target shows its call
    assert lines[1].startswith("tiny: Does it run? 6 of 6 cells to run")
    assert lines[-1].endswith("read reports/tiny/index.html")
    plan = json.loads((ran / "runs" / "tiny" / "plan.json").read_text())
    assert plan["title"] == "Set by hand"
    assert plan["measures"]["robustness"] is False
    assert len(list((ran / "runs" / "tiny" / "cells").glob("*/result.json"))) == 6
    names = {"index.html", "report.md", "results.csv", "capacity.csv", "figures"}
    assert {path.name for path in (ran / "reports" / "tiny").iterdir()} == names


@pytest.fixture(scope="module")
def light(ran: Path) -> dict[str, Outcome]:
    """What must work without any of the slow imports."""
    write_sealed(ran / "store", {"a.bin": b"12345"}, kind="test", meta={})
    write_sealed(ran / "damaged", {"a.bin": b"12345"}, kind="test", meta={})
    (ran / "damaged" / "a.bin").write_bytes(b"12346")
    again = ["compare", "tiny.yaml", "--name", "tiny", "--set", "title='Set by hand' studies.keys.arms.0.seeds=[0]"]
    calls = {
        "no arguments": [],
        "help": ["--help"],
        "compare help": ["compare", "--help"],
        "index help": ["index", "--help"],
        "report help": ["report", "--help"],
        "doctor help": ["doctor", "--help"],
        "verify": ["index", "verify", "store"],
        "verify damaged": ["index", "verify", "damaged"],
        "report": ["report", "runs/tiny"],
        "again": [*again, "--measures.robustness", "false"],
    }
    (ran / "reports" / "tiny").rename(ran / "first")
    before = listing(ran / "runs")
    outcomes = dict(zip(calls, call_blocked(list(calls.values()), ran), strict=True))
    assert listing(ran / "runs") == before, "neither `report` nor a second call runs anything"
    return outcomes


@pytest.mark.parametrize(
    "command", ["no arguments", "help", "compare help", "index help", "report help", "doctor help"]
)
def test_help_costs_no_slow_import(light: dict[str, Outcome], command: str) -> None:
    assert (light[command].status, light[command].err, light[command].other) == (0, "", "")
    assert light[command].out.startswith("usage: python -m retromem")
    assert "<function" not in light[command].out


def test_help_names_every_command_and_how_to_change_a_config(light: dict[str, Outcome]) -> None:
    for command in ("compare", "index", "report", "doctor"):
        assert command in light["help"].out
    assert "--section.field VALUE" in light["compare help"].out
    for action in ("build", "verify", "search"):
        assert action in light["index help"].out


def test_verify_costs_no_slow_import(light: dict[str, Outcome]) -> None:
    assert (light["verify"].status, light["verify"].err, light["verify"].other) == (0, "", "")
    assert light["verify"].out == "store: whole; 1 files, 5 bytes, every sha256 as written\n"
    assert (light["verify damaged"].status, light["verify damaged"].other) == (2, "")
    assert "damaged/a.bin" in light["verify damaged"].err


@pytest.mark.parametrize("command", ["report", "again"])
def test_a_report_of_finished_cells_costs_no_slow_import(light: dict[str, Outcome], ran: Path, command: str) -> None:
    assert (light[command].status, light[command].err, light[command].other) == (0, "", "")
    assert "reports/tiny/index.html" in light[command].out
    first, again = listing(ran / "first"), listing(ran / "reports" / "tiny")
    assert again.keys() == first.keys()
    assert again["results.csv"] == first["results.csv"]


def test_an_error_that_is_not_the_users_keeps_its_traceback(tmp_path: Path) -> None:
    script = (
        "import retromem.stores.store_checks\n"
        "def broken(store): raise ValueError('a bug')\n"
        "retromem.stores.store_checks.verify_store = broken\n"
        "from retromem.cli import main\n"
        "main(['index', 'verify', 'x'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ValueError: a bug\n")


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ("my_facts.jsonl", "my_facts"),
        ("a folder/my facts.csv.gz", "my facts"),
        ("v1.2.JSONL.GZ", "v1.2"),
        ("archive.tar.csv", "archive.tar"),
    ],
)
def test_a_run_of_own_facts_is_named_by_the_stem_of_their_file(facts: str, name: str) -> None:
    assert source_name(facts) == name


def test_doctor_names_runtimes_and_encoder() -> None:
    pytest.importorskip("torch")
    text = describe()
    for label in ("python", "torch", "faiss", "gpu", "threads", "openmp", "faiss build", "encoder"):
        assert f"\n{label}" in text
    (runtimes,) = [line for line in text.splitlines() if line.startswith("openmp")]
    assert all("omp" in runtime.rpartition("/")[2] for runtime in runtimes.removeprefix("openmp").split(","))
    assert DEFAULT_SHA256 in text


@pytest.mark.parametrize(
    "command",
    [
        ("index", "search", "s", "--query", "Z\udcfcrich"),
        ("index", "build", "s\udcff"),
        ("compare", "--name", "\udcff"),
    ],
)
def test_bytes_that_are_no_text_are_one_line(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(command)
    assert ending.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"retromem: {command[-1]!r}: is not text in utf-8") and told.count("\n") == 1


def test_letters_that_a_terminal_cannot_show_are_shown_by_number() -> None:
    program = "from retromem.cli import main; main(['index', 'verify', 'Łódź'])"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "MAKELEVEL": "1"}  # under make the call itself is printed
    end = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, cwd=REPO, check=False)
    assert end.returncode == 2
    assert end.stdout == rb"+ python -m retromem index verify '\u0141\xf3d\u017a'" + b"\n"
    assert end.stderr.startswith(rb"retromem: \u0141\xf3d\u017a is no retromem store")


def test_a_reader_that_has_seen_enough_costs_no_traceback() -> None:
    program = f"{sys.executable} -c 'from retromem.cli import main; main([\"--help\"])' | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", program], cwd=REPO, capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr and "BrokenPipe" not in ended.stderr
