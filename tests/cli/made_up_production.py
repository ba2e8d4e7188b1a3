"""An account with endpoints in production, which have days of traffic behind them."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from sizing.production.audit import PERIOD_SECONDS
from sizing.production.traffic import MINUTE
from tests.cli.made_up_aws import STARTED, Account
from tests.unit.sizing.production.made_up_production import DAY, START, Endpoint

VCPUS = 4


@dataclass
class Production(Account):
    """An account with endpoints in production."""

    here: tuple[str, ...] = ("sagemaker", "cloudwatch", "application-autoscaling", "pricing")
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    #: What of an endpoint, or of its variant in the config, is not as with the others.
    odd: dict[str, dict[str, Any]] = field(default_factory=dict)
    odd_variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    scaled: dict[str, tuple[int, int]] = field(default_factory=dict)
    throttled: int = 0

    def __post_init__(self) -> None:
        self._data: dict[str, dict[str, dict[int, float]]] = {}

    def _ListEndpoints(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        names = [*self.endpoints, *self.odd]
        start = int(given.get("NextToken", 0))
        more = {"NextToken": str(start + 100)} if start + 100 < len(names) else {}
        summary = {
            "EndpointArn": "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/x",
            "CreationTime": STARTED,
            "LastModifiedTime": STARTED,
            "EndpointStatus": "InService",
        }
        listed = [{"EndpointName": name, **summary} for name in names[start : start + 100]]
        return {"Endpoints": listed, **more}

    def _DescribeEndpoint(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = given["EndpointName"]
        if self.throttled:
            self.throttled -= 1
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "DescribeEndpoint")
        if name not in (*self.endpoints, *self.odd):
            message = f'Could not find endpoint "{name}".'
            error = {"Code": "ValidationException", "Message": message}
            raise ClientError({"Error": error}, "DescribeEndpoint")
        count = self.endpoints[name].instances if name in self.endpoints else 0
        return {
            "EndpointName": name,
            "EndpointArn": f"arn:aws:sagemaker:eu-central-1:123456789012:endpoint/{name}",
            "EndpointConfigName": name,
            "EndpointStatus": "InService",
            "CreationTime": dt.datetime.fromtimestamp(START - DAY, dt.UTC),
            "LastModifiedTime": STARTED,
            "ProductionVariants": [{"VariantName": "main", "CurrentInstanceCount": count}],
            **self.odd.get(name, {}),
        }

    def _DescribeEndpointConfig(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = given["EndpointConfigName"]
        usual = {"VariantName": "main", "ModelName": "model", "InstanceType": "ml.m5.xlarge"}
        return {
            "EndpointConfigName": name,
            "EndpointConfigArn": f"arn:aws:sagemaker:eu-central-1:1:endpoint-config/{name}",
            "CreationTime": STARTED,
            "ProductionVariants": [self.odd_variants.get(name, usual)],
        }

    def _DescribeScalableTargets(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        assert given["ServiceNamespace"] == "sagemaker"
        targets = [
            {
                "ServiceNamespace": "sagemaker",
                "ResourceId": f"endpoint/{name}/variant/main",
                "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
                "MinCapacity": least,
                "MaxCapacity": most,
                "RoleARN": "arn",
                "CreationTime": STARTED,
            }
            for name, (least, most) in self.scaled.items()
        ]
        return {"ScalableTargets": targets}

    def _GetProducts(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        price = {"priceDimensions": {"x": {"unit": "Hrs", "pricePerUnit": {"USD": "0.25"}}}}
        return {"PriceList": [json.dumps({"terms": {"OnDemand": {"x": price}}})]}

    def _GetMetricData(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        assert len(given["MetricDataQueries"]) <= 500
        results, points = [], 0
        for query in given["MetricDataQueries"]:
            stat = query["MetricStat"]
            dimensions = {each["Name"]: each["Value"] for each in stat["Metric"]["Dimensions"]}
            assert dimensions["VariantName"] == "main"
            data = self.series_of(dimensions["EndpointName"])
            series = data.get(f"{stat['Metric']['MetricName']} {stat['Stat']}", {})
            points += len(series)
            times = [dt.datetime.fromtimestamp(at, dt.UTC) for at in series]
            results.append({"Id": query["Id"], "Timestamps": times, "Values": [*series.values()]})
        assert points <= 100_800
        return {"MetricDataResults": results}

    def series_of(self, name: str) -> dict[str, dict[int, float]]:
        """Its metrics: name and statistic, and values by the start of their periods."""
        if name not in self._data:
            endpoint = self.endpoints[name]
            traffic, periods = endpoint.history()
            samples = endpoint.instances * PERIOD_SECONDS / MINUTE
            self._data[name] = {
                "Invocations Sum": dict(traffic.by_minute),
                "CPUUtilization SampleCount": {each.start: samples for each in periods},
                "CPUUtilization Average": {
                    each.start: each.utilization_percent * VCPUS for each in periods
                },
                "ModelLatency p99": {each.start: (each.p99_ms or 0) * 1e3 for each in periods},
            }
        return self._data[name]
