"""Starts a replay's server with the SavedModel and in the folder that it is told, and holds it."""

import sys
import threading
from pathlib import Path

from trueup.config.settings import Settings
from trueup.records.input_spec import InputSpec, Kind, Variable
from trueup.replay.server import replay_server

SPEC = InputSpec(variables=(Variable(name="x", dtype="float32", kind=Kind.NUMERIC),))

with replay_server(Settings(), "m", 1, SPEC, Path(sys.argv[1]), Path(sys.argv[2])) as server:
    server.wait_ready()
    print("ready", flush=True)
    threading.Event().wait()
