"""Product-key memory and one-neuron experts against brute force over all slots and plain loops."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from models.memory_kinds import DENSE_READ_FACTOR, OneNeuronExpertsConfig, ProductKeysConfig
from models.optimizers import optimizers_for
from models.product_keys import ProductKeys, read
from models.training_budget import TrainingBudget

DIM_IN, DIM_OUT = 6, 5
BOTH = [ProductKeysConfig, OneNeuronExpertsConfig]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def built(config, dim_in=DIM_IN, dim_out=DIM_OUT):
    return config.build(dim_in, dim_out, generator=rng())


def keys_of(count, dim=DIM_IN, seed=1):
    return functional.normalize(torch.randn(count, dim, generator=rng(seed)), dim=1)


def weights_over_all_slots(retrieval, key, config):
    """{slot: weight} of each head, from the scores of every slot."""
    query = key @ retrieval.w_query_DQ
    if config.query_norm == "batch":
        query = (query - retrieval.mean_Q) / torch.sqrt(retrieval.variance_Q + 1e-5)
    of_heads = []
    for head, query_of_head in enumerate(query.split(config.dim_key)):
        if config.query_norm == "layer":
            centred = query_of_head - query_of_head.mean()
            query_of_head = centred / torch.sqrt(centred.square().mean() + 1e-5)
        first, second = query_of_head.split(config.dim_key // 2)
        score = {
            a * config.sub_keys + b: float(
                first @ retrieval.sub_keys_H2NC[head, 0, a] + second @ retrieval.sub_keys_H2NC[head, 1, b]
            )
            for a in range(config.sub_keys)
            for b in range(config.sub_keys)
        }
        best = sorted(score, key=lambda slot: -score[slot])[: config.top_k]
        total = sum(math.exp(score[slot]) for slot in best)
        scored = config.weighting == "scored"
        of_heads.append({slot: math.exp(score[slot]) / total * (score[slot] if scored else 1.0) for slot in best})
    return of_heads


def test_first_scores_of_unit_keys_have_variance_one():
    retrieval = ProductKeys(ProductKeysConfig(sub_keys=200, heads=4, dim_key=16), 64, generator=rng())
    scores = torch.einsum("bhpc,hpnc->bhpn", retrieval.queries(keys_of(200, 64)), retrieval.sub_keys_H2NC)
    assert scores.std().item() == pytest.approx(1, rel=0.05)


def answer_by_loops(ffn, key, config):
    answer = torch.zeros(DIM_OUT)
    for of_head in weights_over_all_slots(ffn.retrieval, key, config):
        for slot, weight in of_head.items():
            if isinstance(config, OneNeuronExpertsConfig):
                unit = key @ ffn.u_SD[slot]
                # GELU is x Phi(x)
                answer += weight * unit * 0.5 * (1 + torch.erf(unit / math.sqrt(2))) * ffn.v_SE[slot]
            else:
                answer += weight * ffn.values_SE[slot]
    return answer


def trained_a_little(ffn):
    """Running statistics that are no longer those of the start."""
    if ffn.retrieval.norm == "batch":
        for seed in range(3):
            ffn.train()(3 * keys_of(20, seed=seed) + 1)
    return ffn.eval()


@settings(max_examples=60)
@given(
    sub_keys=st.integers(1, 7),
    heads=st.integers(1, 3),
    half=st.integers(1, 3),
    share=st.floats(0, 1),
    query_norm=st.sampled_from(["none", "batch", "layer"]),
    weighting=st.sampled_from(["scored", "softmax"]),
    batch=st.integers(0, 4),
)
def test_retrieval_is_the_best_of_all_slots(sub_keys, heads, half, share, query_norm, weighting, batch):
    least = 1 if weighting == "scored" else 2
    assume(least <= sub_keys**2 and (query_norm != "layer" or half > 1))
    top_k = max(least, round(share * sub_keys**2))
    config = ProductKeysConfig(
        sub_keys=sub_keys,
        heads=heads,
        dim_key=2 * half,
        top_k=top_k,
        query_norm=query_norm,
        weighting=weighting,
    )
    ffn = trained_a_little(built(config))
    with torch.no_grad():
        keys = keys_of(batch)
        weights, slots = ffn.retrieval(keys)
        assert weights.shape == slots.shape == (batch, heads * top_k)
        for key, weights_J, slots_J in zip(keys, weights, slots, strict=True):
            expected = weights_over_all_slots(ffn.retrieval, key, config)
            for head, of_head in enumerate(expected):
                mine = slice(head * top_k, (head + 1) * top_k)
                found = dict(zip(slots_J[mine].tolist(), weights_J[mine].tolist(), strict=True))
                assert found == pytest.approx(of_head, abs=1e-4)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("sub_keys", [3, 16])  # the whole table is multiplied; its rows are gathered
@pytest.mark.parametrize("query_norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("weighting", ["scored", "softmax"])
def test_forward_is_the_plain_loop(kind, sub_keys, query_norm, weighting):
    config = kind(sub_keys=sub_keys, heads=2, top_k=3, query_norm=query_norm, weighting=weighting)
    assert (config.num_slots <= DENSE_READ_FACTOR * config.slots_read) == (sub_keys == 3)
    ffn = trained_a_little(built(config))
    keys = keys_of(9)
    with torch.no_grad():
        expected = torch.stack([answer_by_loops(ffn, key, config) for key in keys])
        assert torch.allclose(ffn(keys), expected, atol=1e-5)
        one_by_one = torch.cat([ffn(key[None]) for key in keys])
        assert torch.allclose(ffn(keys), one_by_one, atol=1e-6)
        assert ffn(keys[:0]).shape == (0, DIM_OUT)


def test_small_and_large_tables_are_read_alike_and_learn_alike():
    slots = torch.tensor([[0, 3, 3], [5, 1, 0]])
    gradients = []
    for rows in (40, 60):  # 16 x 3 slots read lie between them
        table = torch.randn(60, 4, generator=rng())[:rows].requires_grad_()
        weights = torch.randn(2, 3, generator=rng(1)).requires_grad_()
        answer = read(table, weights, slots)
        answer.square().sum().backward()
        assert torch.allclose(answer, (weights[:, :, None] * table[slots]).sum(dim=1), atol=1e-6)
        gradients.append((table.grad[:40], weights.grad))
    for small, large in zip(*gradients, strict=True):
        assert torch.allclose(small, large, atol=1e-5)


@settings(max_examples=40)
@given(
    kind=st.sampled_from(BOTH),
    sub_keys=st.integers(2, 9),
    heads=st.integers(1, 4),
    top_k=st.integers(2, 4),
    query_norm=st.sampled_from(["none", "batch", "layer"]),
    dim_in=st.integers(1, 9),
    dim_out=st.integers(1, 9),
)
def test_counts_are_those_of_the_module(kind, sub_keys, heads, top_k, query_norm, dim_in, dim_out):
    config = kind(sub_keys=sub_keys, heads=heads, top_k=top_k, query_norm=query_norm)
    ffn = built(config, dim_in, dim_out)
    # Running statistics are stored as well, so they are counted.
    assert config.num_params(dim_in, dim_out) == sum(stored.numel() for stored in ffn.state_dict().values())
    slot_dim = dim_out + (dim_in if kind is OneNeuronExpertsConfig else 0)
    read_at_most = min(heads * top_k, sub_keys**2)
    of_retrieval = sum(stored.numel() for stored in ffn.retrieval.state_dict().values())
    assert config.num_active_params(dim_in, dim_out) == of_retrieval + read_at_most * slot_dim
    assert config.resized(sub_keys) == config
    assert config.resized(7).size == 7


@pytest.mark.parametrize("kind", BOTH)
def test_training_flops_of_a_small_table_are_those_that_torch_counts(kind):
    config = kind(sub_keys=6, heads=3, top_k=4)
    ffn, keys = built(config), keys_of(50)
    with FlopCounterMode(display=False) as counter:
        ffn(keys).sum().backward()
    assert counter.get_total_flops() == 50 * config.training_flops(DIM_IN, DIM_OUT)


@pytest.mark.parametrize("kind", BOTH)
def test_training_flops_of_a_large_table_are_those_of_the_slots_read(kind):
    config = kind(sub_keys=40, heads=3, top_k=4)
    ffn, keys = built(config), keys_of(50)
    with FlopCounterMode(display=False) as counter:
        ffn(keys).sum().backward()
    of_the_bag = 3 * 4 * 6 * DIM_OUT  # torch does not count embedding_bag
    assert counter.get_total_flops() + 50 * of_the_bag == 50 * config.training_flops(DIM_IN, DIM_OUT)
    assert config.training_flops(DIM_IN, DIM_OUT) < replace(config, top_k=5).training_flops(DIM_IN, DIM_OUT)


@pytest.mark.parametrize("kind", BOTH)
def test_a_million_slots_need_no_array_of_them_for_each_key(kind):
    config = kind(sub_keys=1000, heads=2)
    ffn = built(config, 4, 2)
    # 8,000 keys x 1,000,000 slots would be 32 GB.
    keys = keys_of(8_000, dim=4)
    ffn(keys).sum().backward()
    with torch.no_grad():
        counts = ffn.slot_counts(keys)
        assert counts.shape == (1_000_000,)
        assert int(counts.sum()) == 8_000 * config.slots_read


@pytest.mark.parametrize("kind", BOTH)
def test_slot_counts_say_which_slots_were_read(kind):
    config = kind(sub_keys=4, heads=2, top_k=3)
    ffn, keys = built(config), keys_of(11)
    with torch.no_grad():
        expected = torch.zeros(16, dtype=torch.int64)
        for key in keys:
            for of_head in weights_over_all_slots(ffn.retrieval, key, config):
                expected[list(of_head)] += 1
        assert torch.equal(ffn.slot_counts(keys), expected)


def test_slots_compete_and_their_scores_learn():
    """One softmax over a head's slots: what one gains the others lose, and every query and sub-key has a gradient."""
    ffn = built(ProductKeysConfig(sub_keys=4, heads=2, top_k=3, weighting="softmax"))
    weights, _ = ffn.retrieval(keys_of(30))
    assert torch.allclose(weights.unflatten(1, (2, 3)).sum(dim=2), torch.ones(30, 2))
    ffn(keys_of(30)).square().sum().backward()
    assert float(ffn.retrieval.w_query_DQ.grad.abs().min()) > 0
    assert float(ffn.retrieval.sub_keys_H2NC.grad.abs().min()) > 0


