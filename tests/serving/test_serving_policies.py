"""Rows and labels of models that the registry knows are taken, loaded here or not."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from trueup.config.settings import Settings
from trueup.records.input_spec import InputSpec, Kind, Variable
from trueup.records.registry import AliasRecord, ModelRecord, RegistrySnapshot, VersionRecord
from trueup.serving.intake import intakes
from trueup.serving.policies import NotYetError, Policies
from trueup.serving.routes import What

KEY = bytes(32)


def version(number: int, *names: str) -> VersionRecord:
    variables = tuple(Variable(name=name, dtype="float32", kind=Kind.NUMERIC) for name in names)
    return VersionRecord(
        model="m", version=number, artifact_uri="", manifest_sha256=str(number),
        input_spec=InputSpec(variables=variables),
    )  # fmt: skip


def registry(*versions: VersionRecord, stable: int = 1) -> RegistrySnapshot:
    alias = AliasRecord(alias="stable", version=stable, revision=1)
    models = (
        ModelRecord(name="m", aliases=(alias,), versions=versions),
        ModelRecord(name="empty"),
    )
    return RegistrySnapshot(store="s", taken_at=datetime.now(timezone.utc), models=models)


def names(policies: Policies) -> list[str]:
    policy = policies.of("m")
    assert policy is not None
    assert policy.spec is not None
    return [variable.name for variable in policy.spec.variables]


def test_before_the_registry_was_read_nobody_is_told_that_there_is_no_such_model() -> None:
    policies = Policies(Settings())
    with pytest.raises(NotYetError):
        policies.of("m")
    for what, list_key in ((What.CAPTURE, "rows"), (What.LABELS, "labels")):
        request: Any = _Request(b'{"model": "m", "%b": [{}]}' % list_key.encode())
        reply, payloads, _ = intakes(policies.of, 100)[what](request)
        assert (reply.status, payloads) == (503, [])


def test_a_model_that_is_not_loaded_is_known() -> None:
    policies = Policies(Settings())
    policies.learn(registry(version(1, "a"), version(2, "b")), lambda model: KEY)
    assert names(policies) == ["a"]
    assert policies.of("empty") is None
    assert policies.of("other") is None
    policies.learn(registry(version(1, "a"), version(2, "b"), stable=2), lambda model: KEY)
    assert names(policies) == ["b"]


def test_what_is_loaded_has_the_last_word() -> None:
    policies = Policies(Settings())
    policies.learn(registry(version(1, "a")), lambda model: KEY)
    policies.make(version(3, "c"), KEY)
    policies.learn(registry(version(1, "a")), lambda model: KEY)
    assert names(policies) == ["c"]


class _Request:
    def __init__(self, body: bytes) -> None:
        self.body = body
        self.headers: dict[str, str] = {}
        self.arrival_us = 0
