"""The command line: a thin layer over the Python functions. Every make target is one such call.

    python -m retromem compare [CONFIG] [--facts FILE] [--phrasings FILE] [--name NAME] [--section.field VALUE ...]
    python -m retromem index build | add | verify | search STORE
    python -m retromem report RUN_FOLDER
    python -m retromem reproduce [--tier full] [--only WORDS] [--limit-small FOLDER]
    python -m retromem diff RUN_FOLDER RUN_FOLDER
    python -m retromem lm-eval MEMORY_FOLDER --tasks TASKS
    python -m retromem bench | doctor

A user's mistake is one line on stderr and exit status 2, a failed cell or claim is 1, Ctrl-C 130; every other exception
keeps its traceback.
"""

import errno
import hashlib
import json
import os
import re
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from retrieval.errors import UserError

if TYPE_CHECKING:
    from retromem.run.experiment import ExperimentConfig
    from retromem.run.run_experiment import FinishedRun

_DOTTED = re.compile(r"--([A-Za-z_]\w*(?:\.[\w-]+)+)(?:=(.*))?", re.DOTALL)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # the disk, the user's share of it, one file
# What stands in the way is the user's to remove.
_IN_THE_WAY = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
_CLOSED_PIPE = 141  # as a shell reports a program that SIGPIPE ended
_SAY = partial(print, flush=True)  # progress goes to stdout, so that a mistake stays one line on stderr


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, call, and turn a UserError into one line and status 2."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # two OpenMP runtimes: see retrieval/_faiss.py
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that cannot show a letter shows its number
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            if "MAKELEVEL" in os.environ:  # a make target is one such call, and shows it
                print("+", _shown(arguments), flush=True)
            _run(arguments)
        finally:
            sys.stdout.flush()  # here, where a closed pipe is heard; Python's own last flush would print a traceback
    except UserError as error:
        _end(2, str(error))
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        sys.exit(_CLOSED_PIPE)
    except OSError as error:
        where = error.filename or "a file"
        if error.errno in _NO_ROOM:
            _end(2, f"{where}: cannot be written: {error.strerror}; make room")
        if error.errno in _IN_THE_WAY:
            _end(2, f"{where}: cannot be used: {error.strerror}; name another place, or change its permissions")
        raise
    except MemoryError as error:
        _end(2, f"not enough memory ({str(error) or 'for what was asked'}); ask for less")
    except KeyboardInterrupt:
        exec("")  # forgets an interrupt inside of an exec (dataclasses use it): Python would end by it, not by a status
        kept = "finished cells are kept, the same command goes on from there"
        _end(130, f"interrupted; {kept if arguments[:1] == ['compare'] else 'nothing is left half-written'}")


def _end(status: int, said: str) -> NoReturn:
    sys.stderr.write(f"retromem: {said}\n")
    sys.exit(status)


def _run(arguments: list[str]) -> None:
    for argument in arguments:
        if not _is_text(argument):
            raise UserError(
                f"{argument!r}: is not text in {sys.getfilesystemencoding()}, which this terminal is set to; "
                "write it in UTF-8, in a UTF-8 locale (LC_ALL=C.UTF-8)"
            )
    rest, overrides = _split_overrides(arguments)
    parser = _parser()
    chosen = parser.parse_args(rest)
    command = chosen.command
    if command != "compare" and overrides:
        raise UserError(f"--{overrides[0][0]}: only `compare` takes settings of an experiment")
    match command:
        case "compare":
            _compare(chosen, overrides, _shown(arguments))
        case "index":
            _index(chosen)
        case "report":
            from retromem.run.report_run import report_run

            run = Path(chosen.run)
            folder = Path("reports") / run.resolve().name
            print(report_run(run, folder, say=print) / "index.html")
        case "diff":
            from retromem.run.diff_runs import diff_runs

            print(diff_runs(Path(chosen.first), Path(chosen.second)))
        case "reproduce":
            _reproduce(chosen, _shown(arguments))
        case "lm-eval":
            _lm_eval(chosen)
        case "bench":
            from retromem.benchmarks.run_benchmarks import run_benchmarks

            run_benchmarks(chosen.only, Path("reports/bench"), say=_SAY, tier=chosen.tier)
        case "doctor":
            from retromem.run.doctor import describe

            print(describe())
        case _ if chosen.version:
            from retromem.run.method import versions

            print(f"retromem {versions().get('retromem', 'not installed')}")
        case _:
            parser.print_help()


