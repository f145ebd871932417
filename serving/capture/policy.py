"""What of an attempt is written down: column policies, sampling, refused attempts.

With every column kept, the body of the request goes into the capture as it was sent. Otherwise it
is read again, each row goes through the column policies, and what comes out is written; what cannot
be read is left out, with its length. No way leads around the policies: not by a body that was
refused, not by a variable under another name, not by the error that quotes a value, not by a model
that gives an input back.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson

from trueup.config.serving import ModelCaptureSettings
from trueup.datasets.column_policies import ColumnPolicies
from trueup.frames.capture_codec import encode_frame
from trueup.records.capture import Body, CaptureFrame, FrameKind
from trueup.records.input_spec import InputSpec
from trueup.serving.capture.documents import read_json, rows_of, write_json
from trueup.serving.capture.frame_encoder import ServedEncoder

WITHHELD = "(the error is left out: it quotes a variable under a column policy)"
_WORD = re.compile(r"\w+")
#: Shorter words of an error are in too many values to mean anything.
_WORD_LENGTH = 3


class CapturePolicy:
    """The policy of one model; several threads may use it at once.

    :param spec: the model's variables; ``None`` where they are not known.
    :param key: :func:`trueup.store.capture_key.capture_key` of the model; also of the sampling.
    :param randomness: as ``os.urandom``, for the sampling of attempts without an id.
    :ivar keeps_all: every answered attempt is written, just as it came.
    :raises ConfigError: when a column policy does not fit the model.
    """

    def __init__(
        self,
        model: str,
        settings: ModelCaptureSettings,
        spec: InputSpec | None,
        key: bytes,
        *,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.model = model
        self.settings = settings
        self.spec = spec
        self.columns = ColumnPolicies(settings.columns, spec, key)
        self._key = key
        self._limit = int(settings.sample_rate * 2**64)
        self._salt = randomness(8).hex()
        self._count = itertools.count()
        self.keeps_all = (
            settings.enabled and settings.sample_rate >= 1.0 and not self.columns.changes
        )
        names = [variable.name for variable in spec.variables] if spec is not None else []
        self._harmless = frozenset(["instances", "inputs", "signature_name", *names])
        self._quoted = [orjson.dumps(name) for name in self.columns.changes]

    def served_encoder(
        self,
        version: int,
        signature: str,
        *,
        inputs: Sequence[str] = (),
        alias: str = "",
        arm: str = "",
        shadow: bool = False,
    ) -> ServedEncoder:
        """For :meth:`served`; make it once for each combination."""
        return ServedEncoder(
            model=self.model,
            version=version,
            signature=signature,
            inputs=inputs,
            alias=alias,
            arm=arm,
            shadow=shadow,
            sample_rate=self.settings.sample_rate,
        )

    def served(
        self,
        encoder: ServedEncoder,
        request: bytes,
        response: bytes,
        rows: int,
        arrival_us: int,
        latency_us: int,
        request_id: str = "",
        event_us: int | None = None,
        *,
        document: Any = None,
    ) -> bytes | None:
        """The payload of an attempt that is answered with predictions (status 200).

        :param request: its body, unpacked if it came packed.
        :param document: the body parsed, where the caller has it anyway.
        :returns: ``None`` when it is not to be captured.
        """
        if not self.is_sampled(request_id):
            return None
        if not self.columns.changes:
            return encoder.encode(
                request, response, rows, arrival_us, latency_us, request_id, event_us
            )
        found, _ = self._rows(request, document, encoder.inputs, rows)
        return encoder.encode(
            b"" if found is None else write_json(found),
            self.answer(response),
            rows,
            arrival_us,
            latency_us,
            request_id,
            event_us,
            request_bytes=len(request),
            body=Body.OMITTED if found is None else Body.ROWS,
        )

    def frame(self, frame: CaptureFrame, *, inputs: Sequence[str] = ()) -> bytes | None:
        """The payload of any attempt: as :meth:`served`, not so quickly, and for refused ones too.

        :param frame: with the body as sent in ``request`` (``Body.PREDICT``), or without it.
        :param inputs: names of the signature's inputs, where one was reached.
        """
        refused = frame.kind is FrameKind.REFUSED
        if (refused and not self.settings.keep_refused) or not self.is_sampled(frame.request_id):
            return None
        body, request, error = frame.body, frame.request, frame.error
        if body is Body.OMITTED or (refused and not self.columns.changes and not _is_json(request)):
            body, request = Body.OMITTED, b""
        if self.columns.changes:
            found, withheld = self._rows(request, None, inputs, frame.rows)
            error = self._error(error, withheld)
            if found is None:
                body, request = Body.OMITTED, b""
            else:
                body, request = Body.ROWS, write_json(found)
        written = replace(
            frame,
            body=body,
            request=request,
            request_bytes=frame.request_bytes or len(frame.request),
            response=self.answer(frame.response),
            error=error,
            sample_rate=self.settings.sample_rate,
        )
        return encode_frame(written)

    def is_sampled(self, request_id: str) -> bool:
        """Whether an attempt is in the sample: by a keyed hash of its id, so that retries and
        models of one key are in it together; of one without an id, by what nobody can foresee."""
        if not self.settings.enabled:
            return False
        if self.settings.sample_rate >= 1.0:
            return True
        name = request_id or f"{self._salt}-{next(self._count)}"
        digest = hashlib.blake2b(
            name.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key, person=b"sample"
        )
        return int.from_bytes(digest.digest(), "big") < self._limit

    def apply_to_batch(self, batch: Any) -> Any:
        """An Arrow record batch or table as the capture would hold it; for baselines."""
        from trueup.datasets.column_policies_arrow import apply_to_batch

        return apply_to_batch(self.columns, batch)

    def _rows(
        self, request: bytes, document: Any, inputs: Sequence[str], rows: int
    ) -> tuple[list[dict[str, Any]] | None, list[Any] | None]:
        """What may be kept of the rows, and what may not; ``None`` for what is not known."""
        if document is None:
            try:
                document = read_json(request)
            except ValueError:
                return None, None
        names = inputs or ([v.name for v in self.spec.variables] if self.spec else ())
        found = rows_of(document, names, rows)
        if found is None:
            return None, [document]
        withheld = [value for row in found for value in self.columns.withheld(row)]
        return [self.columns.row(row) for row in found], withheld

    def _error(self, error: str, withheld: list[Any] | None) -> str:
        """``error``, unless it says something of what may not be written down."""
        if not error:
            return error
        if withheld is None:
            return WITHHELD
        words = set(_WORD.findall(error))
        long_words = [word for word in words if len(word) >= _WORD_LENGTH]
        for text in _texts(withheld, self._harmless):
            if text in (error if len(text) >= _WORD_LENGTH else words):
                return WITHHELD
            if any(word in text for word in long_words):  # of a value, the error quotes a part
                return WITHHELD
        return error

    def answer(self, response: bytes) -> bytes:
        """Outputs named as a variable under a policy go through it, too."""
        if not any(name in response for name in self._quoted):
            return response
        try:
            answer = read_json(response)
        except ValueError:
            return b""
        if isinstance(answer, dict) and isinstance(answer.get("predictions"), list):
            answer["predictions"] = [
                self._outputs(each) if isinstance(each, dict) else each
                for each in answer["predictions"]
            ]
        elif isinstance(answer, dict) and isinstance(answer.get("outputs"), dict):
            answer["outputs"] = self._outputs(answer["outputs"])
        return write_json(answer)

    def _outputs(self, outputs: dict[str, Any]) -> dict[str, Any]:
        changes = self.columns.changes
        kept = {}
        for name, value in outputs.items():
            if name not in changes:
                kept[name] = value
            elif (change := changes[name]) is not None:
                kept[name] = change(value)
        return kept


def _is_json(body: bytes) -> bool:
    try:
        read_json(body)
    except ValueError:
        return False
    return True


def _texts(values: Any, harmless: frozenset[str]) -> Iterator[str]:
    """All scalars within ``values``, and the names of members but for ``harmless``, as texts."""
    stack = [values]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack.extend(value.values())
            stack.extend(name for name in value if name not in harmless)
        elif isinstance(value, list):
            stack.extend(value)
        elif value is not None and not isinstance(value, bool) and value != "":
            yield str(value)
