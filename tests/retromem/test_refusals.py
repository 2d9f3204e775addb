"""What no run could do is refused when a config is read or planned, in one line that says what would be right."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import UserError
from retromem.configuration import build
from retromem.run.cells import plan
from retromem.run.experiment import ExperimentConfig
from retromem.run.panel_cells import plan_panels

GELU = {"memory": "ffn", "ffn": {"kind": "gelu"}}
KEYS = {"source": "keys", "num_facts": 100, "dim": 6, "num_values": 4}


def planned(content: Mapping[str, Any]) -> None:
    config = build(ExperimentConfig, {"title": "t", "question": "q", **content}, source="mine.yaml")
    plan(config, encoder_hash="an-encoder", text_dim=384)
    plan_panels(config.panels, encoder_hash="an-encoder", encoder=config.encoder)


def refusal(content: Mapping[str, Any]) -> str:
    with pytest.raises(UserError) as refused:
        planned(content)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def arms(settings: Mapping[str, Any], knowledge: Mapping[str, Any] = KEYS) -> dict[str, Any]:
    block = {"memories": [GELU], "num_facts": [50], "seeds": [0], **settings}
    return {"studies": {"mine": {"knowledge": knowledge, "arms": [block]}}}


@pytest.mark.parametrize(
    ("ffn", "least"), [({"kind": "stack"}, 3), ({"kind": "gpt2"}, 3), ({"kind": "bert"}, 3), ({"kind": "llama"}, 2)]
)
def test_a_norm_over_too_few_numbers_is_refused(ffn: Mapping[str, Any], least: int) -> None:
    memories = {"memories": [{"memory": "ffn", "ffn": ffn}]}
    planned(arms(memories, {**KEYS, "dim": least}))
    said = refusal(arms(memories, {**KEYS, "dim": least - 1}))
    assert f"norm over {least - 1} numbers leaves only their signs: the keys need {least} dimensions or more" in said
    if ffn["kind"] == "stack":
        planned(arms({"memories": [{"memory": "ffn", "ffn": {**ffn, "norm": "none"}}]}, {**KEYS, "dim": 1}))


def test_the_blocks_below_are_planned_without_what_is_refused() -> None:
    planned(arms({}))
    planned(arms({"capacity": {"accuracy": 1.0, "low": 4}}))
    planned(arms({"widths_from_demand": [0.5, 1000]}))
    planned(arms({"smallest": {"accuracy": 0.98}}))
    planned(arms({"smallest": {"accuracy": 1.0}, "num_facts": [9]}))


def test_sizes_that_are_chosen_by_themselves_leave_out_what_cannot_be_asked() -> None:
    def sizes(search: Mapping[str, Any]) -> list[int]:
        content = arms({"smallest": search, "num_facts": [], "memories": [GELU, LSH], "seeds": [0]}, MANY)
        config = build(ExperimentConfig, {"title": "t", "question": "q", **content}, source="mine.yaml")
        cells = plan(config, encoder_hash="an-encoder", text_dim=384)
        assert len({cell.name for cell in cells}) in (0, 2), "both sides at the same sizes"
        return sorted({cell.num_facts for cell in cells})

    LSH, MANY = {"memory": "faiss", "factory": "LSH", "rotate_to": 8}, {**KEYS, "num_facts": 700}
    assert sizes({"accuracy": 0.9}) == [87, 175, 350, 700]
    assert sizes({"accuracy": 0.99}) == [175, 350, 700]  # a hundred questions
    assert sizes({"phrasing": "heldout"}) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seeds": []}, "studies.mine.arms.0: seeds must name one or more"),
        ({"seeds": [0, 1, 0]}, "seeds must name each once, not [0, 1, 0]"),
        ({"memories": []}, "memories must name one or more"),
        ({"twins": []}, "twins must name one or more"),
        ({"num_facts": [0]}, "0 facts asked for, but the set holds 100; ask for 1 to 100"),
        ({"widths_from_demand": [0]}, "widths_from_demand must be more than 0 and finite, not [0.0]"),
        ({"widths_from_demand": [-1]}, "should be a number, 0 or more, not -1"),
        ({"widths_from_demand": [float("nan")]}, "should be a number, 0 or more, not nan"),
        ({"widths_from_demand": ["1e-9"]}, "memories.0.ffn: widths_from_demand of 1e-09 would give 100 bits more "
         "than 1,000,000,000 parameters, which take 16 GB to train: name 1e-07 or more"),
        ({"num_params": [10**12]}, "parameters; none may have more than 1,000,000,000"),
        ({"memories": [{"memory": "ffn", "ffn": {"kind": "relu", "width": 10**12}}]},
         "relu-1000000000000 has 12,000,000,000,000 parameters; none may have more than 1,000,000,000"),
        ({"seeds": [2**64]}, "arms.0.seeds.0: should be a whole number below 2^63, not 18446744073709551616"),
        ({"memories": [{"memory": "ffn", "training": {"learning_rate": 1e300}}]}, "a number below 2^40, not 1e+300"),
        ({"memories": [{"memory": "ffn", "code_dim": 1}]},
         "memories.0.code_dim: 4 values have two codes between them in one dimension: name 2 or more"),
        ({"num_params": [5]}, "gelu has 12 parameters at least, more than 5"),
        ({"memories": [GELU, {"memory": "signs"}], "num_params": [500]}, "num_params sizes the FFN of ffn and "
         "closed_form memories, not signs"),
        ({"memories": [{"memory": "faiss"}], "num_active_params": [500]}, "num_active_params sizes the FFN of ffn and "
         "closed_form memories, not faiss"),
        ({"memories": [{"memory": "frequency"}], "widths_from_demand": [1.0]}, "not frequency"),
        ({"capacity": {"phrasing": "heldout"}}, "studies.mine.arms.0.capacity.phrasing: keys has no heldout "
         "questions; it is asked in identical ones"),
        ({"capacity": {"phrasing": "heldout"}, "memories": [{"memory": "static"}]}, "static answers the written "
         "wording alone"),
        ({"capacity": {"accuracy": 0}}, "accuracy must be more than 0 and at most 1, not 0"),
        ({"capacity": {"accuracy": 1.5}}, "accuracy must be more than 0 and at most 1, not 1.5"),
        ({"capacity": {"resolution": 0}}, "resolution must be more than 0, not 0"),
        ({"smallest": {"accuracy": 0.9}, "memories": [GELU, {"memory": "faiss"}]}, "studies.mine.arms.0: memories.1: "
         "faiss-q-Flat has no dial, so there is no smallest of its family; FFNs have their width, an index has "
         "rotate_to (with factory LSH, PQ8x4np, SQ4, RaBitQ ...)"),
        ({"smallest": {"accuracy": 0.9}, "memories": [{"memory": "frequency"}]}, "floor-mode has no dial"),
        ({"smallest": {}, "num_facts": [50]}, "studies.mine.arms.0.smallest.accuracy: 50 identical questions are "
         "asked at a step of 50 facts, and no share of them tells 0.99 from 1: it takes 100; give more facts, or a "
         "lower accuracy"),
        ({"smallest": {"phrasing": "heldout"}}, "studies.mine.arms.0.smallest.phrasing: keys has no heldout questions; "
         "it is asked in identical ones"),
        ({"smallest": {"accuracy": 0.9, "high": 2}, "num_facts": [100],
          "memories": [{"memory": "ffn", "precision": "int4", "ffn": {"kind": "gelu"}},
                       {"memory": "faiss", "factory": "LSH", "rotate_to": 8}]},
         "studies.mine.arms.0.memories.1: rotate_to of 2 at most holds 8 bits, and 0.9 of 100 facts are 134 bits or "
         "more: raise smallest.high to 8"),
        ({"smallest": {"low": 5, "high": 4}}, "studies.mine.arms.0.smallest: low is 5 and high 4: low must be no more "
         "than high"),
        ({"smallest": {"low": 100_000}}, "memories.0: ffn.width has no setting from 100000 to None: it goes from 1 to "
         "65,536 in steps of 1"),
        ({"smallest": {}, "capacity": {}}, "smallest and capacity do not go together: leave one of them out"),
        ({"smallest": {}, "halves": True}, "smallest and halves do not go together: leave one of them out"),
        ({"smallest": {}, "shuffled": True}, "smallest and shuffled do not go together: leave one of them out"),
        ({"smallest": {}, "role": "control"}, "smallest and role: control do not go together: leave one of them out"),
        ({"smallest": {}, "keys": "raw"}, "smallest and keys: raw do not go together: leave one of them out"),
        ({"smallest": {}, "memories": [{"memory": "faiss", "factory": "LSH24", "rotate_to": 28}]}, "has no dial"),
        ({"smallest": {}, "num_params": [50]}, "smallest and num_params do not go together: leave one of them out"),
        ({"memories": [{"memory": "faiss", "key_by": "statement"}]}, "studies.mine.arms.0.memories.0: faiss-s-Flat "
         "reads statements, and keys has no text"),
        ({"memories": [{"memory": "paired"}], "halves": True}, "reads statements, and keys has no text"),
    ],
)  # fmt: skip
def test_arms_that_cannot_be_run_are_refused(settings: Mapping[str, Any], said: str) -> None:
    assert said in refusal(arms(settings))


def test_a_study_of_no_arms_and_sizes_of_no_facts_are_refused() -> None:
    assert "arms must name one or more" in refusal({"studies": {"mine": {"knowledge": KEYS, "arms": []}}})
    assert "max_weight_facts must be 1 or more, not 0" in refusal({"max_weight_facts": 0})


def test_heldout_wordings_that_a_file_does_not_have_are_refused(tmp_path: Path) -> None:
    facts, wordings = tmp_path / "facts.jsonl", tmp_path / "wordings.yaml"
    lines = [{"subject": f"Town {n}", "relation": "country", "value": f"Land {n % 3}"} for n in range(40)]
    facts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = {"statement": ["{subject} lies in {value}."], "seen": ["Where is {subject}?"]}
    wordings.write_text(json.dumps({"country": own}))
    knowledge = {"source": "file", "file": str(facts), "phrasings": str(wordings)}
    planned(arms({"num_facts": [20]}, knowledge))
    said = refusal(arms({"capacity": {"phrasing": "heldout"}}, knowledge))
    assert "facts has no heldout questions" in said


@pytest.mark.parametrize(
    ("panel", "settings", "said"),
    [
        ("neurons", {"num_params": 10}, "swiglu has 48 parameters at least, more than 10"),
        ("neurons", {"triggers": 100000}, "the facts written at the lowest load, about 140, not 100000"),
        ("neurons", {"loads": [0]}, "loads must be more than 0 and finite, not 0.0"),
        ("neurons", {"steps": 0}, "steps must be 1 or more, not 0"),
        ("ranks_in_training", {"num_params": 20}, "swiglu has 48 parameters at least, more than 20"),
        ("ranks_in_training", {"load": 0.001}, "comes to 0 facts, and 2 or more are needed: raise load or num_params"),
        ("sparse_units", {"active_shares": [1, 0.001], "annealed_shares": [], "read_shares": [0.001]},
         "active_share must lie between .01 and 1, not 0.001"),
        ("sparse_units", {"width": 4}, "width must be 6 or more for a share of 0.1, not 4"),
        ("sparse_units", {"active_latents": 500}, "active_latents must be at most the latents, 128, not 500"),
        ("sparse_units", {"load": 0.001}, "raise load or width"),
        ("sparse_units", {"steps": 0}, "steps must be 1 or more, not 0"),
        ("toy_features", {"steps": 0}, "steps must be 1 or more, not 0"),
        ("activation_patterns", {"dims": [1], "bits_per_param": [1]}, "dims must be 2 or more"),
        ("activation_patterns", {"dims": [16], "bits_per_param": [0]}, "bits_per_param must be more than 0"),
        ("activation_patterns", {"widths": [1, 8]}, "widths must be 2 or more"),
        ("activation_patterns", {"num_values": 10**6}, "or less, so that facts share values, not 1,000,000"),
        ("near_duplicates", {"crowds": [400]}, "crowd should be 1 to 320, not 400"),
        ("near_duplicates", {"num_facts": [16384]}, "num_facts"),
        ("change_prices", {"num_chunks": 7, "share": 0.5}, "share must come to 1 of 7 chunks, and to half of them"),
        ("reading", {"reader": {"kernel": 4}}, "panels.mine.reader: kernel must be odd, not 4"),
        ("reading", {"reader": {"width": 0}}, "panels.mine.reader: width must be 1 or more, not 0"),
        ("reading", {"reader": {"dropout": 1.0}}, "dropout must be 0 or more and less than 1, not 1.0"),
        ("reading", {"reader": {"longest": 0}}, "longest must be 1 or more, not 0"),
        ("reading", {"training": {"steps": 0}}, "panels.mine.training: steps must be 1 or more, not 0"),
        ("reading", {"training": {"batch_size": 0}}, "batch_size must be 1 or more, not 0"),
        ("reading", {"training": {"learning_rate": 0}}, "learning_rate must be more than 0 and finite, not 0"),
        ("interference", {"load": 0.0001}, "load must be .05 or more"),
        ("interference", {"steps": 0}, "steps must be 1 or more, not 0"),
        ("overload", {"loads": [0]}, "loads must be more than 0 and finite, not 0.0"),
        ("overload", {"loads": [0.0001]}, "comes to 0 facts, and 2 or more are needed: raise loads or width"),
        ("facts_in_superposition", {"dim": 1}, "dim and hidden must be 2 or more"),
        ("facts_in_superposition", {"loads": [0.001]}, "comes to 0 facts, and 3 or more are needed"),
        ("generalisation", {"wordings": [12]}, "wordings must be 1 to 9, which there are, not [12]"),
        ("generalisation", {"num_people": 10**6}, "num_people should be 1 to 409,600"),
        ("reworded_capacity", {"wordings": [9]}, "wordings must be 1 to 8, not [9]"),
        ("reworded_capacity", {"city_wordings": [9]}, "city_wordings must be 1 to 6, not [9]"),
        ("reworded_capacity", {"attributes": ["major", "major"]}, "attributes must name each once"),
        ("physical_capacity", {"accuracy": 1.5}, "accuracy must lie between .5 and 1"),
        ("physical_capacity", {"accuracy": 0.01}, "accuracy must lie between .5 and 1"),
        ("physical_capacity", {"resolution": 0}, "resolution must be more than 0 and finite, not 0.0"),
        ("physical_capacity", {"resolution": float("inf")}, "should be a number, 0 or more, not inf"),
        ("classical_bounds", {"loads": [2.0, 1.0]}, "loads must rise"),
        ("classical_bounds", {"loads": [0.01]}, "comes to 0 facts, and 1 or more are needed: raise loads or inputs"),
        ("code_dimension", {"num_params": 10}, "swiglu has 96 parameters at least, more than 10"),
        ("code_dimension", {"noisy_bits_per_param": 0.0001}, "comes to 0 facts"),
        ("code_dimension", {"long_dim": 0}, "long_dim must be 1 or more, not 0"),
        ("rank_limits", {"num_params": 40, "ranks": [1]}, "swiglu has 48 parameters at least, more than 40"),
        ("depth_at_work", {"bits_per_param": 0.0001}, "raise bits_per_param or num_params"),
        ("depth_at_work", {"dim": 1}, "dim must be 2 or more"),
        ("depth_at_work", {"depths": [0, 1]}, "depths must be 1 or more, not 0"),
        ("capacity_slope", {"kinds": ["product keys"], "widths": [2]}, "parameters at least, more than 64"),
        ("key_sparsity", {"nonzeros": [1, 2, 2]}, "nonzeros must name each once, not [1, 2, 2]"),
        ("key_sparsity", {"steps": 0}, "steps must be 1 or more, not 0"),
        ("overload", {"seeds": []}, "seeds must name one or more"),
        ("overload", {"seeds": [1, 1]}, "seeds must name each once, not [1, 1]"),
        ("pattern_use", {"text_widths": [0]}, "text_widths must be 1 or more, not 0"),
    ],
)  # fmt: skip
def test_panels_that_cannot_be_measured_are_refused(panel: str, settings: Mapping[str, Any], said: str) -> None:
    assert said in refusal({"panels": {"mine": {"panel": panel, **settings}}})


@pytest.mark.parametrize(
    ("panel", "settings"),
    [
        ("pattern_use", {"noises": [0, 0.1]}),
        ("activation_patterns", {"bits_per_param": [1, 1, 1]}),
        ("overload", {"query_noise": 0, "steps": 0}),
    ],
)
def test_no_noise_equal_loads_and_no_training_are_fair_questions(panel: str, settings: Mapping[str, Any]) -> None:
    build(ExperimentConfig, {"title": "t", "question": "q", "panels": {"p": {"panel": panel, **settings}}}, source="s")
