"""The bytes of a request: where they go, and that they are rendered once a second."""

from __future__ import annotations

from collections import Counter

import botocore.session
import pytest

from load_generator.answers import Failure, failure
from load_generator.invocation import (
    Credentials,
    Endpoint,
    PayloadSet,
    PreparedPayload,
    Signer,
    invocation_headers,
    invocation_path,
)
from load_generator.spec import Payload, PayloadSource, Spec, StepSpec


@pytest.mark.parametrize(
    "url, host, port, header",
    [
        ("https://runtime.sagemaker.eu-west-1.amazonaws.com", None, 443, None),
        ("http://127.0.0.1:8080/", "127.0.0.1", 8080, "127.0.0.1:8080"),
        ("http://endpoint.test", "endpoint.test", 80, "endpoint.test"),
        ("https://[::1]:8443", "::1", 8443, "[::1]:8443"),
    ],
)
def test_endpoints(url: str, host: str | None, port: int, header: str | None) -> None:
    endpoint = Endpoint.from_url(url, "eu-west-1")
    name = "runtime.sagemaker.eu-west-1.amazonaws.com"
    assert endpoint.host == (host or name)
    assert endpoint.port == port
    assert endpoint.host_header == (header or name)
    assert endpoint.tls == url.startswith("https")


@pytest.mark.parametrize("url", ["ftp://x", "x", "https://", ""])
def test_what_is_no_url_of_an_endpoint(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Endpoint.from_url(url, "eu-west-1")


def spec(*, streaming: bool) -> Spec:
    return Spec(
        load_test_id="t",
        endpoint_name="my-endpoint",
        payloads=PayloadSource(inline=[]),
        steps=[StepSpec(offered_tps=1)],
        target_variant="v",
        target_model=None if streaming else "m",
        custom_attributes="c",
        streaming=streaming,
    )


@pytest.mark.parametrize(
    "operation, streaming",
    [("InvokeEndpoint", False), ("InvokeEndpointWithResponseStream", True)],
)
def test_path_and_headers_are_those_of_the_api(operation: str, streaming: bool) -> None:
    model = botocore.session.get_session().get_service_model("sagemaker-runtime")
    api = model.operation_model(operation)
    path = str(api.http["requestUri"]).replace("{EndpointName}", "my-endpoint")
    assert invocation_path(spec(streaming=streaming)) == path
    members = ["ContentType", "Accept", "CustomAttributes", "TargetVariant"]
    members += [] if streaming else ["TargetModel"]
    assert api.input_shape is not None
    named = {
        str(api.input_shape.members[member].serialization["name"]).lower() for member in members
    }
    assert invocation_headers(spec(streaming=streaming)).keys() == named


def test_the_signing_key_follows_day_and_credentials() -> None:
    endpoint = Endpoint.from_url("https://endpoint.test", "eu-west-1")
    signer = Signer(endpoint, "/endpoints/e/invocations", {"content-type": "text/plain"})
    first, second = Credentials("A", "s1", None), Credentials("B", "s2", "token")
    payload = PreparedPayload(Payload(b"x"))
    day = 86_400
    seen = {
        signer.render(payload, at, credentials)
        for at in (day - 1, day)
        for credentials in (first, second)
    }
    assert len(seen) == 4
    # And back again gives the same bytes as before.
    assert signer.render(payload, day - 1, first) in seen
    assert b"x-amz-security-token" not in signer.render(payload, day, first)
    assert b"x-amz-security-token: token" in signer.render(payload, day, second)


def test_a_payload_has_headers_of_its_own() -> None:
    endpoint = Endpoint.from_url("https://endpoint.test", "eu-west-1")
    signer = Signer(endpoint, "/endpoints/e/invocations", {"content-type": "text/plain"})
    key = Credentials("A", "s", None)
    usual = signer.render(PreparedPayload(Payload(b"x")), 0, key)
    own = signer.render(PreparedPayload(Payload(b"x", 1, "text/csv", "tenant=a")), 0, key)
    assert b"\r\ncontent-type: text/plain\r\n" in usual
    assert b"custom-attributes" not in usual
    assert b"\r\ncontent-type: text/csv\r\n" in own
    assert b"\r\nx-amzn-sagemaker-custom-attributes: tenant=a\r\n" in own
    assert b"SignedHeaders=content-type;host;x-amz-date;x-amzn-sagemaker-custom-attributes" in own


def test_payloads_are_drawn_by_weight_and_alike_for_a_seed() -> None:
    payloads = [Payload(b"rare", 1), Payload(b"often", 9)]
    drawn = [PayloadSet(payloads, seed=3).draw().body for _ in range(3)]
    drawn_set = PayloadSet(payloads, seed=3)
    counts = Counter(drawn_set.draw().body for _ in range(10_000))
    # Within five standard deviations (30).
    assert counts[b"rare"] == pytest.approx(1_000, abs=150)
    assert len(set(drawn)) == 1
    assert PayloadSet(payloads[:1], seed=0).single is not None
    with pytest.raises(ValueError, match="at least one"):
        PayloadSet([], seed=0)


def test_every_error_of_the_api_has_a_kind_of_its_own() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker-runtime")
    kinds = {}
    for error in model.operation_model("InvokeEndpoint").error_shapes:
        status = error.metadata["error"]["httpStatusCode"]
        kinds[error.name] = failure(status, {"x-amzn-errortype": error.name}, b"{}")
    assert len({kind.kind for kind in kinds.values()}) == len(kinds)
    assert not any(kind.kind.startswith("http_") for kind in kinds.values())
    assert [name for name, kind in kinds.items() if kind.invoked] == ["ModelError"]
    body = b'{"OriginalStatusCode": 500}'
    assert failure(424, {}, body) == Failure("model_error_500", invoked=True)
