"""A real device, where there is one: then all tests of the fixture `cuda` run on it too (`-m gpu`)."""

from __future__ import annotations

import pytest

from clusterimg.backends import _cuda_trial, cuda

WHY_NOT = cuda.why_unavailable()


@pytest.mark.gpu
@pytest.mark.skipif(WHY_NOT is not None, reason=f"cuda: {WHY_NOT}")
@pytest.mark.parametrize("kernel", _cuda_trial.JOINS)
def test_every_device_answers_as_the_core(kernel: str) -> None:
    numbers = [device["number"] for device in cuda.devices()]
    assert numbers
    assert _cuda_trial.differs(cuda._ask, kernel, numbers) is None
