"""Willshaw's matrix against loops over synapses, the share of them that is on, and recall while no false unit fires."""

import numpy as np
import pytest
import torch

from models.closed_form.willshaw_matrix import fired_units, lit_synapses, willshaw_memory


def patterns(num, units, active, rng):
    return torch.from_numpy(np.array([rng.choice(units, active, replace=False) for _ in range(num)]))


def drawn(num, cue, target, seed=0):
    rng = np.random.default_rng(seed)
    return patterns(num, *cue, rng), patterns(num, *target, rng)


def test_a_synapse_is_on_where_any_pattern_has_both_its_units():
    cues, targets = drawn(7, (9, 3), (8, 2))
    w = willshaw_memory(cues, targets, cue_units=9, target_units=8)
    pairs = {(f, u) for cue, target in zip(cues.tolist(), targets.tolist(), strict=True) for f in cue for u in target}
    assert {(f, u) for f in range(9) for u in range(8) if w[f, u]} == pairs
    assert w.shape == (9, 8) and w.dtype == torch.bool
    one_by_one = [willshaw_memory(cues[[n]], targets[[n]], cue_units=9, target_units=8) for n in reversed(range(7))]
    assert torch.equal(w, torch.stack(one_by_one).any(dim=0))
    assert not willshaw_memory(cues[:0], targets[:0], cue_units=9, target_units=8).any()
    with pytest.raises(IndexError):
        willshaw_memory(cues, targets, cue_units=int(cues.max()), target_units=8)


def test_units_are_counted_fired_and_ranked_synapse_by_synapse():
    cues, targets = drawn(20, (9, 3), (40, 4))
    w = willshaw_memory(cues, targets, cue_units=9, target_units=40)
    asked, _ = drawn(20, (9, 3), (40, 4), seed=1)
    lit = lit_synapses(w, asked)
    expected = [[sum(bool(w[f, u]) for f in cue) for u in range(40)] for cue in asked.tolist()]
    assert lit.tolist() == expected and len(np.unique(expected)) == 4
    assert torch.equal(fired_units(w, asked), lit == 3)
    assert lit_synapses(w, asked[:0]).shape == (0, 40) and fired_units(w, asked[:0]).shape == (0, 40)


@pytest.mark.parametrize(("cue", "target", "num"), [((200, 7), (300, 5), 1200), ((400, 3), (100, 10), 900)])
def test_share_of_the_synapses_that_is_on(cue, target, num):
    """1 - (1 - K L / (F U))^P, whose deviation is well below that of independent synapses here."""
    cues, targets = drawn(num, cue, target)
    w = willshaw_memory(cues, targets, cue_units=cue[0], target_units=target[0])
    expected = 1 - (1 - cue[1] * target[1] / (cue[0] * target[0])) ** num
    assert 0.3 < expected < 0.6
    assert float(w.double().mean()) == pytest.approx(expected, abs=4 * 0.5 / w.numel() ** 0.5)


def test_recall_is_exact_while_no_false_unit_fires():
    cues, targets = drawn(600, (512, 12), (512, 6))
    w = willshaw_memory(cues, targets, cue_units=512, target_units=512)
    fired = fired_units(w, cues)
    assert fired.sum() == 600 * 6
    assert fired.gather(1, targets).all()
    # A few active units that were never written, and a threshold names none.
    moved = cues.clone()
    moved[:, :2] = patterns(600, 512, 2, np.random.default_rng(9))
    assert not fired_units(w, moved).gather(1, targets).all(dim=1).any()


def test_beyond_half_on_false_units_fire_and_no_true_one_is_missed():
    cues, targets = drawn(9000, (512, 9), (512, 9))
    w = willshaw_memory(cues, targets, cue_units=512, target_units=512)
    fired = fired_units(w, cues[:500])
    assert fired.gather(1, targets[:500]).all()
    assert float(fired.sum(dim=1).double().mean()) > 200
