"""The prediction server and what it writes down: ``[serving]`` and ``[capture]``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from trueup.config.duration import Bytes, Duration
from trueup.config.section import Section

Count = Annotated[int, Field(ge=1)]


class ServingSettings(Section):
    """``[serving]``: where the server listens, and its limits."""

    host: str = Field(
        "127.0.0.1",
        description="address to listen on; beyond loopback only with tokens (trueup token create)",
    )
    rest_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        8501, description="port of the REST API; 0 takes a free one and says which"
    )
    workers: Count = Field(1, description="server processes on that port")
    require_tokens: bool = Field(
        False, description="ask for a token on loopback too; elsewhere it is always asked for"
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="names that a request's Host may have, besides localhost and the address "
        'listened on; "*" for any',
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file of certificates: serve HTTPS", examples=["server.crt"]
    )
    tls_key: Path | None = Field(
        None, description="PEM file of the private key", examples=["server.key"]
    )
    max_body: Bytes = Field(32 << 20, description="largest request body, also unpacked")
    max_header: Bytes = Field(32 << 10, description="largest request head")
    max_json_depth: Annotated[int, Field(ge=4, le=500)] = Field(
        64, description="deepest nesting of a request's JSON"
    )
    max_request_rows: Count = Field(100_000, description="rows of one request; past it it gets 413")
    max_connections: Count = Field(10_000, description="connections of one process")
    max_batch_rows: Count = Field(512, description="rows that one call of the model gets at most")
    max_queue_rows: Count = Field(
        8192, description="rows that wait for one model version; past it requests get 503"
    )
    max_pending: Bytes = Field(
        256 << 20, description="request bodies being received or waiting; past it requests get 503"
    )
    request_timeout: Duration = Field(
        timedelta(seconds=30), description="a request that waited longer gets 504"
    )
    head_timeout: Duration = Field(
        timedelta(seconds=10), description="time for a client to send a request's head"
    )
    body_timeout: Duration = Field(
        timedelta(seconds=60), description="time for a client to send a request's body"
    )
    idle_timeout: Duration = Field(
        timedelta(seconds=120), description="a connection without a request is closed after this"
    )
    drain_timeout: Duration = Field(
        timedelta(seconds=30), description="time that requests have to finish when the server stops"
    )
    poll_interval: Duration = Field(
        timedelta(seconds=1), description="how often the registry is asked what is live"
    )
    model_threads: Annotated[int, Field(ge=0)] = Field(
        0, description="TensorFlow's threads within one call; 0: one per core, shared by workers"
    )

    @model_validator(mode="after")
    def _both_tls_files(self) -> ServingSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("give both tls_certificate and tls_key, or neither")
        return self


class CaptureSettings(Section):
    """``[capture]``: how requests are written down (docs/capture.md)."""

    durability: Literal["process", "host"] = Field(
        "process",
        description='what an answered request survives: "process" kill -9 of any process, "host" '
        "loss of power too (fsync before the answer)",
    )
    when_full: Literal["block", "reject", "drop"] = Field(
        "block",
        description="when the disk or the spool is full: block answers until there is room (503 "
        "after block_timeout), reject with 503, or drop the capture (counted, never silent)",
    )
    block_timeout: Duration = Field(
        timedelta(seconds=30), description="how long when_full = block waits before 503"
    )
    max_spool: Bytes = Field(16 << 30, description="size of the spool from which it is full")
    min_free: Bytes = Field(
        256 << 20, description="free space on the spool's disk below which it is full"
    )
    segment_size: Bytes = Field(64 << 20, description="a segment is sealed at this size")
    segment_age: Duration = Field(
        timedelta(seconds=60), description="a segment is sealed at this age, also when idle"
    )
    upload_on_stop: bool = Field(
        False,
        description="when the server stops, move the spool to the blob root; for containers whose "
        "disk is gone then",
    )


class ColumnPolicy(Section):
    """``[models.X.capture.columns.NAME]``: what is written down of one variable."""

    policy: Literal["keep", "hash", "drop", "truncate"] = Field(
        "keep",
        description="hash: a keyed hash of the value (the key stays in the store); drop: nothing; "
        "truncate: the first characters of a text, or a number rounded down to a multiple",
    )
    length: Count = Field(8, description="characters that truncate keeps of a text")
    multiple: Annotated[float, Field(gt=0)] = Field(
        1.0, description="numbers are rounded down to a multiple of this by truncate"
    )


class ModelCaptureSettings(Section):
    """``[models.X.capture]``: what is written down of one model's requests."""

    enabled: bool = Field(True, description="whether its requests are captured")
    sample_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="share of attempts that are captured, chosen by a hash of their id"
    )
    keep_refused: bool = Field(True, description="whether refused requests are captured too")
    columns: dict[str, ColumnPolicy] = Field(
        default_factory=dict, description="policies per variable", examples=["passenger_name"]
    )


class WindowSettings(Section):
    """``[models.X.windows]``: event time and what follows from it."""

    length: Duration = Field(timedelta(hours=1), description="length of a window of event time")
    allowed_lateness: Duration = Field(
        timedelta(minutes=10), description="how long after a window's end its rows are waited for"
    )
    retention: Duration = Field(timedelta(days=90), description="how long captured rows are kept")
    label_delay: Duration = Field(
        timedelta(days=1), description="a row's label is mature when the row is older than this"
    )
    label_keys: tuple[str, ...] = Field(
        (), description="variables that name a row to those who send labels", examples=[["order"]]
    )

    @model_validator(mode="after")
    def _whole_seconds(self) -> WindowSettings:
        if self.length < timedelta(seconds=1) or self.length % timedelta(seconds=1):
            raise ValueError("a window is a whole number of seconds long")
        return self