@pytest.mark.parametrize("kind", BOTH)
def test_slots_learn_at_their_own_rate(kind):
    ffn = built(kind(sub_keys=3, slot_rate_factor=4.0))
    of_slots = {id(weight) for name, weight in ffn.named_parameters() if not name.startswith("retrieval.")}
    [optimizer] = optimizers_for(ffn, TrainingBudget(learning_rate=0.5))
    rate = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    assert all(rate[id(weight)] == (2.0 if id(weight) in of_slots else 0.5) for weight in ffn.parameters())
    assert len(of_slots) == (2 if kind is OneNeuronExpertsConfig else 1)


def test_batch_statistics_are_stored_and_a_single_key_has_none():
    config = ProductKeysConfig(sub_keys=3, query_norm="batch")
    ffn = built(config)
    assert {"retrieval.mean_Q", "retrieval.variance_Q"} <= set(ffn.state_dict())
    before = ffn.retrieval.mean_Q.clone()
    ffn(keys_of(1))
    assert torch.equal(ffn.retrieval.mean_Q, before)
    ffn(keys_of(8))
    assert not torch.equal(ffn.retrieval.mean_Q, before)
    copy = built(config).eval()
    copy.load_state_dict(ffn.state_dict())
    assert torch.equal(copy(keys_of(8)), ffn.eval()(keys_of(8)))


