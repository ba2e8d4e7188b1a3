"""Patches of moto's private parts: all or none, and put back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from local import cloudwatch, events, lambda_, quotas, stepfunctions
from local.patches import MOTO_VERSION, MotoChanged, Patch, Patches

ROOT = Path(__file__).parents[3]


class Owner:
    def method(self) -> str:
        return "original"

    @staticmethod
    def static() -> str:
        return "original"


class Heir(Owner):
    pass


def test_replaces_for_as_long_as_the_context_lasts() -> None:
    patches = [
        Patch(Owner, "method", lambda _self: "replaced"),
        Patch(Owner, "static", staticmethod(lambda: "replaced")),
    ]
    with Patches(patches):
        assert (Owner().method(), Owner().static()) == ("replaced", "replaced")
    assert (Owner().method(), Owner().static()) == ("original", "original")
    assert isinstance(vars(Owner)["static"], staticmethod)


@pytest.mark.parametrize("owner", [Owner, Heir])
def test_replaces_nothing_if_one_attribute_is_missing(owner: type) -> None:
    missing = "gone" if owner is Owner else "method"
    patches = Patches(
        [Patch(Owner, "static", lambda: "replaced"), Patch(owner, missing, lambda: None)]
    )
    with pytest.raises(MotoChanged, match=rf"{owner.__name__}\.{missing}"), patches:
        pass
    assert Owner.static() == "original"


def test_what_moto_lacks_is_added_and_taken_away() -> None:
    with Patches([Patch(Owner, "new", lambda _self: "added", added=True)]):
        assert Owner().new() == "added"  # type: ignore[attr-defined] # the patch adds it
    assert not hasattr(Owner, "new")
    twice = Patches([Patch(Owner, "method", lambda: None, added=True)])
    with pytest.raises(MotoChanged, match=r"has a .*Owner\.method"), twice:
        pass


def test_refuses_another_version_of_moto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "9.9.9")
    with pytest.raises(MotoChanged, match=rf"{MOTO_VERSION} is needed, 9.9.9"), Patches([]):
        pass


def test_the_version_is_the_one_that_is_installed_by_the_requirements() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r'^ *"moto\[.*\]==([^"]+)"', project, re.MULTILINE) == [MOTO_VERSION]


def test_every_patched_attribute_is_there() -> None:
    patches = [
        *stepfunctions.patches(wait_scale=1, on_event=lambda _: None, on_end=lambda _: None),
        *lambda_.patches(),
        *cloudwatch.patches(cloudwatch.MetricStore()),
        *events.patches(),
        *quotas.patches(quotas.ServiceQuotas()),
    ]
    with Patches(patches):
        for patch in patches:
            assert vars(patch.owner)[patch.name] is patch.replacement
