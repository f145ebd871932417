"""What a lane does with a batch: tensors, model, answers, capture; then all answers at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from trueup.errors import TrueupError
from trueup.serving.attempt import Attempt, Fate, Outcome
from trueup.serving.json_read import InvalidRequest, assemble
from trueup.serving.json_write import prepare_outputs, write_predictions
from trueup.serving.http_message import error_reply

if TYPE_CHECKING:
    from trueup.serving.metrics import ModelCounts
    from trueup.serving.saved_model import LoadedModel

_log = logging.getLogger(__name__)


class Record(Protocol):
    """Makes the frames of one model version (:class:`trueup.serving.recorder.Recorder`)."""

    def served(self, attempt: Attempt, response: bytes, latency_us: int) -> bytes | None: ...

    def refused(
        self, attempt: Attempt, status: int, message: str, latency_us: int
    ) -> bytes | None: ...

    def append(self, payloads: Sequence[bytes]) -> Sequence[tuple[str, int]] | None: ...


class Predictor:
    """The work of one version's lane, in the lane's thread.

    :param deliver: takes outcomes from any thread to the event loop, once per batch.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        record: Record,
        counts: ModelCounts,
        deliver: Callable[[list[Outcome]], None],
    ) -> None:
        self._loaded = loaded
        self._record = record
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
            body = error_reply(500, f"unexpected {type(error).__name__}: {what}")
            outcomes += (
                Outcome(attempt.request, 500, body)
                for attempt in batch
                if id(attempt.request) not in answered
            )
        finally:
            for attempt in batch:
                attempt.fate = Fate.ENDED
            self._deliver(outcomes)

    def _answer(self, batch: Sequence[Attempt], outcomes: list[Outcome]) -> None:
        signature = batch[0].instances.signature
        try:
            columns, spans = assemble(signature, [attempt.instances for attempt in batch])
            outputs = self._loaded.run(signature.name, columns)
            prepared = prepare_outputs(signature, outputs)
            bodies = [
                write_predictions(prepared, attempt.instances.row_format, start, stop)
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
        kept: list[int] = []
        payloads: list[bytes] = []
        for place, (attempt, body) in enumerate(zip(batch, bodies, strict=True)):
            latency_s = now_s - attempt.request.arrival_s
            self._counts.answered(attempt.rows, latency_s)
            payload = self._record.served(attempt, body, int(latency_s * 1e6))
            if payload is not None:
                kept.append(place)
                payloads.append(payload)
        ids = [attempt.request_id for attempt in batch]
        if payloads:
            try:
                positions = self._record.append(payloads)
            except TrueupError as error:
                self._counts.uncaptured(len(payloads))
                body = error_reply(500, str(error))
                outcomes += (Outcome(batch[place].request, 503, body) for place in kept)
                rest = sorted(set(range(len(batch))) - set(kept))
                outcomes += (Outcome(batch[i].request, 200, bodies[i], ids[i]) for i in rest)
                return
            for place, (segment, frame) in zip(kept, positions or (), strict=False):
                if not ids[place]:
                    ids[place] = f"{segment}-{frame}"
        outcomes += (
            Outcome(attempt.request, 200, body, request_id)
            for attempt, body, request_id in zip(batch, bodies, ids, strict=True)
        )

    def _refuse(self, attempt: Attempt, error: Exception, outcomes: list[Outcome]) -> None:
        status = 400 if isinstance(error, InvalidRequest) else getattr(error, "http_status", 500)
        message = str(error)
        latency_s = monotonic() - attempt.request.arrival_s
        self._counts.refused(status)
        payload = self._record.refused(attempt, status, message, int(latency_s * 1e6))
        if payload is not None:
            try:
                self._record.append([payload])
            except TrueupError as full:
                status, message = 503, str(full)
        outcomes.append(
            Outcome(attempt.request, status, error_reply(500, message), attempt.request_id)
        )


