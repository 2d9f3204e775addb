"""Hashed lookup against plain integers and loops; what the hash keeps and what destroys it."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from models.lookup import PRIME
from models.memory_kinds import DENSE_READ_FACTOR, LookupConfig

DIM_IN, DIM_OUT = 6, 8


def built(config, dim_in=DIM_IN, dim_out=DIM_OUT, seed=0):
    return config.build(dim_in, dim_out, generator=torch.Generator().manual_seed(seed))


def keys_of(count, dim=DIM_IN, seed=1):
    return functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def rows_by_integers(ffn, key, config):
    """The row of each table, in Python's integers."""
    signs = [float(key.double() @ plane) > 0 for plane in ffn.planes_DG.T]
    rows = []
    for table in range(config.tables):
        total = sum(int(ffn.multipliers_GT[sign, table]) for sign in range(config.num_signs) if signs[sign])
        rows.append(table * config.rows + total % PRIME % config.rows)
    return rows


def answer_by_loops(ffn, key, config):
    parts = []
    for table, row in enumerate(rows_by_integers(ffn, key, config)):
        gate = 1.0 if config.gate == "none" else float(key @ ffn.w_gate_DT[:, table])
        if config.gate == "sigmoid":
            gate = 1 / (1 + math.exp(-gate))
        parts.append(gate * ffn.rows_SE[row])
    return sum(parts)


@pytest.mark.parametrize("gate", ["linear", "sigmoid", "none"])
@pytest.mark.parametrize("rows", [5, 100])  # the whole table is multiplied; its rows are gathered
def test_forward_is_the_plain_loop(gate, rows):
    config = LookupConfig(rows=rows, tables=4, gate=gate)
    assert (4 * rows <= DENSE_READ_FACTOR * 4) == (rows == 5)
    ffn, keys = built(config).eval(), keys_of(9)
    with torch.no_grad():
        expected = torch.stack([answer_by_loops(ffn, key, config) for key in keys])
        assert torch.allclose(ffn(keys), expected, atol=1e-5)
        assert torch.allclose(ffn(keys), torch.cat([ffn(key[None]) for key in keys]), atol=1e-6)
        assert ffn(keys[:0]).shape == (0, DIM_OUT)


def test_rows_do_not_depend_on_the_batch_at_all():
    ffn, keys = built(LookupConfig(rows=10**6, tables=1)), keys_of(1000)
    assert torch.equal(ffn.row_ids(keys), torch.cat([ffn.row_ids(block) for block in keys.split(7)]))


def test_hash_is_drawn_from_its_own_seed_and_stored_nowhere():
    config = LookupConfig(rows=1000)
    keys = keys_of(50)
    one, two = built(config, seed=0), built(config, seed=1)
    assert torch.equal(one.row_ids(keys), two.row_ids(keys))
    assert set(one.state_dict()) == {"rows_SE", "w_gate_DT"}
    other = built(replace(config, hash_seed=1))
    assert not torch.equal(one.row_ids(keys), other.row_ids(keys))


def test_tables_hash_evenly_and_independently():
    """10,000 keys on 16 rows: chi-square of each table, and of pairs of rows in two tables."""
    ffn = built(LookupConfig(rows=16, tables=3))
    keys = keys_of(10_000)
    counts = ffn.slot_counts(keys)
    assert counts.shape == (48,)
    of_tables = counts.view(3, 16).double()
    assert of_tables.sum(dim=1).tolist() == [10_000.0] * 3
    expected = 10_000 / 16
    chi_square = ((of_tables - expected) ** 2 / expected).sum(dim=1)
    assert float(chi_square.max()) < 45  # 15 degrees of freedom: exceeded once in 10,000 draws
    ids = ffn.row_ids(keys) - 16 * torch.arange(3)
    pairs = (16 * ids[:, 0] + ids[:, 1]).bincount(minlength=256).double()
    assert float(((pairs - 10_000 / 256) ** 2 / (10_000 / 256)).sum()) < 350  # 255 degrees of freedom: the same


