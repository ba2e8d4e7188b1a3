"""The examples are valid, and the local models know what they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local.endpoint.behaviour import DEFAULT_MODELS_FILE, load_models
from local.models import keys_of
from sizing.errors import InvalidRequest
from sizing.request.request import parse_request

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_is_a_request_that_runs_locally(path: Path) -> None:
    document = json.loads(path.read_text())
    if path.stem == "profile":  # a request without its model: nightly adds it
        with pytest.raises(InvalidRequest, match=r"^model: is missing"):
            parse_request(document)
        document["model"] = {"model_package_group": "fast-ranker"}
    request = parse_request(document)
    models = load_models(DEFAULT_MODELS_FILE)
    assert set(keys_of(request.model)) & set(models.models)


def test_the_demo_is_the_methods_own_case() -> None:
    request = parse_request(json.loads((EXAMPLES / "distilbert.json").read_text()))
    assert request.model.hugging_face is not None
    assert request.model.hugging_face.model_id == "distilbert-base-uncased"
    assert request.instance_types == ["ml.m5.12xlarge"]
    assert request.payloads.inline is not None
    assert [each.body for each in request.payloads.inline] == [
        '{"inputs": "I am super happy right now."}'
    ]
    assert request.target.tps == 1000
    band = request.target.utilization_percent
    assert (band.min, band.max) == (60, 70)
