"""An FFN as a memory: its answers, disturbances and saved files computed again from its weights."""

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget, TrainingDiverged
from retrieval.errors import Refused
from retromem.memories.closed_form_memory import ClosedFormMemoryConfig
from retromem.memories.ffn_memory import FFNMemory, FFNMemoryConfig
from retromem.memories.value_codes import value_codes
from retromem.seam import Facts, Part

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

SHORT = TrainingBudget(steps=3, goal_nats=0.0)
RELU = DenseConfig(kind="relu", width=7)
NUM_PARAMS = 6 * 7 + 7 * 4
AWARE, UNTRAINED = TrainingBudget(rounding="aware"), TrainingBudget(steps=0)


def written(toys: Facts, **config: Any) -> FFNMemory:
    memory = FFNMemoryConfig(**{"ffn": RELU, "code_dim": 4, "training": SHORT, **config}).build(seed=2)
    memory.write(toys)
    return memory


def matrices(packed: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Both matrices of the FFN, inputs by outputs, from the bytes of a float32 memory."""
    weights = np.frombuffer(packed, "<f4").astype(np.float64)
    return weights[: 6 * 7].reshape(6, 7), weights[6 * 7 :].reshape(7, 4)


def log_probs_by_hand(toys: Facts, first_IW: np.ndarray, second_WE: np.ndarray) -> np.ndarray:
    """Of every value for every question of the second wording; -inf outside of its relation."""
    asked = toys.cues[1]
    logits_QV = np.maximum(asked.key_vectors() @ first_IW, 0) @ second_WE @ value_codes(toys.values, 4, seed=2).T
    outside_QV = np.array([[0] * 3 + [1] * 5, [1] * 3 + [0] * 5])[asked.relation_ids_Q] == 1
    logits_QV[outside_QV] = -np.inf
    return logits_QV - np.log(np.exp(logits_QV).sum(axis=1, keepdims=True))


def scored(memory: FFNMemory, toys: Facts) -> np.ndarray:
    return memory.recall(toys.cues[1], top_k=1, score=np.tile(np.arange(8), (11, 1))).scored_QC


def test_answers_are_those_of_the_stored_weights(toys: Facts) -> None:
    memory = written(toys)
    found_QV = log_probs_by_hand(toys, *matrices(memory._ffn.packed))
    np.testing.assert_allclose(scored(memory, toys), found_QV, atol=1e-4)
    recall = memory.recall(toys.cues[1], top_k=2)
    assert recall.value_ids_QK.tolist() == np.argsort(-found_QV, axis=1)[:, :2].tolist()
    assert recall.fact_ids_QK is None


def test_noise_is_relative_to_each_matrix_and_flips_are_of_stored_bits(toys: Facts) -> None:
    memory = written(toys)
    plain = [weight.clone() for weight in memory._ffn.ffn.state_dict().values()]
    moved = [list(memory.perturbed(relative_noise=0.3, seed=seed)._ffn.ffn.state_dict().values()) for seed in range(60)]
    for place, weight in enumerate(plain):
        steps = torch.stack([trial[place] - weight for trial in moved]) / weight.square().mean().sqrt()
        spread = float(steps.square().mean().sqrt())
        assert spread == pytest.approx(0.3, rel=5 / (2 * steps.numel()) ** 0.5)
    once, again = (memory.perturbed(relative_noise=0.3, seed=9)._ffn.ffn.state_dict() for _ in range(2))
    assert all(torch.equal(once[name], again[name]) for name in once)
    whole = np.frombuffer(memory._ffn.packed, np.uint8)
    flipped = [np.frombuffer(memory.perturbed(flip_rate=0.1, seed=s)._ffn.packed, np.uint8) for s in range(20)]
    share = np.mean([np.unpackbits(one ^ whole).mean() for one in flipped])
    assert share == pytest.approx(0.1, abs=5 * 0.3 / (20 * 8 * len(whole)) ** 0.5)
    # The memory itself is left as it was, and the copy answers as the memory.
    copy = memory.perturbed(seed=0)
    assert (copy.config, copy.seed, copy.name) == (memory.config, 2, memory.name)
    assert np.array_equal(scored(copy, toys), scored(memory, toys))
    assert [torch.equal(a, b) for a, b in zip(plain, memory._ffn.ffn.state_dict().values(), strict=True)] == [True] * 2


@pytest.mark.parametrize("texts", [True, False])
def test_every_line_of_the_ledger_of_weights(
    toys: Facts, ledger_of: Callable[..., object], tmp_path: Path, texts: bool
) -> None:
    facts = toys if texts else replace(toys, cues=[replace(cue, texts=None) for cue in toys.cues])
    memory = written(facts, precision="float16")
    memory.calibration = b"TETE"
    memory.save(tmp_path / "weights")
    content = {file.name: file.read_bytes() for file in (tmp_path / "weights").iterdir()}
    cues = "training_cues.json.zlib" if texts else "training_cues.npy"
    parts = {
        "values.json.zlib": Part.VALUE,
        "calibration.bin": Part.STORAGE,
        "weights.bin": Part.STORAGE,
        cues: Part.MAINTAIN,
        "training_values.npy": Part.MAINTAIN,
        "optimizer.npy": Part.MAINTAIN,
        "manifest.json": Part.MAINTAIN,
    }
    code_bytes = 8 * 4 * 4
    footprint = memory.footprint()
    assert footprint.holdings == ledger_of(tmp_path / "weights", parts, NUM_PARAMS, code_bytes)
    assert footprint.resident_bytes == 4 * NUM_PARAMS + code_bytes
    # What one changed fact is trained from: all cues and values, the weights before rounding, Adam's two moments.
    if texts:
        assert json.loads(zlib.decompress(content[cues])) == [list(cue.texts or ()) for cue in toys.cues]
    else:
        kept_ND = np.load(tmp_path / "weights" / cues)
        assert np.array_equal(kept_ND, np.concatenate([cue.key_vectors() for cue in toys.cues]))
    assert np.load(tmp_path / "weights" / "training_values.npy").tolist() == toys.value_ids_N.tolist()
    state = np.load(tmp_path / "weights" / "optimizer.npy")
    assert state.dtype == np.float32 and len(state) == 3 * NUM_PARAMS
    kept, place = np.frombuffer(content["weights.bin"], "<f2"), 0
    for size, start in ((6 * 7, 0), (7 * 4, 6 * 7)):
        weights, first, second = np.split(state[place : place + 3 * size], 3)
        np.testing.assert_array_equal(weights.astype(np.float16), kept[start : start + size])
        assert (second >= 0).all() and second.any() and (first < 0).any()  # of squares, and of gradients
        place += 3 * size
    loaded = FFNMemory.load(tmp_path / "weights")
    assert (loaded.config, loaded.seed, loaded.calibration, loaded.side) == (memory.config, 2, b"TETE", "parametric")
    assert loaded.footprint() == footprint
    assert np.array_equal(scored(loaded, toys), scored(memory, toys))


@pytest.mark.parametrize("config", ["trained", "computed"])
def test_weights_of_few_levels_are_charged_what_their_file_takes_and_stand_any_flips(
    toys: Facts, tmp_path: Path, config: str
) -> None:
    num_params, wide = 6 * 90 + 90 * 4, DenseConfig(kind="relu", width=90)
    if config == "trained":
        memory = FFNMemoryConfig(ffn=wide, code_dim=4, precision="midrise4", training=SHORT).build(seed=2)
    else:
        memory = ClosedFormMemoryConfig(method="random_features", width=90, code_dim=4, precision="midrise4").build(
            seed=2
        )
    memory.write(toys)
    memory.save(tmp_path / "few")
    content = (tmp_path / "few" / "weights.bin").read_bytes()
    assert memory.footprint().num_bytes(Part.STORAGE) == len(content) < 2 * 2 + 0.97 * num_params / 2
    loaded = type(memory).load(tmp_path / "few")
    assert loaded.footprint() == memory.footprint()
    assert np.array_equal(scored(loaded, toys), scored(memory, toys))
    for rate in (1e-4, 0.01, 0.5, 1.0):
        for seed in range(5):
            disturbed = memory.perturbed(flip_rate=rate, seed=seed)
            assert disturbed._ffn.packed != memory._ffn.packed or rate == 1e-4
            assert scored(disturbed, toys).shape == (11, 8)


def test_what_writing_costs_is_of_every_wording(toys: Facts) -> None:
    memory = FFNMemoryConfig(ffn=RELU, code_dim=4, training=SHORT).build(seed=2)
    assert memory.trained_on == "cpu"
    cost = memory.write(toys)
    assert cost.seconds > 0
    assert (cost.texts_encoded, cost.optimizer_steps, cost.succeeded) == (22, 3, True)
    assert cost.exposures == 3 * 2  # a fact is shown in both of its wordings at each step
    assert cost.flops == 3 * 22 * (4 * 6 * 7 + 6 * 7 * 4 + 4 * 8 * 4)
    untrained = FFNMemoryConfig(ffn=RELU, code_dim=4, training=TrainingBudget(steps=0)).build(seed=2)
    cost = untrained.write(toys)
    assert (cost.texts_encoded, cost.optimizer_steps, cost.exposures, cost.flops) == (22, 0, 0.0, 0.0)
    first = [weight.clone() for weight in untrained._ffn.ffn.state_dict().values()]
    drawn = RELU.build(6, 4, generator=torch.Generator().manual_seed(2)).state_dict().values()
    assert all(torch.equal(one, other) for one, other in zip(first, drawn, strict=True))


def test_slots_are_counted_where_an_ffn_has_some(toys: Facts) -> None:
    assert written(toys).slot_counts(toys.cues[0]) is None
    experts = written(toys, ffn=ExpertsConfig(experts=5, width=2, top_k=2))
    counts = experts.slot_counts(toys.cues[0])
    assert counts is not None and counts.shape == (5,) and counts.sum() == 2 * 11


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (FFNMemoryConfig(ffn=RELU), "ffn-relu-7"),
        (FFNMemoryConfig(ffn=RELU, precision="int8"), "ffn-relu-7-int8"),
        (FFNMemoryConfig(ffn=RELU, precision="int4", training=AWARE), "ffn-relu-7-int4-aware"),
        (FFNMemoryConfig(ffn=RELU, training=AWARE), "ffn-relu-7-aware"),
        (FFNMemoryConfig(ffn=RELU, precision="float16", training=UNTRAINED), "ffn-relu-7-float16-untrained"),
        (FFNMemoryConfig(ffn=RELU, training=TrainingBudget(steps=1)), "ffn-relu-7"),
        (ClosedFormMemoryConfig(method="outer_products", precision="int8"), "closed-outer-products-int8"),
        (ClosedFormMemoryConfig(method="gated_jl"), "closed-gated-jl-4d"),
        (ClosedFormMemoryConfig(method="hebbian", width=9, precision="float16"), "closed-hebbian-9-float16"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)  # fmt: skip
def test_names_of_weights(config: Any, name: str) -> None:
    family = name if name.count("-") == 1 else {"ffn": "ffn-relu"}.get(name.split("-")[0])
    assert (config.name, config.stores) == (name, "questions")
    if family:
        assert config.family == family
    assert config.build(seed=3).name == name and config.build(seed=3).seed == 3


@pytest.mark.parametrize("wrong", [0, -3])
def test_codes_have_a_dimension(wrong: int) -> None:
    for config in (FFNMemoryConfig, ClosedFormMemoryConfig):
        with pytest.raises(ValueError, match=f"code_dim must be 1 or more, not {wrong}"):
            config(code_dim=wrong)
        config(code_dim=1)


@pytest.mark.parametrize(
    ("method", "kind", "biased"),
    [
        ("outer_products", "linear", None),
        ("pseudo_inverse", "linear", None),
        ("random_features", "relu", False),
        ("hebbian", "bilinear", False),
        ("whitened", "bilinear", False),
        ("data_dependent", "bilinear", False),
        ("gated_jl", "swiglu", False),
        ("value_line", "swiglu", True),
    ],
)
def test_each_construction_fills_its_kind_of_ffn(toys: Facts, method: Any, kind: str, biased: bool | None) -> None:
    config = ClosedFormMemoryConfig(method=method, width=12, code_dim=9)
    assert (config.ffn.kind, getattr(config.ffn, "bias", None)) == (kind, biased)
    assert getattr(config.ffn, "width", 12) == 12
    assert config.family == f"closed-{method.replace('_', '-')}"
    memory = config.build(seed=1)
    cost = memory.write(toys)
    assert (cost.texts_encoded, cost.exposures, cost.optimizer_steps, cost.succeeded) == (22, 2.0, 0, True)
    assert cost.seconds > 0 and np.isnan(cost.flops)
    assert memory.footprint().num_params == config.ffn.num_params(6, 9)
    assert len(memory._training_files["optimizer.npy"]) == 128  # nothing that a change would start from


def test_a_construction_takes_as_many_facts_as_it_is_told(toys: Facts) -> None:
    """Twenty-two cues: that many are taken, one fewer is refused."""
    config = ClosedFormMemoryConfig(method="value_line", width=30, code_dim=9, max_facts=22)
    config.build(seed=0).write(toys)
    with pytest.raises(Refused, match="value_line takes max_facts = 21 facts, not 22"):
        replace(config, max_facts=21).build(seed=0).write(toys)
    # Weights are drawn for the store, by its seed; where nothing is drawn, no seed changes them.
    drawn = ClosedFormMemoryConfig(method="random_features", width=9, code_dim=4)
    solved = ClosedFormMemoryConfig(method="outer_products", code_dim=4)
    for config, is_drawn in ((drawn, True), (solved, False)):
        first = []
        for seed in (0, 0, 1):
            memory = config.build(seed=seed)
            memory.write(toys)
            first.append(matrices_of(memory)[0])
        assert torch.equal(first[0], first[1])
        if is_drawn:
            assert not torch.equal(first[0], first[2])
    # What is larger than its precision can hold is no answer, and the message says what to do.
    loud = replace(toys, cues=[replace(cue, keys_QD=cue.key_vectors() * np.float32(1e6)) for cue in toys.cues])
    with pytest.raises(TrainingDiverged, match="not finite once they are stored in float16: store them in float32, or"):
        replace(solved, precision="float16").build(seed=0).write(loud)


def matrices_of(memory: FFNMemory) -> list[torch.Tensor]:
    return list(memory._ffn.ffn.state_dict().values())


@pytest.mark.parametrize("rounding", ["aware", "after"])
def test_a_training_ends_once_so_many_facts_are_answered_by_what_is_stored(toys: Facts, rounding: Any) -> None:
    """No earlier than its goal, at a look; the memory then answers as many, asked by both cues that it learnt."""
    precision = "midrise4" if rounding == "aware" else "float32"
    whole = TrainingBudget(steps=3000, learning_rate=0.02, goal_nats=0.0, rounding=rounding)
    wide = DenseConfig(kind="relu", width=40)

    def right(memory: FFNMemory) -> float:
        told = [memory.recall(cue, top_k=1).value_ids_QK[:, 0] == toys.value_ids_N for cue in toys.cues]
        return float(np.mean(told))

    steps = {}
    for goal in (0.6, 0.95, None):
        budget = replace(whole, goal_accuracy=goal)
        memory = FFNMemoryConfig(ffn=wide, code_dim=6, precision=precision, training=budget).build(seed=2)
        steps[goal] = memory.write(toys).optimizer_steps
        assert right(memory) >= (goal or 0)
        assert memory._stored is not None and steps[goal] % 100 == 0
    assert steps[0.6] <= steps[0.95] < steps[None] == 3000
    # A look before it there were too few: the same training, cut there, says so.
    schedule = replace(whole, schedule="constant")
    goal = 0.95
    ended = FFNMemoryConfig(ffn=wide, code_dim=6, precision=precision, training=replace(schedule, goal_accuracy=goal))
    at = ended.build(seed=2).write(toys).optimizer_steps
    if at > 100:
        before = replace(ended, training=replace(schedule, steps=at - 100)).build(seed=2)
        before.write(toys)
        assert right(before) < goal
    with pytest.raises(ValueError, match="goal_accuracy must be more than 0 and at most 1, not 1.5"):
        TrainingBudget(goal_accuracy=1.5)
