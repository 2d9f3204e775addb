"""Points of interference: accuracy on A beside B and after B, gradients of the two, and who answers which.

Shape legend: N facts of both groups, A facts of the first, D key dimension, V values, E code dimension, S slots, P
parameters.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torch.nn import functional

from models.any_ffn import AnyFFNConfig, sized
from models.expert_kinds import ExpertsConfig
from models.ffn import FFN
from models.ffn_kinds import DenseConfig, GatedConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.memory_kinds import ProductKeysConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, stored_bits, unit_rows
from retromem.panels.limits.chosen_keys import RANDOM_KEYS, ChosenKeys
from retromem.panels.limits.interference import CHANCE, DIM, INDEX, NUM_VALUES, InterferenceConfig
from retromem.panels.points import Point

_PERMUTATIONS = 20
_KINDS: dict[str, tuple[AnyFFNConfig, float]] = {
    "dense GELU": (DenseConfig(kind="gelu"), 2.12),
    "SwiGLU": (GatedConfig(kind="swiglu"), 2.42),
    "8 experts, top-2": (ExpertsConfig(experts=8, top_k=2), 2.49),
    # Its usual eight heads read every slot of a table this small.
    "product keys": (ProductKeysConfig(heads=4, top_k=2), 1.27),
}
"""kind, and bits per parameter that it stores of keys in two groups (offset 1) at accuracy .99, 2,048 parameters"""


def two_groups(
    facts_a_group: int, offset: float, keys: ChosenKeys = RANDOM_KEYS, *, seed: int
) -> tuple[KeyTable, Bool[Tensor, " N"]]:
    """Facts of both groups in turn, and which are of A. The two directions are random and orthogonal."""
    generator = torch.Generator().manual_seed(seed)
    num_facts = 2 * facts_a_group
    directions_2D = torch.linalg.qr(torch.randn(DIM, 2, generator=generator)).Q.T
    in_a_N = torch.arange(num_facts) % 2 == 0
    own_ND = keys.in_place_of(unit_rows(num_facts, DIM, generator))
    table = KeyTable(
        keys_ND=functional.normalize(own_ND + offset * directions_2D[(~in_a_N).long()], dim=1),
        value_ids_N=torch.randint(NUM_VALUES, (num_facts,), generator=generator),
        codes_VE=unit_rows(NUM_VALUES, DIM, generator),
    )
    return table, in_a_N


def part(table: KeyTable, chosen_N: Bool[Tensor, " N"]) -> KeyTable:
    """The facts chosen."""
    return replace(table, keys_ND=table.keys_ND[chosen_N], value_ids_N=table.value_ids_N[chosen_N])


def joined(first: KeyTable, then: KeyTable) -> KeyTable:
    """The facts of the first, then those of the other; the codes are the same."""
    return replace(
        first,
        keys_ND=torch.cat([first.keys_ND, then.keys_ND]),
        value_ids_N=torch.cat([first.value_ids_N, then.value_ids_N]),
    )


class WatchedModule(KeyValueModule):
    """Also notes, every hundred steps, the cosine between the gradients of the losses on two parts of the facts."""

    def watch(self, pairs: dict[str, tuple[Int64[Tensor, " A"], Int64[Tensor, " B"]]]) -> None:
        """Rows of the two parts, by name."""
        self._pairs = pairs
        self.cosines: dict[str, list[float]] = {name: [] for name in pairs}

    def training_step(self, call: int, batch: int) -> None:
        for name, (first, second) in self._pairs.items():
            cosine = functional.cosine_similarity(self._gradient_P(first), self._gradient_P(second), dim=0)
            self.cosines[name].append(float(cosine))
        super().training_step(call, batch)

    def _gradient_P(self, rows: Tensor) -> Tensor:
        gradients = torch.autograd.grad(self.loss(rows), list(self.backbone.parameters()))
        return torch.cat([gradient.flatten() for gradient in gradients])


def purity(counts_A: Int64[Tensor, " S"], counts_B: Int64[Tensor, " S"]) -> float:
    """Share of all uses of slots that are by the slot's main group."""
    return float(torch.maximum(counts_A, counts_B).sum() / (counts_A + counts_B).sum())


def nearest_key_accuracy(stored: KeyTable, asked: KeyTable) -> float:
    """Share of the keys asked whose nearest stored key has their value."""
    nearest_Q = (asked.keys_ND @ stored.keys_ND.T).argmax(dim=1)
    return float((stored.value_ids_N[nearest_Q] == asked.value_ids_N).double().mean())


def interference_points(config: InterferenceConfig, seed: int, keys: ChosenKeys = RANDOM_KEYS) -> list[Point]:
    """Every kind at every offset, and an index with as many facts as the first kind gets."""
    budget = TrainingBudget(steps=config.steps)
    points = []
    for offset in config.offsets:
        for quantity in ("accuracy_after", "accuracy_rewritten"):
            points.append(Point(quantity=quantity, series=CHANCE, x=offset, y=1 / NUM_VALUES))
        for number, (name, (kind, bits_a_param)) in enumerate(_KINDS.items()):
            ffn = sized(kind, config.num_params, DIM, DIM)
            num_bits = config.load * bits_a_param * ffn.num_params(DIM, DIM)
            facts_a_group = int(num_bits / math.log2(NUM_VALUES) / 2)
            table, in_a_N = two_groups(facts_a_group, offset, keys, seed=seed)
            if not number:
                points += _as_points(INDEX, offset, _of_index(table, in_a_N, seed), seed)
            points += _as_points(name, offset, _measured(ffn, table, in_a_N, budget, seed=seed), seed)
    return points