def _is_text(argument: str) -> bool:
    """Whether it is what the terminal sent: Python keeps bytes that it cannot read as halves of surrogate pairs."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(arguments: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "retromem", *arguments])


def _split_overrides(arguments: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """`--section.field VALUE` and `--section.field=VALUE` taken out of the arguments."""
    rest: list[str] = []
    overrides: list[tuple[str, str]] = []
    waiting = iter(arguments)
    for argument in waiting:
        dotted = _DOTTED.fullmatch(argument)
        if dotted is None:
            rest.append(argument)
            continue
        value = dotted[2] if dotted[2] is not None else next(waiting, None)
        if value is None:
            raise UserError(f"--{dotted[1]} needs a value: --{dotted[1]} VALUE")
        overrides.append((dotted[1], value))
    return rest, overrides


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (python -m retromem --help lists the commands and their options)")


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="python -m retromem",
        description="Facts in the weights of an FFN or in an external index: what each holds, and what it costs.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="command")
    new = partial(commands.add_parser, allow_abbrev=False)

    option = new(
        "compare",
        help="run an experiment and write its report",
        description="Run an experiment and write its report. `--section.field VALUE` overlays any field of its config, "
        "such as --studies.cities.knowledge.num_written 2; numbers select an element of a list.",
    ).add_argument
    option("config", nargs="?", help="YAML file; configs/quickstart.yaml where empty")
    option(
        "--facts",
        help="your facts: CSV, TSV, JSON or Parquet, packed or not, a folder, or hf:org/name[:config][@split]",
    )
    option("--phrasings", help="wordings of their relations: YAML or JSON")
    option(
        "--columns",
        help="ours=theirs,... where columns have other names, places such as 1,2,3 where they have none, "
        """or relation='"text"' for one relation of all rows""",
    )
    option("--max-facts", type=_count, help="facts that memories with weights are trained on, at most")
    option("--name", help="of the run; the stem of config or facts where empty")
    option("--set", help='"a.b=c d.e=f": the same as --a.b c --d.e f')
    option("--force", action="store_true", help="run finished cells again")
    option("--workers", type=_count, help="processes; one a core where empty")
    option("--engine", default="loky", help="where cells compute: loky (here, the default), ray, dask, slurm")

    option = new(
        "index",
        help="build, verify, search or add to a store of facts or documents",
        description="Build, verify or search a store of facts or of documents; add facts to one.",
    ).add_argument
    option("action", choices=list(_TAKEN), help="what to do")
    option("store", help="folder of the store")
    option("--facts", help="build, add: your facts")
    option("--documents", help="build: a text or Markdown file, or a folder of them, in place of facts")
    option("--split", help="build: passages of documents, as '128 tokens, 32 shared' (default: 3 sentences)")
    option("--phrasings", help="build, add: wordings of their relations")
    option("--columns", help="build, add: ours=theirs,... as of compare")
    option("--index", help="build: FAISS factory string (default: Flat)")
    option("--rotate-to", type=_count, help="build: dimensions of a random rotation before it")
    option("--key-by", choices=["question", "statement"], help="build: whose vectors are stored (default: statement)")
    option("--shards", type=_count, help="build: threads that build at once (default: 1)")
    option(
        "--encoder",
        help="folder or hub id of a sentence-transformers model (default: the packaged one; search, add: the store's)",
    )
    option("--query", help="search: a question")
    option(
        "--engine",
        choices=["faiss", "faiss-gpu", "torch"],
        help="search: what searches, torch and faiss-gpu for Flat on a GPU (default: faiss)",
    )
    option("--top", type=_count, help="search: answers shown (default: 5)")

    option = new(
        "report",
        help="write the report of a run again",
        description="Write the report of a run again, from its results alone.",
    ).add_argument
    option("run", help="run folder, such as runs/quickstart")

    option = new(
        "diff",
        help="what changed from one run to another",
        description="Two runs side by side: settings that differ, and numbers that differ beyond the noise of seeds.",
    ).add_argument
    option("first", help="run folder, such as runs/keys")
    option("second", help="another one")

    option = new(
        "reproduce",
        help="measure published numbers again",
        description="Measure published numbers again, each in its own setting, and set ours beside them.",
    ).add_argument
    option("--tier", default="quick", help="quick (default: minutes) or full (hours)")
    option("--limit-small", help="folder of LIMIT-small, for the row of BM25 on it")
    option("--only", help="rows whose source or setting holds these words, such as Nichani")
    option("--force", action="store_true", help="measure finished numbers again")
    option("--workers", type=_count, help="processes; one a core where empty")
    option("--engine", default="loky", help="as of compare")

    option = new(
        "lm-eval",
        help="ask a saved memory: causal_lm the tasks of lm-evaluation-harness",
        description="Ask a saved memory of a language model the tasks of lm-evaluation-harness (pip install '.[lm]').",
    ).add_argument
    option("memory", help="folder that such a memory was saved to")
    option("--tasks", required=True, help="names of tasks, with commas between them")
    option("--limit", type=_count, help="questions of each task, at most")
    option("--shots", type=_count, help="examples before each question; as the task says where empty")
    option("--include", help="folder with tasks of yours")
    option("--chat", action="store_true", help="ask by the chat template")

    option = new(
        "bench",
        help="our code beside FAISS's, torch's and the processor's, in turns",
        description="Time our code beside what it stands on, in turns within one run.",
    ).add_argument
    option("--only", help="index, encoder, engines, training or million (all where empty), search or curves")
    option("--tier", default="quick", help="quick (default) or full: searches of an hour")

    new(
        "doctor",
        help="print versions, threads, devices, encoder",
        description="Print what this installation is made of.",
    )
    return parser


def _count(text: str) -> int:
    """A type of arguments."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} should be a whole number, 1 or more")
    return int(text)


