"""What a panel refuses before anything is measured."""

import re
from typing import Any

import pytest

from retrieval.errors import UserError
from retromem.configuration import build
from retromem.experiment import ExperimentConfig


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
