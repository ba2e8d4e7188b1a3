"""A failed sizing, readable: the error's name, its cause in a sentence, and what to do.

``CATALOGUE`` is the one place that knows what each error means: the notification, ``result.json``,
the report and the runbook (``docs/operations.md``) take their words from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from sizing import errors

#: Longest cause kept; Step Functions allows 32,768 characters, most of them stack trace.
_LONGEST_CAUSE = 2000


class Retry(StrEnum):
    """Whether starting the same request again makes sense."""

    #: It would fail again: change first what the advice says.
    NO = "NO"
    #: It may succeed in a while, without any change.
    LATER = "LATER"
    #: It may succeed at once.
    YES = "YES"


#: The same for people.
RETRY_IN_WORDS = {
    Retry.NO: "no, the same request would fail again",
    Retry.LATER: "later; it may succeed in a while without any change",
    Retry.YES: "yes; nothing is left of this one",
}


@dataclass(frozen=True)
class KnownError:
    """What an error means, whoever meets it."""

    meaning: str
    advice: str
    retry: Retry


_CONTAINER_LOG = "the container's log in CloudWatch under /aws/sagemaker/Endpoints/"

#: Instead of the catalogue's, where there is no CloudWatch.
_LOCAL_ADVICE = dict.fromkeys(
    ("EndpointFailed", "EndpointTimedOut"),
    "Read the reason. A made-up model starts as the models file says; what a real model server "
    "wrote lies in the logs beside this result.",
) | {
    errors.SmokeTestFailed.__name__: "Send the same payload to the model yourself, with "
    "endpoint-sizer serve: content type, accept and body must be what it expects.",
    "CapacityUnavailable": "Real model servers have cores of their own, and the cause says how "
    "many are needed: size on a machine with more of them, or for a lower target.",
}

#: By the name that a failed execution shows.
CATALOGUE: Mapping[str, KnownError] = {
    # --- Before anything was created ---
    errors.InvalidRequest.__name__: KnownError(
        "The request can't be carried out as written: a field is missing, unknown or out of its "
        "range, or names something that does not exist. Nothing was created.",
        "Correct the field that is named and start again.",
        Retry.NO,
    ),
    errors.CostLimit.__name__: KnownError(
        "limits.max_cost_usd is less than the first load tests are estimated to cost. Nothing was "
        "created. A limit that is reached later is no error: the sizing then ends TARGET_NOT_MET "
        "with the best it knows and the limit's name.",
        "Raise limits.max_cost_usd, name fewer or smaller instance_types, or shorten "
        "measurement.steady_seconds. A dry run without the limit shows the estimate.",
        Retry.NO,
    ),
    errors.TimeLimit.__name__: KnownError(
        "limits.max_minutes is less than the first load tests are estimated to take. Nothing was "
        "created. A limit that is reached later is no error: the sizing then ends TARGET_NOT_MET "
        "with the best it knows and the limit's name.",
        "Raise limits.max_minutes, or shorten measurement.steady_seconds and settle_seconds. A "
        "dry run without the limit shows the estimate.",
        Retry.NO,
    ),
    errors.QuotaTooLow.__name__: KnownError(
        "A quota of the account does not allow what the request asks for: instances of a type for "
        "endpoints, or Fargate vCPUs for the load generators. Nothing was created.",
        "Raise the quota that is named in Service Quotas, or ask for less: a lower "
        "limits.max_instances, fewer instance_types, fewer load.workers. With "
        "limits.lower_to_quota the sizing keeps to the quota by itself and says so.",
        Retry.NO,
    ),
    errors.Locked.__name__: KnownError(
        "Another sizing of the same model is running, and the request does not wait for it, or has "
        "waited as long as it may. Nothing was created.",
        "Start again when the execution that is named has ended. With when_locked WAIT a sizing "
        "waits by itself, for limits.max_minutes or 12 hours.",
        Retry.LATER,
    ),
    # --- Of a candidate, and of the sizing if no other candidate could be measured ---
    errors.EndpointFailed.__name__: KnownError(
        "The endpoint could not be created or scaled, or became Failed; the cause is SageMaker's "
        "own reason.",
        f"Read the reason and {_CONTAINER_LOG}. A container that needs longer to start, a wrong "
        "image or a model that can't be read is the usual cause.",
        Retry.NO,
    ),
    errors.EndpointTimedOut.__name__: KnownError(
        "The endpoint was neither in service nor failed in the time that the stack allows.",
        f"See how far it came in {_CONTAINER_LOG}. The stack's parameter EndpointTimeoutMinutes "
        "gives it longer.",
        Retry.LATER,
    ),
    errors.CapacityUnavailable.__name__: KnownError(
        "AWS had no instances of this type to give, or the account's quota for its endpoint usage "
        "was used up by other endpoints meanwhile: the cause says which.",
        "Start again later, raise the quota in Service Quotas, or name further instance_types: a "
        "sizing goes on with the candidates it can get.",
        Retry.LATER,
    ),
    errors.SmokeTestFailed.__name__: KnownError(
        "The endpoint is in service, but did not answer a single invocation with a success. While "
        "its container said that it was still loading, it was tried again, for some five minutes.",
        "Where the model answered 4xx, send it the same payload yourself: content type, accept and "
        "body must be what its container expects. Where no answer came, the model takes longer "
        "than the 60 s that SageMaker gives it, or its container broke: content type and body are "
        "not the matter, but a faster or larger instance type, or a smaller payload, may be. Read "
        f"{_CONTAINER_LOG}.",
        Retry.NO,
    ),
    errors.LoadTestFailed.__name__: KnownError(
        "The load generator did not run to its end: a task did not start, a worker or the leader "
        "stopped, or they could not reach each other. Its figures are not used.",
        "The cause names the task. Look at load_test.json and at the log of the load generator's "
        "tasks.",
        Retry.YES,
    ),
    "MetricsMissing": KnownError(
        "CloudWatch did not hold all metrics of the endpoint ten minutes after the load test. No "
        "figure is taken from an incomplete window.",
        "Start again; if it stays, give measurement.steady_seconds and "
        "measurement.metric_period_seconds more room.",
        Retry.YES,
    ),
    "NoCandidateMeasured": KnownError(
        "No load test of any candidate gave figures that can be used.",
        "The reasons of the candidates say what failed and where to look.",
        Retry.NO,
    ),
    # --- On the way out ---
    "NoAnswer": KnownError(
        "The sizing ended without an answer and without an error.",
        "Look at the execution's history for the state it ended in.",
        Retry.YES,
    ),
    "NotVerified": KnownError(
        "No load test stands behind the answer, so it is not given.",
        "Don't use the instance counts of this result.",
        Retry.YES,
    ),
    "RecordResultFailed": KnownError(
        "result.json and report.html could not be written. The figures are lost; what the sizing "
        "created is removed all the same.",
        "The log of the function RecordResult says why: the bucket, its key or its policy is the "
        "usual cause.",
        Retry.YES,
    ),
    "CleanUpFailed": KnownError(
        "Something that the sizing created could not be removed and may cost money every hour. "
        "That outweighs any answer, so the sizing fails even if it had one.",
        "Remove at once what the message names, by hand; the sweep also tries again every hour. "
        "Then see to what refused: a permission, a policy, or an endpoint whose update hangs.",
        Retry.NO,
    ),
    "ApplyFailed": KnownError(
        "The sizing has its answer, and its result is written, but whether the endpoint that "
        "apply names has got it is not known: AWS could not be asked, or not told.",
        "See how the endpoint is now: the result's applied.before says how it was. Then apply the "
        "answer by hand, or start again.",
        Retry.LATER,
    ),
    "NotificationFailed": KnownError(
        "The sizing has ended and its result is written, but the message or the event could not "
        "be sent.",
        "Use the result that is in the bucket; there is no need to start again. See to the topic, "
        "its key and its policy.",
        Retry.NO,
    ),
    # --- Of the machinery ---
    errors.AwsUnavailable.__name__: KnownError(
        "An AWS service throttled or failed a function's calls for longer than they are repeated.",
        "Start again later; if it stays, see the AWS Health Dashboard, and whether something else "
        "uses up the rate limits of the account.",
        Retry.LATER,
    ),
    errors.AccessDenied.__name__: KnownError(
        "A function of the stack may not make a call. The cause is AWS's own: the operation, and "
        "mostly the action, the resource and the kind of policy that stands in the way.",
        "The stack's own policies allow all that it calls, so look for what takes it away: a "
        "permissions boundary, a policy of the organisation, or the policy of a key, a bucket or "
        "another account's resource. After an update of the stack a new permission may take a "
        "minute.",
        Retry.NO,
    ),
    "ClientError": KnownError(
        "An AWS service refused a function's call; the cause names the operation.",
        "The function's log holds the whole error.",
        Retry.NO,
    ),
    "States.Timeout": KnownError(
        "A state, or the sizing as a whole, took longer than its time limit.",
        "Look in the execution's history for the state it waited in; fewer instance_types or "
        "shorter steps make a sizing faster.",
        Retry.YES,
    ),
    "States.TaskFailed": KnownError(
        "A task or an execution that the sizing waits for did not run to its end, or was stopped.",
        "Its log in CloudWatch says why.",
        Retry.YES,
    ),
    "SizingFailed": KnownError(
        "The sizing failed in a way that has no name of its own.",
        "Look in the execution's history for the state that failed and in its function's log.",
        Retry.YES,
    ),
}
#: Of names that AWS's services and Python's libraries give.
_ANY_OTHER = CATALOGUE["SizingFailed"]


class Failure(BaseModel):
    """Why a sizing has no answer."""

    model_config = ConfigDict(frozen=True)

    #: The error's name, as the state machine knows it.
    name: str
    #: What went wrong, in a sentence where one could be found.
    cause: str
    #: What an operator can do.
    advice: str
    #: Whether starting the same request again makes sense.
    retry: Retry


def on_this_machine(failure: Failure) -> Failure:
    """A failure of a local sizing: its advice leads to no console of AWS."""
    advice = _LOCAL_ADVICE.get(failure.name, failure.advice)
    return failure.model_copy(update={"advice": advice})


def failure(name: str | None, cause: str | None) -> Failure:
    """A failure from what a Catch of the state machine gives.

    Args:
        name: ``Error``; None or empty if there was none.
        cause: ``Cause``: a sentence, or the JSON that Lambda, ECS or a nested execution put there.
    """
    name, cause = errors.innermost(name or "SizingFailed", cause or "")
    known = CATALOGUE.get(name, _ANY_OTHER)
    return Failure(
        name=name,
        cause=_shortened(cause) or "No cause was given.",
        advice=known.advice,
        retry=known.retry,
    )


def _shortened(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _LONGEST_CAUSE else text[: _LONGEST_CAUSE - 4] + " ..."
