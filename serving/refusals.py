"""Versions that could not be loaded: why, and when to try them again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from trueup.errors import StoreError
from trueup.records.registry import VersionRecord
from trueup.serving.fleet import Lifecycle, VersionStatus
from trueup.store.artifacts import CorruptArtifactError

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0

_LONGEST_MESSAGE = 600

_Identity = tuple[str, str, tuple[tuple[str, int], ...]]


@dataclass(frozen=True, slots=True)
class _Refusal:
    identity: _Identity
    message: str
    code: str
    pause_s: float
    next_try_s: float


class Refusals:
    """By model and version; used by the loader's thread, read by others.

    A version is tried again when its artifact or an alias that names it changed, else after a
    pause that doubles with each failure.
    """

    def __init__(self) -> None:
        self._by_version: dict[tuple[str, int], _Refusal] = {}

    def may_try(
        self, version: VersionRecord, revisions: tuple[tuple[str, int], ...], now_s: float
    ) -> bool:
        """Whether it is time to load ``version``.

        :param revisions: of the aliases that name it.
        """
        known = self._by_version.get((version.model, version.version))
        return (
            known is None
            or known.identity != _identity(version, revisions)
            or known.next_try_s <= now_s
        )

    def refuse(
        self,
        version: VersionRecord,
        revisions: tuple[tuple[str, int], ...],
        error: Exception,
        now_s: float,
    ) -> str | None:
        """Note a failure; returns the sentence to log, ``None`` when it has been said."""
        key = (version.model, version.version)
        before = self._by_version.get(key)
        identity = _identity(version, revisions)
        again = before is not None and before.identity == identity
        pause_s = min(2 * before.pause_s, LONGEST_PAUSE_S) if before and again else FIRST_PAUSE_S
        what = " ".join(str(error).split())[:_LONGEST_MESSAGE] or type(error).__name__
        message = (
            f"{version.model} version {version.version} is refused, and what is live stays: {what}"
        )
        refusal = _Refusal(identity, message, _code(error), pause_s, now_s + pause_s)
        # Readers in other threads iterate over the dictionary that they found.
        self._by_version = {**self._by_version, key: refusal}
        return None if before is not None and again and before.message == message else message

    def keep_only(self, keys: Collection[tuple[str, int]]) -> None:
        """Forget all other versions."""
        if not self._by_version.keys() <= set(keys):
            self._by_version = {k: v for k, v in self._by_version.items() if k in keys}

    def forget(self, key: tuple[str, int]) -> None:
        self.keep_only(self._by_version.keys() - {key})

    def status(self, version: VersionRecord) -> VersionStatus | None:
        """For status replies; ``None`` of a version that was not refused."""
        known = self._by_version.get((version.model, version.version))
        if known is None:
            return None
        return VersionStatus(version.version, Lifecycle.END, known.code, known.message)

    def sentences(self) -> tuple[str, ...]:
        return tuple(known.message for _, known in sorted(self._by_version.items()))


def _identity(version: VersionRecord, revisions: tuple[tuple[str, int], ...]) -> _Identity:
    return version.artifact_uri, version.manifest_sha256, revisions


def _code(error: Exception) -> str:
    if isinstance(error, CorruptArtifactError):
        return "DATA_LOSS"
    return "UNAVAILABLE" if isinstance(error, StoreError) else "INTERNAL"
