"""Keys without text: two-hot pairs of tokens. (Unit keys are measured throughout the other tests.)"""

import numpy as np
import pytest

from retromem.knowledge.random_keys import KeysConfig, TokenPairsConfig, keys_set, token_pairs_set
from retromem.knowledge.sources import build_knowledge


def test_pairs_are_distinct_and_two_hot():
    whole = token_pairs_set(TokenPairsConfig(num_tokens=7, num_values=5, num_facts=49))
    assert whole.all_keys is not None
    first, second = whole.all_keys[:, :7], whole.all_keys[:, 7:]
    assert (first.sum(1) == 1).all() and (second.sum(1) == 1).all() and set(np.unique(whole.all_keys)) == {0, 1}
    pairs = set(zip(first.argmax(1).tolist(), second.argmax(1).tolist(), strict=True))
    assert len(pairs) == 49
    assert whole.demand_bits() == pytest.approx(49 * np.log2(5))
    assert len(np.unique(whole.all_value_ids)) == 5


def test_smaller_sets_are_nested_and_seeds_differ():
    large, small = (token_pairs_set(TokenPairsConfig(num_tokens=9, num_facts=n)) for n in (80, 30))
    assert (large.all_keys[:30] == small.all_keys).all()
    other = token_pairs_set(TokenPairsConfig(num_tokens=9, num_facts=80, seed=1))
    assert not (large.all_keys == other.all_keys).all()
    assert large.content_hash != other.content_hash
    assert build_knowledge(TokenPairsConfig(num_tokens=9, num_facts=80)).content_hash == large.content_hash


def test_unit_keys_keep_their_numbers():
    whole = keys_set(KeysConfig(dim=3, num_values=4, num_facts=5))
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((5, 3))
    assert whole.all_keys == pytest.approx(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), rel=1e-6)
    assert whole.all_value_ids.tolist() == rng.integers(4, size=5).tolist()


def test_more_facts_than_pairs_are_refused():
    with pytest.raises(ValueError, match="7 tokens make 49 pairs, not 50"):
        TokenPairsConfig(num_tokens=7, num_facts=50)
    with pytest.raises(ValueError, match="each be 1 or more"):
        TokenPairsConfig(num_tokens=0)


@pytest.mark.parametrize("source", [KeysConfig, TokenPairsConfig])
def test_one_value_is_nothing_to_know(source: type[KeysConfig | TokenPairsConfig]) -> None:
    with pytest.raises(ValueError, match="where there is but one value, there is nothing to know"):
        source(num_values=1)


def test_pairs_of_too_many_tokens_are_refused_before_they_are_shuffled() -> None:
    with pytest.raises(ValueError, match="num_tokens should be 10,000 or fewer"):
        TokenPairsConfig(num_tokens=10_001, num_facts=8)