def _lm_eval(chosen: Namespace) -> None:
    from importlib.util import find_spec

    if find_spec("lm_eval") is None:
        raise UserError("lm-eval needs lm-evaluation-harness, which is not installed: pip install '.[lm]'")
    from retromem.language.harness_lm import evaluated

    include = Path(chosen.include) if chosen.include else None
    tasks = [name.strip() for name in chosen.tasks.split(",")]
    folder, shots = Path(chosen.memory), chosen.shots
    print(evaluated(folder, tasks, limit=chosen.limit, shots=shots, include=include, chat=chosen.chat))


def _compare(chosen: Namespace, overrides: list[tuple[str, str]], command: str) -> None:
    from retromem.configuration import apply_override, build, read_config
    from retromem.knowledge.fact_files import source_name
    from retromem.run.experiment import ExperimentConfig
    from retromem.run.sweeps import with_sweeps_expanded

    path = Path(chosen.config or ("configs/own_facts.yaml" if chosen.facts else "configs/quickstart.yaml"))
    content = read_config(path)
    if chosen.facts:
        _point_at(content, chosen, path)
    elif chosen.phrasings or chosen.columns:
        raise UserError("--phrasings and --columns describe your own facts: add --facts FILE")
    if chosen.max_facts is not None:
        content["max_weight_facts"] = chosen.max_facts
    settings = [*_settings(chosen.set), *overrides]
    for dotted, value in settings:
        apply_override(content, dotted, value)
    source = f"{path}, with the settings given" if settings else str(path)
    # What a run has kept may come from anybody: it names no class of others.
    written = not _is_kept(path)
    config = build(ExperimentConfig, content, source=source, may_name_classes=written)
    config = with_sweeps_expanded(config, may_name_classes=written)
    name = chosen.name
    if not name:  # settings make another run: it must not take the place of the one without them
        name = source_name(chosen.facts) if chosen.facts else _name_of(path)
        name += _settings_name(settings) if settings else ""
    if not name.isprintable() or not re.fullmatch(r"[^./\\][^/\\]{0,99}", name):
        raise UserError(f"--name {name!r}: is no good name of a folder; use letters, digits, - and _, 100 at most")

    if _finished(config, name, chosen, command).num_failed:
        sys.exit(1)


def _finished(config: "ExperimentConfig", name: str, chosen: Namespace, command: str) -> "FinishedRun":
    from retromem.run.run_experiment import run_experiment

    return run_experiment(
        config,
        name=name,
        command=command,
        say=_SAY,
        force=chosen.force,
        num_workers=chosen.workers,
        engine=chosen.engine,
    )


def _settings_name(settings: Sequence[tuple[str, str]]) -> str:
    """`-steps=100-1a2b3c`: what a reader looks for, and a hash of the settings as they were given."""
    readable = ",".join(f"{dotted.rpartition('.')[2]}={value}" for dotted, value in settings)
    whole = json.dumps(sorted(settings)).encode()
    return f"-{re.sub(r'[^ -~]|[^A-Za-z0-9_=.,+-]', '_', readable)[:48]}-{hashlib.sha256(whole).hexdigest()[:6]}"


def _name_of(config: Path) -> str:
    """Of the run: the config's, or that of the run that has kept it."""
    return config.resolve().parent.name if _is_kept(config) else config.stem


def _is_kept(config: Path) -> bool:
    """Whether it is what a run has kept of its settings."""
    from retromem.configuration import RESOLVED
    from retromem.run.report_run import PLAN

    return config.name == RESOLVED and (config.parent / PLAN).is_file()


def _reproduce(chosen: Namespace, command: str) -> None:
    """Status 1 where a number is out of its band."""
    from retromem.run.reproduction import reproduction

    folder = Path(chosen.limit_small) if chosen.limit_small else None
    config = reproduction(tier=chosen.tier, only=chosen.only, limit_small_folder=folder)
    name = "reproduce-part" if chosen.only else "reproduce"  # a part must not take the place of the whole table
    published = _finished(config, name, chosen, command).published
    failed = sum(not row.passes for row in published)
    print(f"{len(published) - failed} of {len(published)} published numbers reproduced")
    if failed:
        sys.exit(1)


