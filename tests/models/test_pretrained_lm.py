"""Models of transformers: each candidate's score against the whole text read by itself, writing against their own."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
)

from models.answer_rows import AnswerRows
from models.decoder_budget import DecoderBudget
from models.decoder_training import DecoderModule, fit_decoder
from models.pretrained_lm import PretrainedLM, with_ends
from models.pretrained_weights import (
    adapter_files,
    adapter_settings,
    count_numbers,
    own_random_numbers,
    with_adapter,
    with_new_adapter,
)
from models.token_batches import ShuffledPasses, ShuffledTexts, padded
from models.trainer_choice import checkpoints_kept_in, trained_by
from models.trainers import _OneProcessTrainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
V, END = 67, 2
SIZES = {"vocab_size": V, "hidden_size": 16, "num_hidden_layers": 2}
HEADS = {"intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1}
CONFIGS = {
    "llama": LlamaConfig(**SIZES, **HEADS),
    "gpt2": GPT2Config(vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2),
    "sliding window": MistralConfig(**SIZES, **HEADS, sliding_window=4),
    "capped logits": Gemma2Config(**SIZES, **HEADS, head_dim=8, sliding_window=4, final_logit_softcapping=0.1),
    "no positions": BloomConfig(vocab_size=V, hidden_size=16, n_layer=2, n_head=2),
    "no attention": MambaConfig(**SIZES),
}
ANSWERS = with_ends([[5], [6, 7], [6, 8, 9], [6, 8, 10], [6, 8], [11, 12, 13, 14], [7]], end=END)
LORA = {"peft_type": "LORA", "r": 2, "target_modules": "all-linear"}
PREFIX = {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}
PROMPT = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}


def loud(config, *, seed=0):
    """As large weights as that what is said differs."""
    generator = torch.Generator().manual_seed(seed)
    with own_random_numbers(seed):
        model = AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():
        weight.data.normal_(0, 0.3, generator=generator)
    return model.eval()


def prompts(batch=3, length=5):
    return torch.randint(3, V, (batch, length), generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def by_itself(model, prompts_BT, answer):
    """The reference: the whole text in one pass, for one answer."""
    whole_BT = torch.cat([prompts_BT, torch.tensor(answer).expand(len(prompts_BT), -1)], dim=1)
    length = prompts_BT.shape[1]
    logits_BTV = model(input_ids=whole_BT, attention_mask=torch.ones_like(whole_BT)).logits[:, -whole_BT.shape[1] :]
    log_probs_BTV = logits_BTV.float().log_softmax(-1)[:, length - 1 : -1]
    return log_probs_BTV.gather(2, whole_BT[:, length:, None]).sum((1, 2))


def test_an_answer_that_another_goes_on_from_is_ended() -> None:
    assert ANSWERS == [[5], [6, 7], [6, 8, 9], [6, 8, 10], [6, 8, END], [11, 12, 13, 14], [7]]


def test_answers_that_begin_alike_are_read_once() -> None:
    rows = AnswerRows(ANSWERS)
    assert rows.num_texts == 2 and rows.longest == 4  # 6 is read with 6 8
    (block,) = rows.blocks(100, 100)
    assert block.texts_CL.tolist() == [[6, 8, 0], [11, 12, 13]]
    assert block.answers_A.tolist() == [1, 2, 3, 4, 5] and block.rows_A.tolist() == [0, 0, 0, 0, 1]
    dates = AnswerRows([[month, day, year] for month in range(12) for day in range(20, 30) for year in (40, 41)])
    assert dates.num_texts == 120
    several = dates.blocks(20, 100)  # tokens of ten texts
    assert len(several) == 12 and [len(block.answers_A) for block in several] == [20] * 12
    assert sorted(torch.cat([block.answers_A for block in several]).tolist()) == list(range(240))


@pytest.mark.parametrize("kind", CONFIGS)
def test_scores_and_writing_are_those_of_texts_read_whole(kind: str) -> None:
    model = loud(CONFIGS[kind])
    lm, prompts_BT = PretrainedLM(model), prompts()
    assert lm._head_alone == (kind != "capped logits") and lm._reads_on == (kind != "no attention")
    found_BM = lm.log_likelihoods(prompts_BT, AnswerRows(ANSWERS))
    for column, answer in enumerate(ANSWERS):
        torch.testing.assert_close(found_BM[:, column], by_itself(model, prompts_BT, answer), atol=2e-5, rtol=1e-5)
    ends = {END, 9}
    theirs = model.generate(
        input_ids=prompts_BT,
        attention_mask=torch.ones_like(prompts_BT),
        do_sample=False,
        max_new_tokens=6,
        eos_token_id=sorted(ends),
        pad_token_id=0,
    )[:, 5:].tolist()
    expected = [row[: next((at for at, token in enumerate(row) if token in ends), 6)] for row in theirs]
    assert lm.continued(prompts_BT, most=6, ends=ends) == expected
    logits_BTV = lm.logits(lm.hidden(prompts_BT))
    torch.testing.assert_close(logits_BTV, model(input_ids=prompts_BT).logits, atol=1e-5, rtol=1e-5)


def test_many_answers_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, prompts_BT = PretrainedLM(loud(CONFIGS["llama"])), prompts()
    whole_BM = lm.log_likelihoods(prompts_BT, AnswerRows(ANSWERS))
    monkeypatch.setattr("models.pretrained_lm._ROWS_AT_ONCE", 4)  # of three prompts: a text at a time
    torch.testing.assert_close(lm.log_likelihoods(prompts_BT, AnswerRows(ANSWERS)), whole_BM, atol=1e-5, rtol=1e-5)
    alone_1M = lm.log_likelihoods(prompts_BT[1:2], AnswerRows(ANSWERS))
    torch.testing.assert_close(alone_1M[0], whole_BM[1], atol=1e-5, rtol=1e-5)


def test_ends_of_texts_are_scored_as_answers_are() -> None:
    model = loud(CONFIGS["gpt2"])
    lm, prompts_BT = PretrainedLM(model), prompts()
    (likeliest,) = lm.continued(prompts_BT[:1], most=3, ends=())
    answers = [likeliest, [5, 6], [7]]
    texts_RT, lengths_R = padded([[*prompts_BT[0].tolist(), *answer] for answer in answers])
    found_R, is_likeliest_R = lm.log_likelihoods_of_ends(texts_RT, lengths_R, torch.tensor([3, 2, 1]))
    expected_R = torch.cat([by_itself(model, prompts_BT[:1], answer) for answer in answers])
    torch.testing.assert_close(found_R, expected_R, atol=1e-5, rtol=1e-5)
    assert is_likeliest_R.tolist() == [True, False, False]


@pytest.mark.parametrize("settings", [LORA, PREFIX, PROMPT], ids=lambda settings: settings["peft_type"])
def test_an_adapter_is_packed_and_switched_off(settings: dict) -> None:
    plain, prompts_BT = PretrainedLM(loud(CONFIGS["llama"])), prompts()
    before_BM = plain.log_likelihoods(prompts_BT, AnswerRows(ANSWERS))
    with own_random_numbers(1):
        lm = with_new_adapter(plain, settings)
    learnt = [weight for weight in lm.parameters() if weight.requires_grad]
    for weight in learnt:
        weight.data.normal_(0, 0.5, generator=torch.Generator().manual_seed(2))
    files = adapter_files(lm, "float32", base="a base")
    assert count_numbers(files) == sum(weight.numel() for weight in learnt)
    again = with_adapter(PretrainedLM(loud(CONFIGS["llama"])), files)
    found_BM = again.log_likelihoods(prompts_BT, AnswerRows(ANSWERS))
    torch.testing.assert_close(found_BM, lm.log_likelihoods(prompts_BT, AnswerRows(ANSWERS)), atol=1e-5, rtol=1e-5)
    assert (found_BM - before_BM).abs().max() > 0.1
    for column, answer in enumerate(ANSWERS):
        expected_B = by_itself(again.model, prompts_BT, answer)
        torch.testing.assert_close(found_BM[:, column], expected_B, atol=2e-5, rtol=1e-5)
    with again.adapter_is(False):
        assert torch.equal(again.log_likelihoods(prompts_BT, AnswerRows(ANSWERS)), before_BM)
    written = again.continued(prompts_BT, most=4, ends={END})
    text_BT = prompts_BT[:1]
    for token in written[0]:
        mask_BT = torch.ones_like(text_BT)
        assert int(again.model(input_ids=text_BT, attention_mask=mask_BT).logits[0, -1].argmax()) == token
        text_BT = torch.cat([text_BT, torch.tensor([[token]])], dim=1)


def test_a_step_of_a_training_moves_the_adapter_alone() -> None:
    lm = with_new_adapter(PretrainedLM(loud(CONFIGS["gpt2"])), {"peft_type": "LORA", "r": 2})
    tokens_NT = prompts(4, 6)
    passes = ShuffledPasses(4, exposures=1, batch_size=4, seed=0)
    texts = ShuffledTexts(tokens_NT, tokens_NT > 0, torch.full((4,), 6), torch.ones(4).bool(), passes)
    module = DecoderModule(lm, texts, DecoderBudget(exposures=1, recomputes=True))
    tokens_BL, learnt_BL, *_ = texts.batch(0)
    lm.train()
    hidden_BLD = lm.hidden(tokens_BL[:, :-1])
    logits_MV = lm.logits(hidden_BLD[learnt_BL[:, 1:]])
    torch.nn.functional.cross_entropy(logits_MV, tokens_BL[:, 1:][learnt_BL[:, 1:]]).backward()
    moved = {name for name, weight in lm.named_parameters() if weight.grad is not None}
    assert moved and all("lora" in name for name in moved)
    assert any(getattr(part, "gradient_checkpointing", False) for part in lm.modules())
    (optimizer,), _ = module.configure_optimizers()
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(moved)


def test_an_adapter_goes_on_from_its_checkpoint_which_has_no_frozen_weights(tmp_path) -> None:
    def module() -> DecoderModule:
        with own_random_numbers(3):
            lm = with_new_adapter(PretrainedLM(loud(CONFIGS["llama"])), LORA)
        tokens_NT = prompts(12, 6)
        lengths_N, asked_N = torch.full((12,), 6), torch.ones(12).bool()
        passes = ShuffledPasses(12, exposures=8, batch_size=4, seed=0)
        texts = ShuffledTexts(tokens_NT, tokens_NT > 0, lengths_N, asked_N, passes)
        return DecoderModule(lm, texts, DecoderBudget(goal_nats=0.0, learning_rate=1e-2))

    class Fails(Callback):
        def on_train_batch_end(self, trainer, *_) -> None:
            if trainer.global_step == 15:
                raise RuntimeError("the machine went down")

    def failing(**settings):
        settings["callbacks"][0]._train_time_interval = None
        settings["callbacks"][0]._every_n_train_steps = 10
        return _OneProcessTrainer(**settings | {"callbacks": [*settings["callbacks"], Fails()]})

    whole, resumed = module(), module()
    fit_decoder(whole, accelerator="cpu")
    with checkpoints_kept_in(tmp_path), trained_by(failing), pytest.raises(RuntimeError, match="went down"):
        fit_decoder(module(), accelerator="cpu")
    kept = torch.load(next(tmp_path.glob("decoder-*.ckpt")), weights_only=True)["state_dict"]
    assert kept and all("lora" in name for name in kept)
    with checkpoints_kept_in(tmp_path):
        fit_decoder(resumed, accelerator="cpu")
    assert resumed.steps_done == whole.steps_done == 24
    for one, other in zip(resumed.decoder.parameters(), whole.decoder.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_no_language_model_from_left_to_right_is_refused() -> None:
    with pytest.raises(ValueError, match="BertLMHeadModel is not causal: its earlier tokens see later ones"):
        PretrainedLM(loud(BertConfig(**SIZES, intermediate_size=24, num_attention_heads=2)))


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"peft_type": "LORRA"}, r"peft_type: 'LORRA' is none of .*IA3.*LORA"),
        ({"peft_type": "LORA", "rank": 3}, "rank: is no setting of LORA; it has .*lora_alpha"),
        ({"peft_type": "LORA", "task_type": "SEQ_CLS"}, "task_type: must be CAUSAL_LM, not 'SEQ_CLS'"),
    ],
)
def test_an_adapter_that_peft_does_not_know(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        adapter_settings(settings)
