"""What one model version writes into the capture: its policy, its frames, where they went."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from trueup.records.capture import Body, CaptureFrame, FrameKind
from trueup.records.input_spec import InputSpec, Role
from trueup.serving.event_time import moment_us

if TYPE_CHECKING:
    from trueup.serving.attempt import Attempt
    from trueup.serving.capture.frame_encoder import ServedEncoder
    from trueup.serving.capture.policy import CapturePolicy
    from trueup.serving.capture.writer import CaptureWriter
    from trueup.serving.http_message import Request
    from trueup.serving.signature import Signature


class Recorder:
    """Of one version. ``served`` and ``append`` are for its lane's thread, ``refused`` for any.

    :param spec: says which variable is the event time, if one is.
    """

    def __init__(
        self,
        model: str,
        version: int,
        policy: CapturePolicy,
        writer: CaptureWriter,
        spec: InputSpec | None,
    ) -> None:
        self._model = model
        self._version = version
        self._policy = policy
        self._writer = writer
        times = [] if spec is None else spec.with_role(Role.TIME)
        self._time = times[0].name if times else ""
        self._encoders: dict[tuple[str, str], ServedEncoder] = {}

    def served(
        self,
        attempts: Sequence[Attempt],
        responses: Sequence[bytes],
        latencies_s: Sequence[float],
    ) -> list[bytes | None]:
        """The payloads of answered attempts of one signature; ``None`` for each that is not to be
        captured. All three are of the same length."""
        policy = self._policy
        signature = attempts[0].instances.signature
        alias = attempts[0].alias
        encoder = self._encoder(signature, alias)
        payloads: list[bytes | None] = []
        for attempt, response, latency_s in zip(attempts, responses, latencies_s, strict=True):
            if attempt.alias != alias:
                alias = attempt.alias
                encoder = self._encoder(signature, alias)
            request = attempt.request
            payloads.append(
                encoder.encode(
                    request.body, response, attempt.rows, request.arrival_us,
                    int(latency_s * 1e6), attempt.request_id, attempt.event_us,
                )
                if policy.keeps_all
                else policy.served(
                    encoder, request.body, response, attempt.rows, request.arrival_us,
                    int(latency_s * 1e6), attempt.request_id, attempt.event_us,
                )
            )  # fmt: skip
        return payloads

    def _encoder(self, signature: Signature, alias: str) -> ServedEncoder:
        key = (signature.name, alias)
        encoder = self._encoders.get(key)
        if encoder is None:
            encoder = self._encoders[key] = self._policy.served_encoder(
                self._version, signature.name, inputs=signature.names, alias=alias
            )
        return encoder

    def refused(
        self,
        request: Request,
        status: int,
        message: str,
        *,
        request_id: str,
        alias: str,
        rows: int,
        omit_body: bool = False,
    ) -> bytes | None:
        """The payload of a refused attempt; ``None`` where it is not to be captured.

        :param omit_body: of more rows than a request may have: compaction would make rows of them.
        """
        return self._policy.frame(
            CaptureFrame(
                kind=FrameKind.REFUSED,
                model=self._model,
                version=self._version,
                arrival_us=request.arrival_us,
                status=status,
                rows=0 if omit_body else rows,
                body=Body.OMITTED if omit_body else Body.PREDICT,
                request=b"" if omit_body else request.body,
                request_bytes=len(request.body),
                request_id=request_id,
                alias=alias,
                latency_us=int((monotonic() - request.arrival_s) * 1e6),
                error=message,
            )
        )

    def append(
        self, payloads: Sequence[bytes], attempts: Sequence[Attempt]
    ) -> tuple[str, int] | None:
        """Write the payloads of ``attempts``; see :meth:`CaptureWriter.append`."""
        return self._writer.append(
            payloads,
            model=self._model,
            rows=sum([attempt.rows for attempt in attempts]),
            newest_event_us=self._event_us(attempts[-1]),
        )

    def _event_us(self, attempt: Attempt) -> int:
        """Of the newest row, as the watermark wants it: a little too early does no harm."""
        instances = attempt.instances
        if self._time and self._time in instances.signature.inputs and instances.values:
            value: Any = instances.values[-1][instances.signature.names.index(self._time)]
            found = moment_us(value)
            if found is not None:
                return found
        return attempt.request.arrival_us if attempt.event_us is None else attempt.event_us
