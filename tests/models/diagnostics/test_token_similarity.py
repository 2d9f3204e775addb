"""Similarity of tokens: by hand, by brute force over pairs, and under averaging of the past."""

import pytest
import torch

from models.diagnostics.token_similarity import averaged_over_the_past, distance_from_one_vector, mean_cosine


def test_tokens_that_are_alike_and_tokens_that_share_nothing() -> None:
    alike_BTD = torch.tensor([1.0, -2.0, 3.0]).expand(1, 4, 3)
    assert float(mean_cosine(alike_BTD)) == pytest.approx(1)
    assert float(distance_from_one_vector(alike_BTD)) == 0
    apart_BTD = torch.eye(3)[None]
    assert float(mean_cosine(apart_BTD)) == pytest.approx(0, abs=1e-12)
    # Columns and rows of I - 1/3 sum to 2/3 + 1/3 + 1/3, those of I to 1.
    assert float(distance_from_one_vector(apart_BTD)) == pytest.approx(4 / 3)
    opposite_BTD = torch.tensor([[[2.0, 0.0], [-1.0, 0.0]]])
    assert float(mean_cosine(opposite_BTD)) == pytest.approx(-1)
    # Mean (.5, 0): columns 3 of 3, rows 1.5 of 2.
    assert float(distance_from_one_vector(opposite_BTD)) == pytest.approx((3 * 1.5 / (3 * 2)) ** 0.5)


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    x_BTD = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for x_TD, found in zip(x_BTD, mean_cosine(x_BTD).tolist(), strict=True):
        pairs = [torch.cosine_similarity(x_TD[i], x_TD[j], dim=0) for i in range(5) for j in range(5) if i != j]
        assert found == pytest.approx(float(torch.stack(pairs).mean()))
    x_BTD[:, 2] = 0
    assert mean_cosine(x_BTD).isfinite().all() and distance_from_one_vector(torch.zeros(1, 2, 3)) == 0


def test_averaging_of_the_past_ends_at_the_first_token() -> None:
    x_BTD = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    once_BTD = averaged_over_the_past(x_BTD)
    for at in range(6):
        torch.testing.assert_close(once_BTD[:, at], x_BTD[:, : at + 1].mean(1))
    for _ in range(80):
        once_BTD = averaged_over_the_past(once_BTD)
    torch.testing.assert_close(once_BTD, x_BTD[:, :1].expand_as(x_BTD))
    # The slowest direction halves: 1, 1/2, 1/3 ... are the eigenvalues.
    of_two = torch.tensor([[[0.0], [1.0]]])
    assert float(averaged_over_the_past(averaged_over_the_past(of_two))[0, 1, 0]) == 0.25
