"""A saved memory as a model of lm-evaluation-harness, which is an optional package: imported only where it is there.

Asked in texts as the harness forms them, by its rules (0.4.13): the tokenizer's own marks, trailing spaces of a context
moved to what follows, long contexts cut on their left.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval import simple_evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window, make_table

from models.pretrained_lm import PretrainedLM
from models.token_batches import padded
from retrieval.errors import UserError
from retromem.language.pretrained_folder import load_tokenizer
from retromem.memories.written_lm import WrittenLM

_TEXTS_AT_ONCE = 16
_MOST_WRITTEN = 256
_WRITTEN_AT_ONCE = 16
"""tokens, before what was written is searched for where to stop"""
_NO_LIMIT = 1 << 20


class HarnessLM(TemplateLM):  # type: ignore[misc]
    """Answers from the weights alone: what a memory reads beside them is left out."""

    def __init__(self, written: WrittenLM) -> None:
        super().__init__()
        self._written = written
        self._lm: PretrainedLM = written.lm
        self.tokenizer = load_tokenizer(written.folder, trust_remote_code=written.config.trust_remote_code)

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    @property
    def max_length(self) -> int:
        """Tokens that the model reads."""
        return self._lm.context or _NO_LIMIT

    @property
    def tokenizer_name(self) -> str:
        return self._written.config.model.replace("/", "__")

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        begin = self.tokenizer.bos_token
        marks = not (begin and string.startswith(begin)) if add_special_tokens is None else add_special_tokens
        return list(self.tokenizer.encode(string, add_special_tokens=marks))

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        order = sorted(range(len(requests)), key=lambda row: len(requests[row][1]) + len(requests[row][2]))
        found: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            block = order[start : start + _TEXTS_AT_ONCE]
            texts, behind = [], []
            for row in block:
                _, context, said = requests[row]
                texts.append([*context, *said][-self.max_length - 1 :])
                behind.append(min(len(said), len(texts[-1]) - 1))
            tokens_RT, lengths_R = padded(texts)
            scores = self._lm.log_likelihoods_of_ends(tokens_RT, lengths_R, torch.tensor(behind))
            for row, score, is_likeliest in zip(block, *(part.tolist() for part in scores), strict=True):
                found[row] = (score, is_likeliest)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        totals = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            pairs = [("", *make_disjoint_window(window)) for window in windows]
            totals.append(sum(score for score, _ in self._loglikelihood_tokens(pairs)))
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        return [self._written_until(*request.args) for request in requests]

    def _written_until(self, context: str, settings: Mapping[str, Any]) -> str:
        if settings.get("do_sample") and settings.get("temperature", 1.0):
            raise UserError("lm-eval: a task wants sampled texts, and this model writes the likeliest token each time")
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        most = int(settings.get("max_gen_toks", settings.get("max_tokens", _MOST_WRITTEN)))
        prompt = self.tok_encode(context)[-max(1, self.max_length - most) :]
        ends = {self.eot_token_id, *self._lm.end_tokens}
        written: list[int] = []
        text = ""
        while len(written) < most:
            wanted = min(_WRITTEN_AT_ONCE, most - len(written))
            (more,) = self._lm.continued(torch.tensor([[*prompt, *written]]), most=wanted, ends=ends)
            written += more
            text = str(self.tokenizer.decode(written, skip_special_tokens=True))
            if len(more) < wanted or any(stop in text for stop in stops):
                break
        for stop in stops:
            text = text.split(stop)[0] if stop else text
        return text


def evaluated(
    folder: Path,
    tasks: Sequence[str],
    *,
    limit: int | None = None,
    shots: int | None = None,
    include: Path | None = None,
    chat: bool = False,
) -> str:
    """The harness's table of these tasks, asked of a saved memory. UserError for a folder that holds none, and for
    tasks that the harness cannot load."""
    from retromem.memories.saved_lm import saved_lm

    model = HarnessLM(saved_lm(folder))
    manager = TaskManager(include_path=None if include is None else str(include))
    if unknown := sorted(set(tasks) - set(manager.all_tasks)):
        raise UserError(
            f"--tasks {unknown[0]}: lm-evaluation-harness knows no such task; --include names a folder of yours"
        )
    found = simple_evaluate(
        model,
        tasks=list(tasks),
        limit=limit,
        num_fewshot=shots,
        task_manager=manager,
        apply_chat_template=chat,
        log_samples=False,
    )
    return str(make_table(found))
