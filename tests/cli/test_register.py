"""``endpoint-sizer register``: what of a request becomes a package, and what can't."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from endpoint_sizer.__main__ import run
from tests.cli.made_up_aws import REGION, Account, of_moto

ROOT = Path(__file__).parents[2]
REQUEST: dict[str, Any] = json.loads((ROOT / "examples" / "distilbert.json").read_text())
IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/mine:1"


def written(folder: Path, **changes: Any) -> str:
    path = folder / "request.json"
    path.write_text(json.dumps({**REQUEST, **changes}))
    return str(path)


@pytest.mark.parametrize(
    "model, image, variables",
    [
        (REQUEST["model"], "huggingface-pytorch-inference:", {"HF_TASK": "text-classification"}),
        ({"container": {"image_uri": IMAGE, "environment": {"A": "b"}}}, IMAGE, {"A": "b"}),
    ],
    ids=["hub", "own"],
)
def test_a_request_s_model_becomes_the_next_version(
    account: Account,
    printed: Callable[..., Any],
    tmp_path: Path,
    model: dict[str, Any],
    image: str,
    variables: dict[str, str],
) -> None:
    request = written(tmp_path, model=model)
    first = printed("register", "sentiment", request)
    second = printed("register", "sentiment", request, "--approve")
    assert [each["approval_status"] for each in (first, second)] == [
        "PendingManualApproval",
        "Approved",
    ]
    assert second["model_package_arn"].endswith("model-package/sentiment/2")
    described = of_moto("sagemaker").describe_model_package(
        ModelPackageName=second["model_package_arn"]
    )
    specification = described["InferenceSpecification"]
    [container] = specification["Containers"]
    assert image in container["Image"]
    assert f".{REGION}." in container["Image"]
    assert variables.items() <= container["Environment"].items()
    assert specification["SupportedContentTypes"] == ["application/json"]
    assert specification["SupportedRealtimeInferenceInstanceTypes"] == REQUEST["instance_types"]


@pytest.mark.parametrize(
    "model, said",
    [
        ({"model_name": "mine"}, "model: must be hugging_face or container"),
        ({"container": {"image_uri": IMAGE.replace(REGION, "us-east-1")}}, f"image in {REGION}"),
    ],
)
def test_what_is_no_container_is_refused(
    account: Account,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    model: dict[str, Any],
    said: str,
) -> None:
    assert run(["register", "sentiment", written(tmp_path, model=model)]) == 64
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1
    assert not of_moto("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"]
