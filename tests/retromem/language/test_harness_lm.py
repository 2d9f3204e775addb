"""A saved memory under lm-evaluation-harness, beside the harness's own way of running a model of transformers."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from retrieval.errors import UserError
from retromem.cli import main
from retromem.knowledge.biographies import BiographiesConfig
from retromem.memories.causal_lm_config import CausalLMConfig
from retromem.memories.saved_lm import saved_lm

QUESTIONS = [(" Where was Ann born?", " Paris, Texas"), ("Once", " upon a time"), ("", " Where"), ("a ", "b")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tiny_model) -> Path:
    people = BiographiesConfig(num_people=4, attributes=("major",), num_written=1).build()
    facts = people.facts(statements=True)
    folder = tmp_path_factory.mktemp("models")
    model = tiny_model(folder / "tiny", facts.statements.texts, chat=True)
    memory = CausalLMConfig(model=str(model), write="none").build(seed=0)
    memory.write(facts)
    memory.save(folder / "saved")
    return folder / "saved"


def test_a_folder_that_holds_no_such_memory_is_refused(saved: Path) -> None:
    assert saved_lm(saved).config.write == "none"
    with pytest.raises(UserError, match="tiny: holds no memory: causal_lm"):
        saved_lm(saved.parent / "tiny")


def test_without_the_harness_one_line_says_what_to_install(saved: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        main(["lm-eval", str(saved), "--tasks", "any"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and "not installed: pip install '.[lm]'" in said


@pytest.mark.filterwarnings("ignore")  # of the harness and of what it imports
def test_it_says_what_the_harness_finds_by_itself(saved: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM

    from retromem.language.harness_lm import HarnessLM

    ours = HarnessLM(saved_lm(saved))
    theirs = HFLM(pretrained=str(saved.parent / "tiny"), device="cpu", dtype="float32")
    asked = [SimpleNamespace(args=pair) for pair in QUESTIONS]
    for own, other in zip(ours.loglikelihood(asked), theirs.loglikelihood(asked, disable_tqdm=True), strict=True):
        assert own == (pytest.approx(other[0], abs=1e-3), other[1])
    whole = [SimpleNamespace(args=(" ".join(pair),)) for pair in QUESTIONS]
    assert ours.loglikelihood_rolling(whole) == pytest.approx(
        theirs.loglikelihood_rolling(whole, disable_tqdm=True), abs=1e-3
    )
    settings = {"until": ["zzz"], "max_gen_toks": 20, "do_sample": False}
    written = [SimpleNamespace(args=(question, dict(settings))) for question, _ in QUESTIONS[:2]]
    assert ours.generate_until(written) == theirs.generate_until(written, disable_tqdm=True)
    (first, _) = ours.generate_until(written)
    stopped = SimpleNamespace(args=(QUESTIONS[0][0], {**settings, "until": [first[3:5]]}))
    assert ours.generate_until([stopped]) == [first.split(first[3:5])[0]]
    turns = [{"role": "user", "content": "Where?"}]
    assert ours.apply_chat_template(turns) == theirs.apply_chat_template(turns)
    sampled = SimpleNamespace(args=("a", {"do_sample": True, "temperature": 0.7}))
    with pytest.raises(UserError, match="wants sampled texts"):
        ours.generate_until([sampled])