@pytest.mark.parametrize("kind", BOTH)
def test_it_learns_what_a_linear_map_cannot(kind):
    """200 keys, 4 values, from less than a kilobyte of queries and slots."""
    ffn = built(kind(sub_keys=5), 8, 4)
    keys, values = keys_of(200, dim=8), torch.randint(4, (200,), generator=rng(2))
    [optimizer] = optimizers_for(ffn, TrainingBudget(learning_rate=0.03))
    for _ in range(200):
        optimizer.zero_grad()
        functional.cross_entropy(ffn(keys), values).backward()
        optimizer.step()
    assert float((ffn(keys).argmax(dim=1) == values).float().mean()) > 0.95


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"dim_key": 3}, "dim_key must be even"),
        ({"sub_keys": 0}, "sub_keys must be 1 or more, not 0"),
        ({"heads": 0}, "heads must be 1 or more"),
        ({"top_k": 0}, "top_k must be 1 or more"),
        ({"dim_key": 0}, "dim_key must be 1 or more"),
        ({"top_k": 1, "weighting": "softmax"}, "top_k must be 2 or more for weighting softmax"),
        ({"slot_rate_factor": 0.0}, "slot_rate_factor must be more than 0"),
    ],
)
def test_dials_that_fit_no_memory_are_refused(kind, dials, message):
    with pytest.raises(ValueError, match=message):
        kind(**dials)


@pytest.mark.parametrize("kind", BOTH)
def test_more_slots_asked_for_than_there_are_is_refused_before_training(kind):
    built(kind(sub_keys=2, top_k=4))
    with pytest.raises(ValueError, match="top_k 5 is more than the 4 slots of sub_keys 2"):
        kind(sub_keys=2, top_k=5)
    assert kind(top_k=5).resized(1).sub_keys == 3


@pytest.mark.parametrize("kind", BOTH)
def test_families_tell_settings_apart_and_labels_sizes(kind):
    plain = kind(sub_keys=8)
    others = [
        replace(plain, heads=2),
        replace(plain, dim_key=8),
        replace(plain, top_k=2),
        replace(plain, query_norm="layer"),
        replace(plain, weighting="softmax"),
        replace(plain, slot_rate_factor=2.0),
    ]
    assert len({config.family for config in [plain, *others]}) == 7
    assert plain.resized(9).family == plain.family
    assert plain.resized(9).label != plain.label


def test_initial_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    one = ProductKeys(ProductKeysConfig(), DIM_IN, generator=rng(3))
    torch.manual_seed(2)
    two = ProductKeys(ProductKeysConfig(), DIM_IN, generator=rng(3))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
