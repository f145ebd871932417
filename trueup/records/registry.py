"""What is live, as one record: what a server holds of the registry, and keeps while the store is
away. It is JSON in a file too (:mod:`trueup.serving.snapshot`)."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

from trueup.records.input_spec import InputSpec, Record

#: The alias that a request without version and alias means.
STABLE = "stable"


class AliasRecord(Record):
    """A name for a version.

    :param revision: counts up with each change of the alias.
    """

    alias: str
    version: int
    revision: int


class VersionRecord(Record):
    """A version as a server needs it.

    :param artifact_uri: folder of the artifact under the blob root (:mod:`trueup.store.artifacts`).
    :param manifest_sha256: hex, of the artifact's manifest; what tells artifacts apart.
    :param input_spec: its raw variables; absent where none are known.
    :param baseline_id, edges_id: its newest baseline; absent until it has one.
    """

    model: str
    version: int
    artifact_uri: str
    manifest_sha256: str
    input_spec: InputSpec | None = None
    baseline_id: str | None = None
    edges_id: str | None = None


class ModelRecord(Record):
    """A model with its aliases, and the versions that they name.

    :param capture_key: hex; the key of the column policy ``hash``.
    """

    name: str
    aliases: tuple[AliasRecord, ...] = ()
    versions: tuple[VersionRecord, ...] = ()
    capture_key: str | None = None


class RegistrySnapshot(Record):
    """The registry at one moment.

    :param store: which store it is of; without passwords.
    :param taken_at: by the clock of who took it (UTC).
    :param models: in order of their names.
    """

    store: str
    taken_at: datetime
    models: tuple[ModelRecord, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, ModelRecord]:
        return {model.name: model for model in self.models}

    def same_content(self, other: RegistrySnapshot) -> bool:
        """Whether both say the same is live."""
        return self.store == other.store and self.models == other.models
