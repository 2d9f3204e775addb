"""How likely each of many answers is after a prompt: their tokens form a tree, read whole in one pass over the model.

What the answers begin with in common is read once. The tree's nodes are given to the model together; each sees the
prompt and the nodes on its own path. An answer that another one goes on from has to be ended as well.

Shape legend: B prompts, T tokens of a prompt, M answers, N nodes with something after them, E edges (a node, or the end
of the prompt, and the token after it), D dimension of the stream, V tokens of the vocabulary, W last tokens that an
n-gram lookup sees.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.decoder import Past


@runtime_checkable
class Reads(Protocol):
    """A decoder, or what has one inside."""

    def read(
        self,
        tokens_BT: Tensor,
        *,
        past: Past | None = None,
        positions_T: Tensor | None = None,
        mask_TS: Tensor | None = None,
        last_BTW: Tensor | None = None,
    ) -> tuple[Tensor, Past]: ...

    def logits(self, hidden: Tensor) -> Tensor: ...


class CandidateTree:
    """Of answers that are token sequences, no two alike."""

    def __init__(self, answers: Sequence[Sequence[int]], *, end: int) -> None:
        children: dict[tuple[int, ...], dict[int, None]] = {}
        known = {tuple(answer) for answer in answers}
        assert len(known) == len(answers) and () not in known, "answers are different, and none is empty"
        for answer in known:
            for cut in range(len(answer)):
                children.setdefault(answer[:cut], {})[answer[cut]] = None
        goes_on = [answer for answer in known if answer in children]
        for answer in goes_on:
            children[answer][end] = None
        paths = sorted(children, key=lambda path: (len(path), path))  # the empty one, the end of the prompt, first
        node_of = {path: number for number, path in enumerate(paths)}
        edges = [(path, token) for path in paths for token in sorted(children[path])]
        edge_of = {(*path, token): number for number, (path, token) in enumerate(edges)}
        self.num_nodes = len(paths) - 1
        self.longest = max(map(len, known))
        self._tokens_N = torch.tensor([path[-1] for path in paths[1:]], dtype=torch.long)
        self._depths_N = torch.tensor([len(path) - 1 for path in paths[1:]], dtype=torch.long)
        self._paths = paths[1:]
        self._sees_NN = torch.zeros(self.num_nodes, self.num_nodes, dtype=torch.bool)
        for number, path in enumerate(self._paths):
            for cut in range(1, len(path) + 1):
                self._sees_NN[number, node_of[path[:cut]] - 1] = True
        self._sources_E = torch.tensor([node_of[path] for path, _ in edges])
        self._edge_tokens_E = torch.tensor([token for _, token in edges])
        parents = [edge_of[path] if path else -1 for path, _ in edges]
        self._parents_E = torch.tensor(parents)
        # Edges stand in the order of their depth: those of one depth are added to their parents together.
        depths = [len(path) for path, _ in edges]
        self._levels = [(depths.index(depth), depths.index(depth) + depths.count(depth)) for depth in sorted({*depths})]
        self._last_edges_M = torch.tensor(
            [edge_of[(*answer, end)] if tuple(answer) in children else edge_of[tuple(answer)] for answer in answers]
        )

    @torch.inference_mode()
    def log_likelihoods(
        self, model: Reads, hidden_BD: Float[Tensor, "B D"], past: Past, *, window: int = 0
    ) -> Float[Tensor, "B M"]:
        """In nats, of every answer after prompts that have been read: `hidden_BD` is what came of their last token."""
        hidden_BND = hidden_BD[:, None]
        if self.num_nodes:
            tokens_BN = self._tokens_N.expand(len(hidden_BD), -1)
            sees_prompt = torch.ones(self.num_nodes, past.num_tokens, dtype=torch.bool)
            nodes_BND, _ = model.read(
                tokens_BN,
                past=past,
                positions_T=past.num_tokens + self._depths_N,
                mask_TS=torch.cat([sees_prompt, self._sees_NN], dim=1),
                last_BTW=self._last_tokens(past, window) if window else None,
            )
            hidden_BND = torch.cat([hidden_BND, nodes_BND], dim=1)
        log_probs_BNV = model.logits(hidden_BND).float().log_softmax(-1)
        of_edges_BE = log_probs_BNV[:, self._sources_E, self._edge_tokens_E]
        for first, end in self._levels[1:]:
            of_edges_BE[:, first:end] += of_edges_BE[:, self._parents_E[first:end]]
        return of_edges_BE[:, self._last_edges_M]

    def _last_tokens(self, past: Past, window: int) -> Int64[Tensor, "B N W"]:
        rows = []
        for path in self._paths:
            inside = list(path[-window:])
            wanted = window - len(inside)
            before_BW = past.tokens_BP[:, max(0, past.num_tokens - wanted) :] if wanted else past.tokens_BP[:, :0]
            missing = wanted - before_BW.shape[1]
            before_BW = torch.nn.functional.pad(before_BW, (missing, 0), value=-1)
            rows.append(torch.cat([before_BW, torch.tensor(inside).expand(len(before_BW), -1)], dim=1))
        return torch.stack(rows, dim=1)
