"""The capture policies of all models that the registry knows, loaded or not."""

from __future__ import annotations

from collections.abc import Callable

from trueup.config.settings import Settings
from trueup.errors import TrueupError
from trueup.records.registry import STABLE, ModelRecord, RegistrySnapshot, VersionRecord
from trueup.serving.capture.policy import CapturePolicy


class NotYetError(TrueupError):
    """The registry has not been read: whether there is such a model is not known."""


class Policies:
    """By model: of the version that was loaded last, else of what the registry says is live.

    Rows and labels may be sent of a model that is served elsewhere, or not loaded yet.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: dict[str, CapturePolicy] = {}
        self._known: dict[str, tuple[VersionRecord, CapturePolicy | None]] | None = None

    def make(self, record: VersionRecord, key: bytes) -> CapturePolicy:
        """The policy of a version that is being loaded.

        :raises TrueupError: the configuration does not fit the version.
        """
        capture = self._settings.model(record.model).capture
        policy = CapturePolicy(record.model, capture, record.input_spec, key)
        self._loaded[record.model] = policy
        return policy

    def learn(self, snapshot: RegistrySnapshot, key_of: Callable[[ModelRecord], bytes]) -> None:
        """Take over the models of the registry; what cannot be captured stays unknown."""
        known = {}
        for model in snapshot.models:
            if not model.versions:
                continue
            live = _live(model)
            before = (self._known or {}).get(model.name)
            if before is None or before[0] != live or before[1] is None:
                before = live, self._made(model, live, key_of)
            known[model.name] = before
        self._known = known

    def _made(
        self, model: ModelRecord, live: VersionRecord, key_of: Callable[[ModelRecord], bytes]
    ) -> CapturePolicy | None:
        capture = self._settings.model(model.name).capture
        try:
            return CapturePolicy(model.name, capture, live.input_spec, key_of(model))
        except TrueupError:  # the loader says it, as it refuses the version
            return None

    def of(self, model: str) -> CapturePolicy | None:
        """``None`` for a model that there is not.

        :raises NotYetError: nothing is known of the registry.
        """
        found = self._loaded.get(model)
        if found is None and self._known is None:
            raise NotYetError("the registry has not been read yet", remedy="try again", retry=True)
        return found or (self._known or {}).get(model, (None, None))[1]


def _live(model: ModelRecord) -> VersionRecord:
    stable = {each.version for each in model.aliases if each.alias == STABLE}
    return max(model.versions, key=lambda each: (each.version in stable, each.version))
