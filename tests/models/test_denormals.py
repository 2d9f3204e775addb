"""Flushing of denormal numbers: on for a while, and as it was before afterwards."""

import pytest
import torch

from models.denormals import flushed_denormals


def flushes():
    return float(torch.tensor(1e-38) / 8) == 0


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="needs a processor that can")
def test_denormals_are_flushed_for_a_while():
    try:
        for before in (False, True):
            torch.set_flush_denormal(before)
            with flushed_denormals():
                assert flushes()
                with flushed_denormals():
                    assert flushes()
                assert flushes()
            assert flushes() == before
            with pytest.raises(KeyError), flushed_denormals():
                raise KeyError
            assert flushes() == before
    finally:
        torch.set_flush_denormal(False)