def _as_points(series: str, offset: float, found: dict[str, float], seed: int) -> list[Point]:
    return [Point(quantity=name, series=series, x=offset, y=y, seed=seed) for name, y in found.items()]


def _of_index(table: KeyTable, in_a_N: Tensor, seed: int) -> dict[str, float]:
    """Entries of A alone; with those of B among them, behind them, and with new values for those of B."""
    of_a, of_b = part(table, in_a_N), part(table, ~in_a_N)
    generator = torch.Generator().manual_seed(30_000 + seed)
    new_ids_B = torch.randint(NUM_VALUES, of_b.value_ids_N.shape, generator=generator)
    after, alone = joined(of_a, of_b), nearest_key_accuracy(of_a, of_a)
    found = {
        "facts_a_group": float(len(of_a.keys_ND)),
        "accuracy_alone": alone,
        "accuracy_beside": nearest_key_accuracy(table, of_a),
        "accuracy_after": nearest_key_accuracy(after, of_a),
        "accuracy_rewritten": nearest_key_accuracy(joined(of_a, replace(of_b, value_ids_N=new_ids_B)), of_a),
    }
    return {**found, "bits_lost": math.log2(NUM_VALUES) * (alone - found["accuracy_after"])}


def _measured(
    config: AnyFFNConfig, table: KeyTable, in_a_N: Tensor, budget: TrainingBudget, *, seed: int
) -> dict[str, float]:
    of_a, of_b = part(table, in_a_N), part(table, ~in_a_N)
    written = _new(config, seed)
    _write(written, of_a, budget)
    found = {"facts_a_group": float(len(of_a.keys_ND)), "accuracy_alone": accuracy(written, of_a)}
    bits_before = stored_bits(written, of_a)
    _write(written, of_b, budget)
    found["accuracy_after"] = accuracy(written, of_a)
    found["bits_lost"] = (bits_before - stored_bits(written, of_a)) / len(of_a.keys_ND)

    both = _new(config, seed)
    generator = torch.Generator().manual_seed(30_000 + seed)  # another stream than that of the keys
    order_N = torch.randperm(len(in_a_N), generator=generator)
    half = len(order_N) // 2
    parts = {
        "cosine": (torch.nonzero(in_a_N)[:, 0], torch.nonzero(~in_a_N)[:, 0]),
        "cosine_permuted": (order_N[:half], order_N[half:]),
    }
    cosines = _write(both, table, budget, parts)
    found["accuracy_beside"] = accuracy(both, of_a)
    found |= {name: sum(values) / len(values) for name, values in cosines.items()}
    found["cosine_at_start"] = cosines["cosine"][0]
    found |= _routing(both, table, in_a_N, generator)
    # Routing that follows the groups was learnt by now: if anything can protect A, it is this.
    new_ids_B = torch.randint(NUM_VALUES, of_b.value_ids_N.shape, generator=generator)
    _write(both, replace(of_b, value_ids_N=new_ids_B), budget)
    return {**found, "accuracy_rewritten": accuracy(both, of_a)}


def _new(config: AnyFFNConfig, seed: int) -> FFN:
    # Another stream than that of the keys: weights drawn from the same numbers would not be random to them.
    return config.build(DIM, DIM, generator=torch.Generator().manual_seed(10_000 + seed))


def _write(
    ffn: FFN, table: KeyTable, budget: TrainingBudget, parts: dict[str, tuple[Tensor, Tensor]] | None = None
) -> dict[str, list[float]]:
    """Train this FFN, from the weights it has, until the table is stored; the cosines of the parts on the way."""
    ffn.train()  # it may come from an evaluation, and experts balance their load only in training
    num_facts = len(table.keys_ND)
    data = KeyValueData.of_one_relation(table.keys_ND, table.value_ids_N, len(table.codes_VE))
    module = WatchedModule(
        ffn, data, table.codes_VE, replace(budget, full_batch_up_to=num_facts), generator=torch.Generator()
    )
    module.watch(parts or {})
    fit(module, accelerator="cpu")
    ffn.eval()
    return module.cosines


def _routing(ffn: FFN, table: KeyTable, in_a_N: Tensor, generator: torch.Generator) -> dict[str, float]:
    """Purity, the same for permuted groups, and the share of slots in use; nothing of kinds without slots."""
    with torch.inference_mode():
        counts_S = ffn.slot_counts(table.keys_ND)
        if counts_S is None:
            return {}

        def of_groups(chosen_N: Tensor) -> float:
            counts_A, counts_B = ffn.slot_counts(table.keys_ND[chosen_N]), ffn.slot_counts(table.keys_ND[~chosen_N])
            assert counts_A is not None and counts_B is not None
            return purity(counts_A, counts_B)

        permuted = [of_groups(in_a_N[torch.randperm(len(in_a_N), generator=generator)]) for _ in range(_PERMUTATIONS)]
        return {
            "purity": of_groups(in_a_N),
            "purity_permuted": sum(permuted) / len(permuted),
            "slots_used": float((counts_S > 0).double().mean()),
        }
