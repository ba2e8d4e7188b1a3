"""Processors of instance types."""

from __future__ import annotations

import pytest

from local.endpoint.instance_types import Processors, UnknownInstanceTypeError, processors


def test_processors_are_those_of_ec2() -> None:
    assert processors("ml.m5.12xlarge") == Processors(vcpus=48, gpus=0, memory_mib=196608)
    assert processors("ml.g5.12xlarge") == Processors(vcpus=48, gpus=4, memory_mib=196608)
    with pytest.raises(UnknownInstanceTypeError):
        processors("ml.m5.13xlarge")
