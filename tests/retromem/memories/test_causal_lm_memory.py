"""A model of transformers as a memory: what it scores and writes, what is stored of it, what it refuses."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel

from models.decoder_budget import DecoderBudget
from retrieval.errors import Refused, UserError
from retromem.configuration import build
from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.from_table import text_set
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.knowledge.wordings import Wordings
from retromem.measure.judgement import Setting, Written, judge, write
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import MeasureConfig
from retromem.memories.causal_lm_config import CausalLMConfig
from retromem.memories.causal_lm_memory import CausalLMMemory
from retromem.rows import Row
from retromem.run.cells import Cell, plan
from retromem.run.experiment import ExperimentConfig
from retromem.seam import Part

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # peft 0.21 asks transformers 5.23
]
LORA = {"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": "all-linear"}
TRAINING = DecoderBudget(exposures=150, batch_size=24, learning_rate=1e-2, goal_nats=0.02)
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal", "Ida", "Jo", "Kim", "Lea")
VALUES = ("red", "tan", "blue", "blue green")


def things():
    table = FactTable(
        name="things",
        subjects=NAMES,
        relations=("colour",) * 8 + ("size",) * 4,
        values=(*(VALUES[number] for number in (0, 1, 2, 3, 3, 2, 0, 1)), "big", "small", "big", "tiny"),
        popularity=None,
        aliases=((),) * 12,
        dropped={},
        attribution=None,
        notes=(),
    )
    colour = Wordings(
        statements=("{subject} likes {value}.",), written=("What does {subject} like?",), calibrate=None, heldout=()
    )
    size = Wordings(
        statements=("{subject} is {value}.",), written=("How tall is {subject}?",), calibrate=None, heldout=()
    )
    return text_set(table, {"colour": colour, "size": size}, num_written=1)


THINGS = things().twin(seed=1)
SETTING = Setting(study="s", role="arm", seed=0)


def texts() -> list[str]:
    facts = THINGS.facts(statements=True)
    return [*facts.cues[0].texts, *facts.statements.texts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", texts())


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory, tiny_model) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "chatty", texts(), chat=True)


def written(config: CausalLMConfig) -> CausalLMMemory:
    memory = config.build(seed=0)
    memory.write(THINGS.facts(statements=True))
    return memory


@pytest.fixture(scope="module")
def lora_written(folder: Path) -> Written:
    config = CausalLMConfig(model=str(folder), peft=LORA, training=TRAINING, precision="float16")
    return write(config, THINGS, setting=SETTING)


@pytest.fixture
def lora(lora_written: Written) -> CausalLMMemory:
    return lora_written.memory


def judged(config: CausalLMConfig, written: Written | None = None) -> Row:
    measures = MeasureConfig(robustness=False)
    (row,) = judge(config, THINGS, setting=SETTING, measures=measures, encoder=EncoderCost(), written=written).rows
    return row


def log_probs(memory: CausalLMMemory) -> np.ndarray:
    asked = THINGS.ask("identical")
    found = np.full((len(asked), 4), -np.inf, dtype=np.float32)
    for row, relation in enumerate(asked.queries.relation_ids_Q.tolist()):
        candidates = THINGS.values.candidates(relation)
        one = memory.recall(asked.queries.rows(np.array([row])), score=candidates[None])
        found[row, : len(candidates)] = one.scored_QC[0]
    return found


@pytest.mark.parametrize("kind", ["folder", "chatty"])
def test_scores_are_likelihoods_of_the_texts_that_transformers_would_make(kind: str, request) -> None:
    path = request.getfixturevalue(kind)
    memory = written(CausalLMConfig(model=str(path), write="none"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    asked, found = THINGS.ask("identical"), log_probs(memory)
    for row in (0, 3, 9):
        question = asked.queries.texts[row]
        if kind == "chatty":
            turn = [{"role": "user", "content": question}]
            prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True)["input_ids"]
            answers = {}
            for value in (*VALUES, "big", "small", "tiny"):
                whole = tokenizer.apply_chat_template([*turn, {"role": "assistant", "content": value}])["input_ids"]
                assert whole[: len(prompt)] == prompt
                answers[value] = whole[len(prompt) : whole.index(tokenizer.eos_token_id, len(prompt))]
        else:
            prompt = [tokenizer.bos_token_id, *tokenizer(f" {question}", add_special_tokens=False)["input_ids"]]
            answers = {
                value: tokenizer(f" {value}", add_special_tokens=False)["input_ids"]
                for value in (*VALUES, "big", "small", "tiny")
            }
        answers["blue"] = [*answers["blue"], tokenizer.eos_token_id]  # "blue green" goes on from it
        relation = int(asked.queries.relation_ids_Q[row])
        expected = []
        for candidate in THINGS.values.candidates(relation):
            answer = answers[THINGS.values.strings[candidate]]
            with torch.no_grad():
                said = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
            expected.append(sum(float(said[len(prompt) - 1 + at, token]) for at, token in enumerate(answer)))
        expected = np.array(expected) - np.logaddexp.reduce(expected)
        assert np.allclose(found[row, : len(expected)], expected, atol=1e-4)
        read = {"input_ids": torch.tensor([prompt]), "attention_mask": torch.ones(1, len(prompt))}
        theirs = model.generate(**read, do_sample=False, max_new_tokens=8, pad_token_id=0)[0, len(prompt) :]
        (ours,) = memory.write_answers(asked.queries.rows(np.array([row])))
        assert ours.startswith(tokenizer.decode(theirs, skip_special_tokens=True).strip())


@pytest.mark.slow
def test_an_adapter_is_written_recalled_and_weighed(lora_written: Written) -> None:
    config = lora_written.memory.config
    row = judged(config, lora_written)
    assert row.accuracy == row.exact_match == 1.0 and row.side == "parametric" and row.twin
    assert row.bits_ce > 0.9 * row.demand_bits
    before = judged(replace(config, write="none"))
    assert row.bits_stored == row.bits_ce - before.bits_ce and before.bits_stored == 0.0
    # r numbers in and out of q, k, v, o, gate, up and down of two layers of 32 and 48
    assert row.num_params == 2 * 8 * (64 + 48 + 48 + 64 + 80 + 80 + 80)
    assert 2 * row.num_params < row.storage_bytes < 2 * row.num_params + 6000
    assert row.num_embedding_params == 0 and row.write_flops > 0 and row.exposures >= 2
    assert row.shared_bytes == sum(path.stat().st_size for path in Path(config.model).iterdir()) > 100_000
    assert (before.num_params, before.shared_bytes, before.write_flops) == (0, row.shared_bytes, 0)


@pytest.mark.slow
@pytest.mark.parametrize("write", ["peft", "full"])
def test_a_chat_model_learns_its_facts_as_turns(chatty: Path, write: str) -> None:
    config = CausalLMConfig(model=str(chatty), write=write, peft=LORA, training=TRAINING)
    row = judged(config)
    assert row.accuracy == row.exact_match == 1.0 and row.bits_stored > 0.6 * row.demand_bits


def test_an_answer_depends_on_its_question_alone(lora: CausalLMMemory) -> None:
    asked, alone = THINGS.ask("identical"), log_probs(lora)
    for relation in (0, 1):
        rows = np.flatnonzero(asked.queries.relation_ids_Q == relation)
        candidates = np.tile(THINGS.values.candidates(relation), (len(rows), 1))
        together = lora.recall(asked.queries.rows(rows), top_k=9, score=candidates)
        assert np.allclose(together.scored_QC, alone[rows, : candidates.shape[1]], atol=1e-5)
        unscored = lora.recall(asked.queries.rows(rows), top_k=9)
        assert np.array_equal(unscored.value_ids_QK, together.value_ids_QK) and unscored.scored_QC.shape[1] == 0
        assert np.allclose(np.exp(together.scored_QC).sum(axis=1), 1, atol=1e-5)
    none = lora.recall(asked.queries.rows(np.arange(0)))
    assert none.value_ids_QK.shape == (0, 10)


def test_without_the_adapter_it_is_the_model_that_everybody_has(lora: CausalLMMemory, folder: Path) -> None:
    base = written(CausalLMConfig(model=str(folder), write="none"))
    assert np.array_equal(log_probs(lora.before()), log_probs(base))
    assert not np.allclose(log_probs(lora), log_probs(base), atol=0.1)
    assert lora.before().write_answers(THINGS.ask("identical").queries) == base.write_answers(
        THINGS.ask("identical").queries
    )


def test_a_saved_adapter_answers_alike_and_peft_loads_it(lora: CausalLMMemory, folder: Path, tmp_path: Path) -> None:
    lora.save(tmp_path / "saved")
    again = CausalLMMemory.load(tmp_path / "saved")
    assert np.array_equal(log_probs(again), log_probs(lora))
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "saved").iterdir()}
    assert lora.footprint().num_bytes(Part.STORAGE, Part.MAINTAIN, Part.VALUE) == sum(sizes.values())
    assert sizes["adapter_model.safetensors"] < 2 * lora.footprint().num_params + 6000  # float16
    assert json.loads((tmp_path / "saved" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        folder
    )
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "saved")
    tokens_BT = torch.tensor([lora.written.tokens.prompts(["What does Ada like?"])[0]])
    with torch.no_grad():
        expected = theirs(input_ids=tokens_BT).logits
        assert torch.allclose(again.written.lm.model(input_ids=tokens_BT).logits, expected, atol=1e-5)


def test_a_model_trained_itself_is_a_folder_of_transformers(folder: Path, tmp_path: Path) -> None:
    config = CausalLMConfig(
        model=str(folder), write="full", training=replace(TRAINING, exposures=4), precision="float16"
    )
    memory = written(config)
    memory.save(tmp_path / "saved")
    assert np.array_equal(log_probs(CausalLMMemory.load(tmp_path / "saved")), log_probs(memory))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    assert memory.footprint().num_params == sum(weight.numel() for weight in theirs.parameters())
    tokens_BT = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        assert torch.equal(theirs(tokens_BT).logits, memory.written.lm.model(input_ids=tokens_BT).logits)
    total = sum(path.stat().st_size for path in (tmp_path / "saved").iterdir())
    assert memory.footprint().num_bytes(Part.STORAGE, Part.MAINTAIN, Part.VALUE) == total
    assert memory.num_embedding_params == 2 * theirs.get_input_embeddings().weight.numel()
    base = written(replace(config, write="none"))
    assert np.array_equal(log_probs(memory.before()), log_probs(base)) and not np.array_equal(
        log_probs(memory), log_probs(base)
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "saved")  # with a tokenizer it is a model like any other
    as_it_is = written(CausalLMConfig(model=str(tmp_path / "saved"), write="none"))
    assert np.array_equal(log_probs(as_it_is), log_probs(memory))


def test_a_trained_prefix_is_an_adapter_too(chatty: Path, tmp_path: Path) -> None:
    prefix = {
        "peft_type": "PREFIX_TUNING",
        "num_virtual_tokens": 4,
        "prefix_projection": True,
        "encoder_hidden_size": 16,
    }
    memory = written(CausalLMConfig(model=str(chatty), peft=prefix, training=replace(TRAINING, exposures=4)))
    assert memory.footprint().num_params == 4 * 2 * 2 * 16  # what is stored is the prefix: keys, values of two layers
    memory.save(tmp_path / "saved")
    assert np.array_equal(log_probs(CausalLMMemory.load(tmp_path / "saved")), log_probs(memory))
    base = written(CausalLMConfig(model=str(chatty), write="none"))
    assert np.array_equal(log_probs(memory.before()), log_probs(base))
    assert not np.allclose(log_probs(memory), log_probs(base), atol=1e-3)


def test_the_seed_draws_the_adapter_and_nothing_else_is_drawn(folder: Path) -> None:
    config = CausalLMConfig(
        model=str(folder), peft={**LORA, "lora_dropout": 0.1}, training=replace(TRAINING, exposures=2)
    )
    torch.manual_seed(5)
    first, state = written(config), torch.random.get_rng_state()
    torch.manual_seed(6)
    assert written(config).written.files == first.written.files
    other = config.build(seed=1)
    other.write(THINGS.facts(statements=True))
    assert other.written.files != first.written.files
    torch.manual_seed(5)
    assert torch.equal(torch.random.get_rng_state(), state)


def copied(folder: Path, to: Path, *, without: str = "", **settings) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        if path.name != without:
            (to / path.name).write_bytes(path.read_bytes())
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, **settings}))
    return to


def test_a_saved_memory_lets_no_model_run_its_own_code(folder: Path, tmp_path: Path, monkeypatch) -> None:
    own = copied(folder, tmp_path / "own")
    memory = written(CausalLMConfig(model=str(own), write="none", trust_remote_code=True))
    monkeypatch.setattr(CausalLMConfig, "saved", asdict)  # as somebody else may have written it
    memory.save(tmp_path / "saved")
    assert '"trust_remote_code": true' in (tmp_path / "saved" / "manifest.json").read_text()
    assert not CausalLMMemory.load(tmp_path / "saved").config.trust_remote_code
    settings = json.loads((own / "config.json").read_text())
    code = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Mine"}}
    (own / "config.json").write_text(json.dumps({**settings, **code}))
    (own / "mine.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(UserError, match="runs code from its own folder"):
        CausalLMMemory.load(tmp_path / "saved")


def said(**settings) -> str:
    with pytest.raises(UserError) as refused:
        build(CausalLMConfig, {"memory": "causal_lm", **settings}, source="mine.yaml").check()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_models_that_cannot_be_had_are_refused_before_anything_is_loaded(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    bare = copied(folder, tmp_path / "bare", without="tokenizer.json")
    assert "bare is a folder without a tokenizer" in said(model=str(bare))
    pickled = copied(folder, tmp_path / "pickled", without="model.safetensors")
    (pickled / "pytorch_model.bin").touch()
    assert "no weights in safetensors (only pytorch_model.bin, which is never unpickled)" in said(model=str(pickled))
    code = {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "mine.Mine"}}
    own = copied(folder, tmp_path / "own", **code)
    assert "is a mine that runs code from its own folder; say trust_remote_code: true" in said(model=str(own))
    encoder = tmp_path / "encoder"
    BertModel(
        BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(encoder)
    assert "holds BertModel, and what is wanted is a causal language model" in said(model=str(encoder))
    assert "org/none is neither a folder nor on the Hugging Face hub" in said(model="org/none")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no config.json" in said(model=str(empty))
    (empty / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    assert "is an adapter of org/base, not a model; name org/base" in said(model=str(empty))
    monkeypatch.setattr("retromem.language.pretrained_folder.find_spec", lambda name: None)
    assert "load_in: 4bit needs bitsandbytes, which is not installed" in said(model=str(folder), load_in="4bit")
    assert "write: peft needs peft, which is not installed" in said(model=str(folder))


def test_settings_that_cannot_be(folder: Path) -> None:
    own = {"model": str(folder)}
    assert "model: is missing; name a folder or a hub id" in said()
    assert "load_in must be float32" in said(**own, write="full", load_in="bfloat16")
    assert "peft.peft_type: 'LORRA' is none of" in said(**own, peft={"peft_type": "LORRA"})
    assert "peft.rank: is no setting of LORA" in said(**own, peft={"peft_type": "LORA", "rank": 3})
    assert "peft must name its peft_type" in said(**own, peft={"r": 3})
    with pytest.raises(UserError, match="peft: Target modules.*nowhere.*not found"):
        written(CausalLMConfig(model=str(folder), peft={"peft_type": "LORA", "target_modules": ["nowhere"]}))


def test_facts_that_it_cannot_be_written_with(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="needs texts"):
        CausalLMConfig(model=str(folder)).build(seed=0).write(keys_set(KeysConfig()).facts())
    small = copied(folder, tmp_path / "small", max_position_embeddings=6)
    with pytest.raises(UserError, match=r"model: a fact takes \d+ tokens, and .*small reads 6"):
        written(CausalLMConfig(model=str(small)))


def test_an_adapter_of_another_model_is_refused(lora: CausalLMMemory, folder: Path, tmp_path: Path, tiny_model) -> None:
    lora.save(tmp_path / "saved")
    other = tiny_model(tmp_path / "other", texts(), seed=1)
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    try:
        for path in other.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        with pytest.raises(
            UserError, match=r"was written into .*tiny of content \w{16}, and what lies at .* has content \w{16}"
        ):
            CausalLMMemory.load(tmp_path / "saved")
    finally:
        for name, content in kept.items():
            (folder / name).write_bytes(content)


def test_a_config_is_planned_or_refused_with_its_place(folder: Path, tmp_path: Path) -> None:
    def planned(model: str) -> list[Cell]:
        memory = {"memory": "causal_lm", "model": model, "write": "peft", "peft": {"peft_type": "IA3"}}
        arms = [{"memories": [memory], "num_facts": [20]}]
        studies = {"own": {"knowledge": {"source": "biographies", "num_people": 20}, "arms": arms}}
        config = build(ExperimentConfig, {"title": "t", "question": "q", "studies": studies}, source="mine.yaml")
        return plan(config, encoder_hash="any", text_dim=384)

    (cell, *_) = planned(str(folder))
    assert cell.name == "causal-lm-tiny-ia3" and cell.encoder_hash == "" and cell.memory.stores == "statements"
    assert planned(str(folder))[0] == cell
    other = copied(folder, tmp_path / "tiny", bos_token_id=1)  # of the same name, with other files
    assert planned(str(other))[0].identity()["model_hash"] != cell.identity()["model_hash"]
    json.dumps(cell.identity())
    with pytest.raises(
        UserError, match=r"^studies\.own\.arms\.0\.memories\.0\.model: org/none is neither a folder nor"
    ):
        planned("org/none")