def _settings(text: str | None) -> list[tuple[str, str]]:
    try:
        pairs = [part.partition("=") for part in shlex.split(text or "")]
    except ValueError as error:
        raise UserError(f"--set: {text!r} cannot be split ({error}); close every quote") from None
    for dotted, equals, _ in pairs:
        if not (dotted and equals):
            raise UserError(f"--set: {dotted!r} should read section.field=value")
    return [(dotted, value) for dotted, _, value in pairs]


def _point_at(content: dict[str, Any], chosen: Namespace, path: Path) -> None:
    """The user's file takes the place of each `source: file` of the config."""
    from retromem.knowledge.fact_columns import split_columns

    columns, pointed = list(split_columns(chosen.columns)), False
    studies = content.get("studies")
    for study in studies.values() if isinstance(studies, dict) else ():
        knowledge = study.get("knowledge") if isinstance(study, dict) else None
        if isinstance(knowledge, dict) and knowledge.get("source") == "file":
            knowledge |= {"file": chosen.facts, "phrasings": chosen.phrasings, "columns": columns}
            knowledge["name"] = chosen.name
            pointed = True
    if not pointed:
        raise UserError(
            f"{path}: has no study with `source: file`, so --facts has no effect; use configs/own_facts.yaml"
        )


_TAKEN = {
    "build": (
        *("facts", "documents", "split", "phrasings", "columns", "index", "rotate_to", "key_by", "shards", "encoder"),
    ),
    "add": ("facts", "phrasings", "columns", "encoder"),
    "verify": (),
    "search": ("query", "top", "engine", "encoder"),
}
"""options of each action of `index`"""


def _index(chosen: Namespace) -> None:
    if not chosen.store:
        raise UserError(f"index {chosen.action} needs the folder of the store (make index OUT=folder)")
    store = Path(chosen.store)
    taken = _TAKEN[chosen.action]
    for name in sorted({name for names in _TAKEN.values() for name in names} - set(taken)):
        if getattr(chosen, name) is not None:
            takes = ", ".join("--" + name.replace("_", "-") for name in taken) or "no options"
            raise UserError(f"index {chosen.action} has no use for --{name.replace('_', '-')}; it takes {takes}")
    if chosen.action == "verify":
        from retromem.stores.store_checks import verify_store

        print(verify_store(store))
    elif chosen.action == "search":
        if not (chosen.query or "").strip():
            raise UserError('index search needs a question: --query "In which country is Paris?"')
        from retromem.stores.store_search import search_store

        engine: Any = chosen.engine or "faiss"
        print(search_store(store, chosen.query, top=chosen.top or 5, engine=engine, model=chosen.encoder))
    elif chosen.action == "add":
        if not chosen.facts:
            raise UserError("index add needs --facts FILE, a JSONL, CSV or Parquet of subject, relation, value")
        from retromem.stores.fact_additions import add_facts

        print(add_facts(store, **_told_of_facts(chosen), model=chosen.encoder))
    else:
        print(_built(store, chosen))


def _told_of_facts(chosen: Namespace) -> dict[str, Any]:
    from retromem.knowledge.fact_columns import split_columns

    return {"facts": chosen.facts, "phrasings": chosen.phrasings, "columns": split_columns(chosen.columns)}


def _built(store: Path, chosen: Namespace) -> str:
    """The ledger of a store of facts or of documents, whose builders know what is left out here."""
    shared = {
        "factory": chosen.index,
        "rotate_to": chosen.rotate_to,
        "num_shards": chosen.shards,
        "model": chosen.encoder,
    }
    given = {name: value for name, value in shared.items() if value is not None}
    if chosen.documents:
        if chosen.facts:
            raise UserError("index build: --facts and --documents make two stores; give one of them")
        for name in ("phrasings", "columns"):
            if getattr(chosen, name):
                raise UserError(f"--{name} describes facts, and --documents has none; leave it out")
        if chosen.key_by == "question":
            raise UserError("--key-by question: documents have no questions of their own; leave it out")
        from retromem.stores.document_stores import build_document_store

        given |= {"split": chosen.split} if chosen.split else {}
        return build_document_store(store, documents=Path(chosen.documents), **given)
    if not chosen.facts:
        raise UserError(
            "index build needs --facts FILE, a CSV, TSV, JSON or Parquet of subject, relation, value, "
            "or --documents FOLDER"
        )
    if chosen.split:
        raise UserError("--split cuts documents, and --facts has none; leave it out")
    from retromem.stores.fact_stores import build_fact_store

    given |= {"key_by": chosen.key_by} if chosen.key_by else {}
    return build_fact_store(store, **_told_of_facts(chosen), **given, say=_SAY)
