"""What a panel refuses before anything is measured."""

import re
from typing import Any

import pytest

from retrieval.errors import UserError
from retromem.configuration import build
from retromem.run.experiment import ExperimentConfig


@pytest.mark.parametrize(
    ("panel", "settings", "said"),
    [
        ("activation_patterns", {"dims": [16]}, "bits_per_param needs a load for each of dims"),
        ("activation_patterns", {"widths": []}, "widths must name one or more"),
        ("sparse_units", {"active_shares": [0.5]}, "active_shares must name 1.0"),
        ("sparse_units", {"read_shares": [0.3]}, "must be among active_shares"),
        ("toy_features", {"dim": 100}, "dim must be less than num_features, 80"),
        ("pattern_use", {"loads": [0.5, 1.5]}, "loads must be more than 0 and at most 1"),
        ("pattern_use", {"num_cities": 0}, "num_cities must be 1 or more, not 0"),
        ("classical_bounds", {"num_dichotomies": 0}, "num_dichotomies must be 1 or more, not 0"),
        ("overload", {"loads": []}, "loads must name one or more"),
        ("physical_capacity", {"num_values": 1}, "num_values must be 2 or more, not 1"),
        ("architecture", {"depths": [1], "preset_depth": 1}, "a stack of 2 blocks or more"),
        ("architecture", {"steps": -1}, "should be a whole number, 0 or more, not -1"),
        ("optimisation", {"exposures": [50]}, "exposures must be among the published ones"),
        ("reworded_capacity", {"num_people": 5}, "num_people must give 40 facts or more, not 10"),
        ("depth_at_work", {"bits_per_param": 0}, "bits_per_param must be more than 0"),
        ("interference", {"num_params": 10}, "num_params must be 512 or more, not 10"),
        ("code_dimension", {"code_dims": []}, "code_dims must name one or more"),
        ("key_sparsity", {"nonzeros": [1]}, "two numbers above 1"),
        ("rank_limits", {"ranks": [32]}, "ranks must lie between 1 and dim"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(panel: str, settings: dict[str, Any], said: str) -> None:
    content = {"title": "t", "question": "q", "panels": {"mine": {"panel": panel, **settings}}}
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        build(ExperimentConfig, content, source="mine.yaml")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("panel", "allowed", "refused"),
    [
        ("architecture", {"depths": [2], "preset_depth": 2}, {"depths": [1], "preset_depth": 1}),
        ("architecture", {"depths": [1, 2], "preset_depth": 2}, {"depths": [1, 3], "preset_depth": 2}),
        ("change_prices", {"num_chunks": 400, "share": 0.5}, {"num_chunks": 400, "share": 0.503}),
        ("change_prices", {"num_chunks": 400, "share": 0.0025}, {"num_chunks": 400, "share": 0.001}),
        ("depth_at_work", {"dim": 3, "num_params": 4000}, {"dim": 2, "num_params": 4000}),
        ("embedding_limits", {"num_documents": [3, 10]}, {"num_documents": [2, 10]}),
        ("facts_in_superposition", {"dim": 2, "hidden": 2, "loads": [2.0]}, {"dim": 2, "hidden": 1, "loads": [9.0]}),
        ("facts_in_superposition", {"dim": 2, "hidden": 2, "loads": [2.0]}, {"dim": 1, "hidden": 2, "loads": [9.0]}),
        ("generalisation", {"wordings": [1, 9]}, {"wordings": [1, 10]}),
        ("interference", {"num_params": 512}, {"num_params": 511}),
        ("interference", {"load": 0.05}, {"load": 0.049}),
        ("key_sparsity", {"dim": 8, "nonzeros": [2, 8]}, {"dim": 8, "nonzeros": [2, 9]}),
        ("key_sparsity", {"nonzeros": [1, 2, 3]}, {"nonzeros": [1, 2]}),
        ("pair_curve", {"accuracy": 1.0}, {"accuracy": 1.01}),
        ("pattern_use", {"num_cities": 50}, {"num_cities": 49}),
        ("pattern_use", {"loads": [1.0]}, {"loads": [1.01]}),
        ("physical_capacity", {"accuracy": 0.5}, {"accuracy": 0.49}),
        ("physical_capacity", {"accuracy": 1.0}, {"accuracy": 1.01}),
        ("rank_limits", {"dim": 16, "ranks": [16]}, {"dim": 16, "ranks": [17]}),
        ("ranks_in_training", {"at_steps": [0, 1]}, {"at_steps": [0]}),
        ("ranks_in_training", {"load": 1.0}, {"load": 1.01}),
        ("reworded_capacity", {"num_people": 20}, {"num_people": 19}),
        ("reworded_capacity", {"wordings": [1, 8]}, {"wordings": [1, 9]}),
        ("sparse_units", {"annealed_shares": [], "read_shares": [1.0]}, {"read_shares": [0.33]}),
        ("toy_features", {"num_features": 20, "dim": 19}, {"num_features": 20, "dim": 20}),
        ("activation_patterns", {"widths": [2]}, {"widths": [1]}),
        ("activation_patterns", {"dims": [2], "bits_per_param": [1.0]}, {"dims": [1], "bits_per_param": [1.0]}),
        ("classical_bounds", {"loads": [1.0, 1.5, 2.0]}, {"loads": [1.0, 2.0, 1.5]}),
        ("classical_bounds", {"inputs": [2]}, {"inputs": [0]}),
        ("physical_capacity", {"num_values": 2}, {"num_values": 1}),
    ],
)
def test_a_limit_itself_is_allowed_and_what_lies_beyond_is_not(
    panel: str, allowed: dict[str, Any], refused: dict[str, Any]
) -> None:
    def of(settings: dict[str, Any]) -> ExperimentConfig:
        content = {"title": "t", "question": "q", "panels": {"mine": {"panel": panel, **settings}}}
        return build(ExperimentConfig, content, source="mine.yaml")

    of(allowed)
    with pytest.raises(UserError):
        of(refused)