def test_keys_of_one_direction_are_one_key_and_others_are_not():
    ffn = built(LookupConfig(rows=10**6, tables=1), 16)
    keys = keys_of(5000, dim=16)
    assert torch.equal(ffn.row_ids(keys), ffn.row_ids(3 * keys))
    pairs = 5000 * 4999 / 2 / 10**6  # 12.5 pairs of keys should share a row of a million
    distinct = len(ffn.row_ids(keys).unique())
    assert 5000 - distinct == pytest.approx(pairs, abs=12)


def test_noise_in_the_key_destroys_the_hash():
    """A sign turns with probability angle / pi, so 64 stay with (1 - angle / pi)^64."""
    ffn = built(LookupConfig(rows=10**6, tables=1), 16)
    keys = keys_of(4000, dim=16)
    for noise in (0.01, 0.05, 0.2):
        noisy = keys + noise * keys_of(4000, dim=16, seed=2)
        angle = torch.acos((keys * functional.normalize(noisy, dim=1)).sum(dim=1).double().clamp(max=1.0))
        expected = float((1 - angle / math.pi).pow(64).mean())
        kept = float((ffn.row_ids(keys) == ffn.row_ids(noisy)).double().mean())
        assert kept == pytest.approx(expected, abs=0.03)
    assert kept < 0.05


@settings(max_examples=30)
@given(
    rows=st.integers(1, 50),
    tables=st.sampled_from([1, 2, 4]),
    gate=st.sampled_from(["linear", "sigmoid", "none"]),
    dim_in=st.integers(1, 9),
)
def test_counts_are_those_of_the_module(rows, tables, gate, dim_in):
    config = LookupConfig(rows=rows, tables=tables, gate=gate)
    ffn = built(config, dim_in)
    stored = sum(stored.numel() for stored in ffn.state_dict().values())
    assert config.num_params(dim_in, DIM_OUT) == stored
    unread = (rows - 1) * tables * ffn.rows_SE.shape[1]
    assert config.num_active_params(dim_in, DIM_OUT) == stored - unread
    assert config.resized(rows) == config
    assert config.resized(7).size == 7


@pytest.mark.parametrize("gate", ["linear", "none"])
def test_training_flops_are_those_that_torch_counts(gate):
    keys = keys_of(50)
    small, gated = LookupConfig(rows=5, gate=gate), gate != "none"
    with FlopCounterMode(display=False) as counter:
        built(small)(keys).sum().backward()
    assert counter.get_total_flops() == 50 * small.training_flops(DIM_IN, DIM_OUT)
    # torch does not count embedding_bag.
    config, uncounted = LookupConfig(rows=100, gate=gate), 8 * (6 if gated else 4) * DIM_OUT
    with FlopCounterMode(display=False) as counter:
        built(config)(keys).sum().backward()
    assert counter.get_total_flops() + 50 * uncounted == 50 * config.training_flops(DIM_IN, DIM_OUT)


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"rows": 0}, "rows must be 1 or more, not 0"),
        ({"tables": 0}, "tables must be 1 or more"),
        ({"num_signs": 0}, "num_signs must be 1 or more"),
    ],
)
def test_dials_that_fit_no_lookup_are_refused(dials, message):
    with pytest.raises(ValueError, match=message):
        LookupConfig(**dials)


def test_families_tell_settings_apart_and_labels_sizes():
    plain = LookupConfig(rows=8)
    others = [
        replace(plain, tables=2),
        replace(plain, gate="sigmoid"),
        replace(plain, gate="none"),
        replace(plain, num_signs=32),
        replace(plain, hash_seed=1),
    ]
    assert len({config.family for config in [plain, *others]}) == 6
    assert plain.resized(9).family == plain.family
    assert plain.resized(9).label != plain.label
