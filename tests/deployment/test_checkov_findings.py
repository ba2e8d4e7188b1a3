"""What counts as a finding of checkov, and what it would let pass by itself."""

from __future__ import annotations

from typing import Any

from tools.checkov_findings import findings

FRAMEWORKS = ["cloudformation"]


def report(*failed: str, passed: int = 9, unreadable: int = 0) -> dict[str, Any]:
    return {
        "check_type": "cloudformation",
        "results": {
            "failed_checks": [
                {
                    "check_id": each,
                    "check_name": "Ensure something",
                    "resource": "AWS::S3::Bucket.ResultsBucket",
                    "file_path": "/template.yaml",
                    "file_line_range": [7, 9],
                }
                for each in failed
            ]
        },
        "summary": {"passed": passed, "parsing_errors": unreadable},
    }


def found(*reports: dict[str, Any], exceptions: tuple[str, ...] = ()) -> list[str]:
    return list(findings(reports, FRAMEWORKS, exceptions))


def test_a_finding_names_its_place() -> None:
    assert found(report("CKV_1")) == [
        "template.yaml:7: CKV_1 AWS::S3::Bucket.ResultsBucket: Ensure something"
    ]


def test_an_exception_is_no_finding() -> None:
    assert found(report("CKV_1", "CKV_1"), exceptions=("CKV_1",)) == []


def test_an_exception_from_nothing_is_one() -> None:
    assert found(report("CKV_1"), exceptions=("CKV_1", "CKV_2")) == [
        ".checkov.yaml: CKV_2 is an exception from nothing; remove it"
    ]


def test_what_was_not_read_or_not_checked_is_one() -> None:
    assert found(report(unreadable=1)) == ["cloudformation: 1 unreadable"]
    assert found(report(passed=0)) == ["cloudformation: checked nothing"]
    assert found() == ["cloudformation: checked nothing"]
