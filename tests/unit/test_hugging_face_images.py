"""The table of Hugging Face images, held against the sagemaker SDK."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sizing.catalogue.hugging_face_images import image_uri
from sizing.errors import InvalidRequest

TABLE = json.loads(
    (Path(__file__).parents[2] / "functions/sizing/catalogue/hugging_face_images.json").read_text()
)
CPU_TYPES = ["ml.m5.12xlarge", "ml.t2.medium", "ml.c7i.large", "ml.r5d.24xlarge"]
GPU_TYPES = ["ml.g5.xlarge", "ml.p4d.24xlarge", "ml.g4dn.12xlarge", "ml.p6e-gb200.36xlarge"]
REGIONS = ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "il-central-1"]

#: Runs where importing the SDK, 5 seconds and its warnings, can't touch other tests.
ASK_THE_SDK = """
import functools, json, sys
from sagemaker.core import common_utils, image_uris
# Else each call reads botocore's list of endpoints anew.
common_utils._botocore_resolver = functools.cache(common_utils._botocore_resolver)
answers = []
for transformers, pytorch, python, region, instance_type in json.load(sys.stdin):
    try:
        answers.append(image_uris.retrieve(
            "huggingface", region, version=transformers, py_version=python,
            base_framework_version="pytorch" + pytorch,
            instance_type=instance_type, image_scope="inference",
        ))
    except Exception as error:
        answers.append(None)
json.dump(answers, sys.stdout)
"""


def ask_the_sdk(questions: list[tuple[str, ...]]) -> list[str | None]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK_THE_SDK],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    answers: list[str | None] = json.loads(done.stdout)
    return answers


def ask_us(question: tuple[str, ...]) -> str | None:
    transformers, pytorch, python, region, instance_type = question
    try:
        return image_uri(
            transformers_version=transformers,
            pytorch_version=pytorch,
            py_version=python,
            region=region,
            instance_type=instance_type,
        )
    except InvalidRequest:
        return None


def all_versions() -> list[tuple[str, str, str]]:
    """Every version of the table and every alias of one."""
    found = []
    aliases = TABLE["transformers_aliases"]
    for transformers, content in TABLE["versions"].items():
        for name in (transformers, *(a for a, full in aliases.items() if full == transformers)):
            pytorch_names = {full: full for full in content["images"]} | content["pytorch_aliases"]
            for pytorch, full in pytorch_names.items():
                found += [(name, pytorch, python) for python in content["images"][full]]
    return found


def sound_questions() -> list[tuple[str, ...]]:
    versions = all_versions()
    return [
        *((*v, r, t) for v in versions for r in REGIONS for t in ("ml.m5.xlarge", "ml.g5.xlarge")),
        *((*versions[-1], "us-east-1", t) for t in CPU_TYPES + GPU_TYPES),
        *((*versions[-1], region, "ml.m5.large") for region in TABLE["hosts"]),
    ]


def mixed_questions() -> list[tuple[str, ...]]:
    transformers = ["4.17.0", "4.17", "4.18.0", "5.5", "9.9"]
    pytorch = ["1.10.2", "1.10", "1.10.0", "2.6.0"]
    python = ["py38", "py312", "py27"]
    method = ("4.17.0", "1.10.2", "py38")
    return [
        *itertools.product(transformers, pytorch, python, ["us-east-1"], ["ml.m5.large"]),
        (*method, "mars-north-1", "ml.m5.large"),
        (*method, "us-east-1", "ml.c6g.large"),
        (*method, "us-east-1", "ml.inf1.xlarge"),
        (*method, "us-east-1", "m5.large"),
    ]


@pytest.fixture(scope="module")
def theirs() -> dict[tuple[str, ...], str | None]:
    """The SDK's answers, None where it refuses; asked for at once since importing it takes long."""
    questions = [*sound_questions(), *mixed_questions()]
    return dict(zip(questions, ask_the_sdk(questions), strict=True))


def test_every_image_is_the_one_that_the_sdk_names(
    theirs: dict[tuple[str, ...], str | None],
) -> None:
    answers = [theirs[question] for question in sound_questions()]
    assert None not in answers
    assert [ask_us(question) for question in sound_questions()] == answers
    assert len(set(answers)) >= 200, "the sample must not be one image over and over"


def test_what_the_sdk_refuses_is_refused(theirs: dict[tuple[str, ...], str | None]) -> None:
    answers = [theirs[question] for question in mixed_questions()]
    assert [ask_us(question) for question in mixed_questions()] == answers
    assert None in answers
    assert any(answers)


def test_the_method_s_own_image() -> None:
    uri = image_uri(
        transformers_version="4.17.0",
        pytorch_version="1.10.2",
        py_version="py38",
        region="us-east-1",
        instance_type="ml.m5.12xlarge",
    )
    assert uri == (
        "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-inference"
        ":1.10.2-transformers4.17.0-cpu-py38-ubuntu20.04"
    )


@pytest.mark.parametrize(
    "change, field, message",
    [
        ({"transformers_version": "4.18.0"}, "transformers_version", "4.17, 4.17.0, 4.26, "),
        ({"pytorch_version": "2.0.0"}, "pytorch_version", "must be one of 1.10, 1.10.2 with"),
        ({"py_version": "py39"}, "py_version", "must be one of py38 with transformers_version"),
    ],
)
def test_an_unknown_version_names_the_field_and_what_is_allowed(
    change: dict[str, str], field: str, message: str
) -> None:
    arguments = {
        "transformers_version": "4.17.0",
        "pytorch_version": "1.10.2",
        "py_version": "py38",
        "region": "us-east-1",
        "instance_type": "ml.m5.large",
    }
    with pytest.raises(InvalidRequest) as caught:
        image_uri(**(arguments | change))
    assert caught.value.field == f"model.hugging_face.{field}"
    assert message in caught.value.message
    assert next(iter(change.values())) in caught.value.message


@pytest.mark.parametrize("instance_type", ["ml.m7g.large", "ml.c6gn.large", "ml.trn1.2xlarge"])
def test_a_type_that_can_t_run_the_image_is_refused(instance_type: str) -> None:
    # The SDK's own list of Graviton families ends with c7g: for ml.m7g it names an image for x86.
    with pytest.raises(
        InvalidRequest, match=rf"^instance_types: {instance_type} can't run"
    ) as caught:
        image_uri(
            transformers_version="4.17.0",
            pytorch_version="1.10.2",
            py_version="py38",
            region="us-east-1",
            instance_type=instance_type,
        )
    assert caught.value.field == "instance_types"
