"""A task that does what ``script.json`` in the job's folder says, start after start, and imports no
TensorFlow: what a launcher makes of it can be tried in a second.

``{"chief-0": ["kill", "finish"]}``: ``finish`` writes the result; ``wait`` stays until it is there;
``linger`` stays for ever; ``kill`` kills itself; ``stop`` stops itself; ``child`` starts a child
that stays, then waits; ``exit N WORDS`` says WORDS and exits with N. A step may begin with ``after
TYPE-INDEX COUNT`` and waits until that task was started COUNT times; several in a row are one after
another.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from trueup.records.job import TaskType
from trueup.trainer.progress import Reporter
from trueup.trainer.task import end_with_launcher

folder = Path(sys.argv[sys.argv.index("--job") + 1])
task = json.loads(os.environ["TF_CONFIG"])["task"]
name = f"{task['type']}-{task['index']}"


def starts(of: str) -> int:
    return len(list((folder / "starts").glob(f"{of}.*")))


def wait_for(condition) -> None:
    while not condition():
        time.sleep(0.01)


end_with_launcher()
(folder / "starts").mkdir(exist_ok=True)
number = starts(name)
facts = {
    "pid": os.getpid(),
    "config": os.environ["TF_CONFIG"],
    "mark": os.environ["TRUEUP_LAUNCH"],
}
(folder / "starts" / f"{name}.{number}").write_text(json.dumps(facts))
steps = json.loads((folder / "script.json").read_text()).get(name, ["wait"])
words = steps[min(number, len(steps) - 1)].split(" ")
reporter = Reporter(folder, TaskType(task["type"]), task["index"])
reporter.start()
print("start", number, flush=True)
while words[0] == "after":
    of, count = words[1], int(words[2])
    wait_for(lambda: starts(of) >= count)  # noqa: B023 - it is over before they change
    words = words[3:]
if words[0] == "child":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    wait_for((folder / "result.json").exists)
elif words[0] == "finish":
    (folder / "result.json").write_text('{"epochs": 1, "rows": 1, "loss": 0.5, "seconds": 1.0}')
elif words[0] == "wait":
    wait_for((folder / "result.json").exists)
elif words[0] == "linger":
    threading.Event().wait()
elif words[0] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
elif words[0] == "stop":
    os.kill(os.getpid(), signal.SIGSTOP)
elif words[0] == "exit":
    if words[2:]:
        reporter.end("failed", " ".join(words[2:]))
    os._exit(int(words[1]))
reporter.end("succeeded")
