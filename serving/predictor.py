"""What a lane does with a batch: tensors, model, answers, capture; then all answers at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from trueup.errors import TrueupError
from trueup.serving.attempt import Attempt, Fate, Outcome, id_header
from trueup.serving.client_words import for_clients, without_paths
from trueup.serving.http_message import CLIENT_CLOSED_REQUEST, error_reply
from trueup.serving.json_read import InvalidRequest, assemble
from trueup.serving.json_write import prepare_outputs
from trueup.serving.rest_bodies import Code
from trueup.serving.saved_model import ModelRunError

if TYPE_CHECKING:
    from trueup.serving.metrics import ModelCounts
    from trueup.serving.recorder import Recorder
    from trueup.serving.saved_model import LoadedModel

_log = logging.getLogger(__name__)


class Predictor:
    """The work of one version's lane, in the lane's thread.

    :param deliver: takes outcomes from any thread to the event loop, once per batch.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        recorder: Recorder,
        counts: ModelCounts,
        deliver: Callable[[list[Outcome]], None],
    ) -> None:
        self._loaded = loaded
        self._recorder = recorder
        self._counts = counts
        self._deliver = deliver

    def run(self, batch: Sequence[Attempt]) -> None:
        """Answer every attempt of ``batch``; none of them is ever left without an answer."""
        outcomes: list[Outcome] = []
        try:
            self._answer(batch, outcomes)
        except Exception as error:  # noqa: BLE001  whatever it is, clients wait for an answer
            _log.exception("a batch of %d requests failed", len(batch))
            answered = {id(outcome.request) for outcome in outcomes}
            what = " ".join(str(error).split())[:300]
            body = error_reply(
                500, f"unexpected {type(error).__name__}: {without_paths(what)}"
            ).body
            outcomes += (
                Outcome(attempt.request, 500, body)
                for attempt in batch
                if id(attempt.request) not in answered
            )
        finally:
            for attempt in batch:
                attempt.fate = Fate.ENDED
            self._deliver(outcomes)

    def leave(self, attempts: Sequence[Attempt]) -> None:
        """End attempts whose clients have left."""
        self._deliver([
            Outcome(attempt.request, CLIENT_CLOSED_REQUEST, b"") for attempt in attempts
        ])  # fmt: skip

    def _answer(self, batch: Sequence[Attempt], outcomes: list[Outcome]) -> None:
        signature = batch[0].instances.signature
        try:
            columns, spans = assemble(signature, [attempt.instances for attempt in batch])
            outputs = self._loaded.run(signature.name, columns)
            prepared = prepare_outputs(signature, outputs, spans)
            bodies = [
                prepared.write(attempt.instances.row_format, start, stop)
                for attempt, (start, stop) in zip(batch, spans, strict=True)
            ]
        except (InvalidRequest, TrueupError) as error:
            if len(batch) == 1:
                self._refuse(batch[0], error, outcomes)
                return
            # One of them is to blame: find it by halves, so that it fails alone.
            middle = len(batch) // 2
            self._answer(batch[:middle], outcomes)
            self._answer(batch[middle:], outcomes)
            return
        self._write(batch, bodies, outcomes)

    def _write(
        self, batch: Sequence[Attempt], bodies: list[bytes], outcomes: list[Outcome]
    ) -> None:
        """Frames first, answers after: an answered attempt is in the capture."""
        now_s = monotonic()
        latencies_s = [now_s - attempt.request.arrival_s for attempt in batch]
        self._counts.answered(sum([attempt.rows for attempt in batch]), latencies_s)
        payloads = self._recorder.served(batch, bodies, latencies_s)
        written = [payload for payload in payloads if payload is not None]
        kept = batch
        if len(written) < len(batch):  # some are not in the sample
            kept, bodies = self._without(batch, bodies, payloads, outcomes)
            if not kept:
                return
        try:
            place = self._recorder.append(written, kept)
        except TrueupError as error:
            self._counts.uncaptured(len(kept))
            refusal = error_reply(503, for_clients(error)).body
            outcomes += [Outcome(a.request, 503, refusal, id_header(a.request_id)) for a in kept]
            return
        if place is None:  # dropped, as the policy for a full disk says; it is counted
            outcomes += [
                Outcome(a.request, 200, body, id_header(a.request_id))
                for a, body in zip(kept, bodies, strict=True)
            ]
            return
        segment, first = place
        minted = b"X-Request-Id: %b-%%d\r\n" % segment.encode()
        outcomes += [
            Outcome(
                a.request, 200, body, id_header(a.request_id) if a.request_id else minted % frame
            )
            for frame, (a, body) in enumerate(zip(kept, bodies, strict=True), first)
        ]

    @staticmethod
    def _without(
        batch: Sequence[Attempt],
        bodies: Sequence[bytes],
        payloads: Sequence[bytes | None],
        outcomes: list[Outcome],
    ) -> tuple[list[Attempt], list[bytes]]:
        """The attempts that have payloads, and their bodies; the others are answered."""
        kept: list[tuple[Attempt, bytes]] = []
        for attempt, body, payload in zip(batch, bodies, payloads, strict=True):
            if payload is None:
                outcomes.append(Outcome(attempt.request, 200, body, id_header(attempt.request_id)))
            else:
                kept.append((attempt, body))
        return [attempt for attempt, _ in kept], [body for _, body in kept]

    def _refuse(self, attempt: Attempt, error: Exception, outcomes: list[Outcome]) -> None:
        status = status_of(error)
        told = str(error) if isinstance(error, InvalidRequest) else for_clients(error)
        self._counts.refused(status)
        payload = self._recorder.refused(
            attempt.request, status, told,
            request_id=attempt.request_id, alias=attempt.alias, rows=attempt.rows,
        )  # fmt: skip
        if payload is not None:
            try:
                self._recorder.append([payload], [attempt])
            except TrueupError as full:
                status, told = 503, for_clients(full)
        body = error_reply(status, told).body
        outcomes.append(Outcome(attempt.request, status, body, id_header(attempt.request_id)))


def status_of(error: Exception) -> int:
    """The HTTP status for what assembling or running a batch raised: the model's own error code
    where it has one, as TensorFlow Serving does."""
    if isinstance(error, InvalidRequest):
        return 400
    if isinstance(error, ModelRunError):
        return Code[error.code].http
    return 500
