"""Points of the limits on keys of an encoder: the same measurements on keys of cities and on random ones.

Shape legend: N facts, D key dimension, F hidden units.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.any_ffn import AnyFFNConfig, sized
from models.closed_form.value_line import value_line_memory
from models.diagnostics.matrix_rank import activation_ranks
from models.ffn import FFN, HiddenLayerFFN
from models.ffn_kinds import GatedConfig
from models.training_budget import TrainingBudget
from retrieval.errors import UserError
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.bits import demand_of_values
from retromem.measure.trained_ffn import (
    KeyTable,
    accuracy,
    first_facts,
    most_facts_around,
    stored_bits,
    train,
    train_built,
    weight_generator,
)
from retromem.panels.limits.encoder_facts import LimitFacts, beside, limit_facts
from retromem.panels.limits.encoder_keys import (
    CHANCE,
    CITIES,
    CONSTRUCTED,
    GAUSSIAN,
    GELU,
    INDEX,
    KINDS,
    RANDOM,
    SHAPED,
    SWIGLU,
    WRITERS,
)
from retromem.panels.limits.interference_points import nearest_key_accuracy, part
from retromem.panels.limits.ranks_in_training_points import gaussian_ranks
from retromem.panels.points import Point

if TYPE_CHECKING:
    from retromem.panels.limits.encoder_keys import EncoderKeysConfig

_ACCURACY = 0.99
_TRAINED_BITS = 2.0
"""a parameter, around which capacities are searched"""
_LOAD_BITS = 1.1
"""a parameter, of which loads are multiples: about what the small SwiGLU stores of random keys in these steps"""
_SMALL = 0.5
"""of the parameters, where long trainings and solves are compared, and under overload"""
_FIRST_BITS, _DRAWS = 1.5, 3
"""a parameter, where the construction starts; and its first weights, of which unlucky ones get stuck"""
_INTERFERENCE_BITS = 0.7
"""a parameter, of both groups together"""
_RANKED_BITS = 1.2
"""a parameter, of the facts whose hidden activations are read"""


def encoder_keys_points(config: "EncoderKeysConfig", seed: int, encoded: Sequence[KnowledgeSet]) -> list[Point]:
    """Everything of one seed; `encoded` are its text sets, with keys."""
    facts = limit_facts(encoded, config.dim, config.num_values, seed=seed)
    points = []

    def add(quantity: str, series: str, y: float, x: float | None = None) -> None:
        points.append(Point(quantity=quantity, series=series, x=x, y=y, seed=seed))

    for keys in (CITIES, RANDOM):
        _Measured(config, facts, keys, seed, add).all()
    of_shaped = _Measured(config, facts, SHAPED, seed, add)
    add(f"capacity_{SHAPED}", SWIGLU, of_shaped.facts(SWIGLU, config.steps))
    add(f"rank_{SHAPED}", "keys", _participation(facts.tables[SHAPED].keys_ND))
    add("encoder_rank", CITIES, _participation(facts.encoder_keys_NK))
    add("encoder_rank", GAUSSIAN, _gaussian(facts.encoder_keys_NK))
    return points


class _Measured:
    """All quantities of one table."""

    def __init__(
        self,
        config: "EncoderKeysConfig",
        facts: LimitFacts,
        keys: str,
        seed: int,
        add: Callable[..., None],
    ) -> None:
        self._config, self._keys, self._seed, self._add_point = config, keys, seed, add
        self._table, self._relations = facts.tables[keys], facts.relations.get(keys)
        ids_N = self._table.value_ids_N.numpy()
        self._bits_a_fact = demand_of_values(np.zeros_like(ids_N), ids_N) / len(ids_N)

    def all(self) -> None:
        """Every limit, and what it leaves."""
        left = {
            "interference": self._interference(),
            "relations": self._of_relations(),
            "optimisation": self._optimisation(),
            "overload": self._overload(),
            "ranks": self._ranks(),
            "architecture": self._architecture(),
        }
        for limit, share in left.items():
            self._add("left", limit, share)

    def _add(self, quantity: str, series: str, y: float, x: float | None = None) -> None:
        self._add_point(f"{quantity}_{self._keys}", series, y, x)

    def _sized(self, kind: AnyFFNConfig, share: float = 1.0) -> AnyFFNConfig:
        return sized(kind, int(share * self._config.num_params), self._config.dim, self._config.dim)

    def _num_facts(self, bits_a_param: float, share: float = 1.0) -> int:
        """Facts of so many bits a parameter."""
        return int(bits_a_param * share * self._config.num_params / self._bits_a_fact)

    def _first(self, num_facts: int) -> KeyTable:
        if num_facts > len(self._table.keys_ND):
            raise UserError(
                f"num_cities gives {len(self._table.keys_ND):,} facts with a common value, but {num_facts:,} are to be "
                "written: ask for more cities, or for fewer parameters"
            )
        return first_facts(self._table, num_facts)

    # ---- interference ------------------------------------------------------------------------------------------

    def _interference(self) -> float:
        both = self._first(self._num_facts(_INTERFERENCE_BITS))
        in_a_N = torch.arange(len(both.keys_ND)) % 2 == 0
        of_a, of_b = part(both, in_a_N), part(both, ~in_a_N)
        return self._forgotten("", of_a, of_b, beside(of_a, of_b, own_codes=False), WRITERS)

    def _of_relations(self) -> float:
        assert self._relations is not None
        half = self._num_facts(_INTERFERENCE_BITS) // 2
        of_a, of_b = (first_facts(one, half) for one in self._relations)
        return self._forgotten("relation_", of_a, of_b, beside(of_a, of_b, own_codes=True), {GELU: KINDS[GELU]})

    def _forgotten(
        self, prefix: str, of_a: KeyTable, of_b: KeyTable, both: KeyTable, kinds: Mapping[str, AnyFFNConfig]
    ) -> float:
        """Right answers on A alone, beside B and after B, among A's values; the share that GELU keeps."""
        self._add(f"{prefix}after", CHANCE, float(torch.bincount(of_a.value_ids_N).max() / len(of_a.keys_ND)))
        self._add(f"{prefix}alone", INDEX, nearest_key_accuracy(of_a, of_a))
        for quantity in ("beside", "after"):  # to an index it is all one when B comes
            self._add(f"{prefix}{quantity}", INDEX, nearest_key_accuracy(both, of_a))
        left = {}
        for name, kind in kinds.items():
            ffn = self._write(self._new(kind), of_a)
            found = {"alone": accuracy(ffn, of_a)}
            found["beside"] = accuracy(self._write(self._new(kind), both), of_a)
            found["after"] = accuracy(self._write(ffn, of_b), of_a)
            for quantity, y in found.items():
                self._add(f"{prefix}{quantity}", name, y)
            left[name] = _share(found["after"], found["alone"])
        return left[GELU]

    def _new(self, kind: AnyFFNConfig) -> FFN:
        dim = self._config.dim
        return self._sized(kind).build(dim, dim, generator=weight_generator(self._seed))

    def _write(self, ffn: FFN, table: KeyTable) -> FFN:
        ffn.train()  # experts balance their load only in training
        train_built(ffn, table, TrainingBudget(steps=self._config.steps), generator=torch.Generator())
        return ffn

    # ---- capacities ---------------------------------------------------------------------------------------------

    def facts(self, name: str, steps: int, share: float = 1.0) -> float:
        """The most that are right at .99 after so many steps; few of them with the better of two higher rates."""
        kind = self._sized(self._config.kinds[name], share)
        rates = (3e-2, 1e-1) if steps <= 300 else (1e-2,)
        budgets = [TrainingBudget(steps=steps, learning_rate=rate) for rate in rates]

        def reaches(table: KeyTable) -> bool:
            return any(accuracy(train(kind, table, budget, seed=self._seed), table) >= _ACCURACY for budget in budgets)

        expected = self._num_facts(_TRAINED_BITS, share)
        high = min(2 * expected + 3, len(self._table.keys_ND))
        self._first(expected + 1)  # or there is nothing to search in
        return float(
            most_facts_around(
                lambda n: reaches(self._first(n)), expected=expected, resolution=self._config.resolution, high=high
            )
        )

    def _optimisation(self) -> float:
        found = {steps: self.facts(SWIGLU, steps, _SMALL) for steps in self._config.exposures}
        for steps, facts in found.items():
            self._add("exposed", SWIGLU, facts, float(steps))
        constructed = self._constructed()
        self._add("constructed", CONSTRUCTED, constructed)
        return _share(found[max(found)], constructed)

    def _constructed(self) -> float:
        """Upwards in steps of the resolution: beyond what it can hold the construction takes many times as long."""
        first = num_facts = self._num_facts(_FIRST_BITS, _SMALL)
        stored = 0
        while num_facts <= len(self._table.keys_ND):
            table = self._first(num_facts)
            if not any(accuracy(self._on_a_line(table, draw), table) >= _ACCURACY for draw in range(_DRAWS)):
                break
            stored, num_facts = num_facts, math.ceil(num_facts * (1 + self._config.resolution))
        if not stored or num_facts > len(self._table.keys_ND):
            raise RuntimeError(f"{CONSTRUCTED}: of {first} facts to {num_facts}, {stored} were stored: no limit found")
        return float(stored)

    def _on_a_line(self, table: KeyTable, draw: int) -> FFN:
        dim, kind = self._config.dim, self._sized(KINDS[SWIGLU], _SMALL)
        assert isinstance(kind, GatedConfig)
        # Other streams than that of the keys.
        generator = torch.Generator().manual_seed(20_000 + 1_000 * draw + self._seed)
        ffn = kind.build(dim, dim, generator=torch.Generator())
        ffn.load_state_dict(
            value_line_memory(
                table.keys_ND, table.value_ids_N, table.codes_VE,
                units=kind.units(dim, dim), goal_accuracy=_ACCURACY, generator=generator,
            )
        )  # fmt: skip
        return ffn.eval()

    def _architecture(self) -> float:
        found = {name: self.facts(name, self._config.steps) for name in self._config.kinds}
        for name, facts in found.items():
            self._add("capacity", name, facts)
        return _share(found[self._config.deepest], found[GELU])

    # ---- beyond, and ranks --------------------------------------------------------------------------------------

    def _overload(self) -> float:
        bits = {}
        kind = self._sized(KINDS[SWIGLU], _SMALL)
        num_params = kind.num_params(self._config.dim, self._config.dim)
        for load in self._config.loads:
            table = self._first(int(load * self._num_facts(_LOAD_BITS, _SMALL)))
            ffn = train(kind, table, TrainingBudget(steps=self._config.steps), seed=self._seed)
            bits[load] = stored_bits(ffn, table, uniform=False) / num_params
            self._add("overload", SWIGLU, bits[load], load)
            self._add("overload_right", SWIGLU, accuracy(ffn, table), load)
        return _share(bits[max(bits)], max(bits.values()))

    def _ranks(self) -> float:
        table = self._first(self._num_facts(_RANKED_BITS))
        ffn = train(self._sized(KINDS[SWIGLU]), table, TrainingBudget(steps=self._config.steps), seed=self._seed)
        assert isinstance(ffn, HiddenLayerFFN)
        with torch.no_grad():
            hidden_NF = ffn.hidden(table.keys_ND)
        hidden, of_gaussian = _participation(hidden_NF), _gaussian(hidden_NF)
        self._add("rank", "hidden", hidden)
        self._add("rank", "keys", _participation(self._table.keys_ND))
        self._add("rank_gaussian", "hidden", of_gaussian)
        self._add("rank_gaussian", "keys", _gaussian(self._table.keys_ND))
        return hidden / of_gaussian


def _share(left: float, whole: float) -> float:
    if not whole:
        raise RuntimeError("nothing was stored even without the limit, so no share of it is left: ask for more steps")
    return left / whole


def _participation(rows_ND: Tensor) -> float:
    """Of the rows less their mean."""
    return float(activation_ranks([rows_ND]).participation_ratio)


def _gaussian(like_ND: Tensor) -> float:
    """Of Gaussian numbers of the same shape."""
    rows, columns = like_ND.shape
    return gaussian_ranks((rows, columns), centred=True)["participation_ratio"]
