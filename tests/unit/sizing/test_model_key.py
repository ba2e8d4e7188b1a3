"""Requests about the same model have the same key, others have another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.request.model_key import model_key
from sizing.request.request import Container, Model

ACCOUNT, REGION = "123456789012", "eu-west-1"
PACKAGE = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package"


def key(**model: Any) -> str:
    return model_key(Model.model_validate(model), account=ACCOUNT, region=REGION)


def hugging_face(**changes: str) -> dict[str, str]:
    return {
        "model_id": "org/model",
        "task": "text-classification",
        "transformers_version": "4.49.0",
        "pytorch_version": "2.6.0",
        "py_version": "py312",
        **changes,
    }


def container(**changes: Any) -> dict[str, Any]:
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/serve:1"
    return {"image_uri": image, "model_data_url": "s3://models/a.tar.gz", **changes}


def test_a_group_and_its_packages_are_one_model() -> None:
    keys = {
        key(model_package_group="sentiment"),
        key(model_package_group=f"{PACKAGE}-group/sentiment"),
        key(model_package_arn=f"{PACKAGE}/sentiment/1"),
        key(model_package_arn=f"{PACKAGE}/sentiment/27"),
    }
    assert keys == {"model_package_group/sentiment"}


@pytest.mark.parametrize("there", [f"{REGION}:999999999999", f"us-east-1:{ACCOUNT}"])
def test_a_group_of_the_same_name_elsewhere_is_another(there: str) -> None:
    arn = f"arn:aws:sagemaker:{there}:model-package/sentiment/1"
    assert key(model_package_arn=arn) != key(model_package_group="sentiment")
    second = f"arn:aws:sagemaker:{there}:model-package/sentiment/2"
    assert key(model_package_arn=arn) == key(model_package_arn=second)
    group = f"arn:aws:sagemaker:{there}:model-package-group/sentiment"
    assert key(model_package_arn=arn) == key(model_package_group=group)


def test_a_package_without_versions_is_a_model_of_its_own() -> None:
    assert key(model_package_arn=f"{PACKAGE}/sentiment") != key(model_package_group="sentiment")


def test_a_model_id_is_one_model_in_whichever_container() -> None:
    newer = hugging_face(transformers_version="4.51.0", pytorch_version="2.7.0")
    assert key(hugging_face=hugging_face()) == key(hugging_face=newer) == "hugging_face/org/model"
    assert key(hugging_face=hugging_face(model_id="org/other")) != key(hugging_face=newer)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_data_url": "s3://models/b.tar.gz"},
        {"model_data_url": None},
        {"environment": {"MODEL": "b"}},
    ],
)
def test_what_a_container_serves_makes_the_model(changes: dict[str, Any]) -> None:
    assert key(container=container(**changes)) != key(container=container())
    assert key(container=container(**changes)) == key(container=container(**changes))


def test_an_environment_is_in_no_key() -> None:
    assert "secret" not in key(container=container(environment={"TOKEN": "secret"}))


def test_kinds_do_not_mix() -> None:
    assert key(model_name="sentiment") != key(model_package_group="sentiment")


@given(st.text(max_size=400), st.text(max_size=400))
def test_keys_fit_a_sort_key_and_stay_apart(first: str, second: str) -> None:
    # Unchecked, as the bound must not depend on what requests allow.
    keys = [
        model_key(
            Model.model_construct(
                container=Container.model_construct(
                    image_uri="i" * 255 + text, model_data_url=None, environment={}
                )
            ),
            account=ACCOUNT,
            region=REGION,
        )
        for text in (first, second)
    ]
    assert all(0 < len(each.encode(errors="surrogatepass")) <= 512 for each in keys)
    assert (keys[0] == keys[1]) == (first == second)
