"""One optimisation step of an FFN beside its matrix products alone, and beside the same step by autograd.

One thread, and the seconds that this thread ran: what else runs takes none of them.

FLOPs over the rate at which the step's own products run is the time of those products: no step can be faster, but for
products that it saves.

Those of a mixture are the products of the experts chosen, as autograd has them, at even use: a written step computes
every expert.

Shape legend: B facts of a step, D inputs, F hidden units, E code dimension, V values, I inputs and O outputs of one
matrix, N sub-keys, C half of a query, S experts.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from models.any_ffn import AnyFFNConfig, sized
from models.expert_kinds import ExpertsConfig
from models.experts import ExpertsFFN
from models.ffn import FFN, LinearMap
from models.ffn_kinds import DenseConfig, GatedConfig, LinearConfig, TopKConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.memory_kinds import ProductKeysConfig
from models.precisions import Precision
from models.product_keys import ProductKeyMemory
from models.training_budget import STEPS_A_LOOK, TrainingBudget
from retromem.benchmarks.autograd_road import without_passes
from retromem.benchmarks.in_turns import Timed
from retromem.measure.trained_ffn import unit_rows

_STEPS = 300
_TURNS = 7
_SQUARE = 1024


@dataclass(frozen=True, kw_only=True)
class _Case:
    ffn: AnyFFNConfig
    num_facts: int
    dim: int
    code_dim: int
    num_values: int
    rounds_to: Precision | None = None
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        extra = [str(self.rounds_to)] if self.rounds_to else []
        extra += [f"{name} {value}" for name, value in self.training.items()]
        return ", ".join([f"{self.ffn.label}, {self.dim} inputs, {self.num_facts:,} facts", *extra])


def _cases() -> Iterator[_Case]:
    for dim, width in ((16, 32), (32, 128), (64, 256)):
        kinds: tuple[AnyFFNConfig, ...] = (
            *(LinearConfig(), DenseConfig(kind="relu", width=width), DenseConfig(kind="gelu", width=width)),
            *(GatedConfig(width=width), TopKConfig(width=width)),
            sized(ExpertsConfig(), 8 * dim**2, dim, dim),
            # So many heads that autograd too multiplies the whole table: what it gathers is no product.
            sized(ProductKeysConfig(heads=4 if dim < 64 else 8), 8 * dim**2, dim, dim),
        )
        for kind in kinds:
            # Two bits per parameter, of values worth four.
            facts = kind.num_params(dim, dim) // 2
            yield _Case(ffn=kind, num_facts=facts, dim=dim, code_dim=dim, num_values=16)
    # As the countries of 4,000 cities, of which there are some 150.
    city = _Case(ffn=GatedConfig(width=180), num_facts=4000, dim=96, code_dim=24, num_values=150)
    yield city
    yield replace(city, rounds_to="midrise3")
    wider = replace(city, ffn=GatedConfig(width=280), dim=128, code_dim=40)
    yield replace(wider, rounds_to="midrise3", training={"key_noise": 0.4})


class _Watched(KeyValueModule):
    """Notes the seconds of each look."""

    seconds: list[float]

    def training_step(self, call: int, batch: int) -> None:
        start = time.thread_time()
        super().training_step(call, batch)
        self.seconds.append(time.thread_time() - start)


def _module(case: _Case, *, by_autograd: bool) -> _Watched:
    generator = torch.Generator().manual_seed(0)
    data = KeyValueData.of_one_relation(
        unit_rows(case.num_facts, case.dim, generator),
        torch.randint(case.num_values, (case.num_facts,), generator=generator),
        case.num_values,
    )
    codes_VE = unit_rows(case.num_values, case.code_dim, generator)
    ffn = case.ffn.build(case.dim, case.code_dim, generator=generator)
    if by_autograd:
        ffn = without_passes(ffn)
    budget = TrainingBudget(steps=_STEPS, goal_nats=0.0, max_seconds=math.inf, **case.training)
    module = _Watched(ffn, data, codes_VE, budget, generator=generator, rounds_to=case.rounds_to)
    module.seconds = []
    return module


def _ms_a_step(case: _Case, *, by_autograd: bool) -> float:
    module = _module(case, by_autograd=by_autograd)
    fit(module, accelerator="cpu")
    return 1e3 * statistics.median(module.seconds) / STEPS_A_LOOK


def _products(ffn: FFN, batch: int, codes_VE: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Factors of every product of a step, forward and backward, as autograd has them."""
    (num_values, code_dim), generator = codes_VE.shape, torch.Generator().manual_seed(1)
    pairs: list[tuple[Tensor, Tensor]] = []

    def drawn(columns: int, rows: int = batch) -> Tensor:
        return torch.randn(rows, columns, generator=generator)

    def through(w_IO: Tensor, *, wants_gradient: bool, rows: int = batch) -> None:
        x_BI, gradient_BO = drawn(len(w_IO), rows), drawn(w_IO.shape[1], rows)
        pairs.extend([(x_BI, w_IO.detach()), (x_BI.T, gradient_BO)])
        if wants_gradient:
            pairs.append((gradient_BO, w_IO.detach().T))

    def through_layer(matrices: list[Tensor], *, wants_gradient: bool) -> None:
        for matrix in matrices:
            if matrix.dim() == 2:
                through(matrix, wants_gradient=wants_gradient)
            else:
                assert isinstance(ffn, ExpertsFFN)
                for w_IO in matrix:
                    through(w_IO, wants_gradient=wants_gradient, rows=batch * ffn.config.top_k // len(matrix))

    if isinstance(ffn, ExpertsFFN):
        through(ffn.w_router_DS, wants_gradient=False)
    elif isinstance(ffn, ProductKeyMemory):
        through(ffn.retrieval.w_query_DQ, wants_gradient=False)
        for sub_keys_NC in ffn.retrieval.sub_keys_H2NC.flatten(0, 1):
            through(sub_keys_NC.T, wants_gradient=True)
    through_layer(ffn.input_matrices(), wants_gradient=False)
    through_layer(ffn.read_outs(), wants_gradient=not isinstance(ffn, LinearMap))
    pairs.append((drawn(code_dim), codes_VE.T))
    pairs.append((drawn(num_values), codes_VE))
    return pairs


def _timed_products(pairs: list[tuple[Tensor, Tensor]]) -> Callable[[], float]:
    """Milliseconds of one time through all."""
    outs = [torch.empty(len(left), right.shape[1]) for left, right in pairs]
    flops = _flops(pairs)
    times = max(1, int(2e9 / flops))

    def run() -> float:
        start = time.thread_time()
        for _ in range(times):
            for (left, right), out in zip(pairs, outs, strict=True):
                torch.mm(left, right, out=out)
        return 1e3 * (time.thread_time() - start) / times

    return run


def _flops(pairs: list[tuple[Tensor, Tensor]]) -> int:
    return sum(2 * left.numel() * right.shape[1] for left, right in pairs)


def measure() -> Iterator[Timed]:
    """Of each case: the step beside autograd's, and beside its products alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for case in _cases():
            yield from _measured(case)
    finally:
        torch.set_num_threads(threads)


def _measured(case: _Case) -> Iterator[Timed]:
    module = _module(case, by_autograd=False)
    with torch.no_grad():
        pairs = _products(module.backbone, module.batch_facts, module.codes_VE)
        square = torch.ones(_SQUARE, _SQUARE)
        roads: list[Callable[[], float]] = [
            lambda: _ms_a_step(case, by_autograd=False),
            lambda: _ms_a_step(case, by_autograd=True),
            _timed_products(pairs),
            _timed_products([(square, square)]),
        ]
    a_fact = case.ffn.training_flops(case.dim, case.code_dim) + 4 * module.codes_VE.numel()
    flops = module.batch_facts * a_fact
    assert flops == _flops(pairs), "the products are not those that are counted"
    for road in roads:
        road()
    turns_ms = []
    for turn in range(_TURNS):
        order = range(len(roads)) if turn % 2 == 0 else reversed(range(len(roads)))
        noted = {place: roads[place]() for place in order}
        turns_ms.append([noted[place] for place in range(len(roads))])
    step_ms, autograd_ms, products_ms, square_ms = (statistics.median(of) for of in zip(*turns_ms, strict=True))
    rates = f"{flops / products_ms / 1e6:.0f} GFLOP/s ({2 * _SQUARE**3 / square_ms / 1e6:.0f} of a square of {_SQUARE})"
    for reference, reference_ms, place in (("autograd", autograd_ms, 1), (f"its products at {rates}", products_ms, 2)):
        yield Timed(
            benchmark=f"a step of {case.name}, {flops / 1e6:.3g} MFLOP",
            ours="a step",
            reference=reference,
            ours_ms=step_ms,
            reference_ms=reference_ms,
            ratio=statistics.median(turn[0] / turn[place] for turn in turns_ms),
            turns=_TURNS,
        )
