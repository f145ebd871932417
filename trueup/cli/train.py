"""``trueup train``, ``retrain``, ``jobs`` and ``cancel``: start training, and follow it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli.author import author
from trueup.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trueup.config.settings import Settings
    from trueup.records.policy import RetrainingDecision
    from trueup.trainer.jobs import Job
    from trueup.trainer.launcher import JobProgress
    from trueup.training import Trained, Trainer

#: Of a version that was trained and did not go live.
EXIT_NOT_LIVE = 5
JOBS_FOLDER = "jobs"
_SAYS_EVERY_S = 5.0

StrategyOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="single, mirrored, multi_worker or parameter_server, this time."
    ),
]
ReasonOption = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept with it.")]


def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Whose [models.MODEL.training].")],
    strategy: StrategyOption = None,
    reason: ReasonOption = "trueup train",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Train a new version on all data of the configuration; it goes live if the gate passes it.

    Ends with 0 when it is live, and with 5 when the gate did not let it.
    """
    from pathlib import Path

    with _trainer(model, config, strategy) as trainer:
        trained = trainer.train(model, author(reason), python_path=(str(Path.cwd()),))
    print("\n".join(_json(trained) if json else _lines(trained)))
    if not trained.live:
        raise typer.Exit(EXIT_NOT_LIVE)


def retrain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Whose [models.MODEL.retraining].")],
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only if the policy asks for it, as a schedule would.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be decided; do and keep nothing.")
    ] = False,
    strategy: StrategyOption = None,
    reason: ReasonOption = "trueup retrain",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Train a model anew, if the policy lets it; the decision is kept with its reasons.

    By hand it overrules freeze and cooldown, and nothing else. Ends with 0 where nothing is to be
    done or the new version is live, and with 5 where something held the job back or the gate did
    not let it.
    """
    from pathlib import Path

    from trueup.retraining import Retrained, decide
    from trueup.retraining import retrain as run

    with _trainer(model, config, strategy) as trainer:
        if dry_run:
            done = Retrained(decide(trainer, model, author(reason), by_hand=not if_due))
        else:
            path = (str(Path.cwd()),)
            done = run(trainer, model, author(reason), by_hand=not if_due, python_path=path)
    decision, trained = done.decision, done.trained
    if json:
        print(
            _dumped(
                {
                    "decision": decision.model_dump(mode="json"),
                    "trained": None if trained is None else _trained(trained),
                }
            )
        )
    else:
        print("\n".join(_decision_lines(decision)))
        if trained is not None:
            print("\n".join(_lines(trained)))
    held = bool(decision.triggers) and not decision.start
    if not dry_run and (held or (trained is not None and not trained.live)):
        raise typer.Exit(EXIT_NOT_LIVE)


@contextmanager
def _trainer(model: str, config: Path | None, strategy: str | None) -> Iterator[Trainer]:
    """A trainer of the configuration, with a cluster on this machine."""
    from trueup.config.load import load
    from trueup.errors import BadInputError
    from trueup.store.blobs import BlobRoot
    from trueup.store.schema import open_store
    from trueup.trainer.launchers.local import LocalLauncher
    from trueup.training import Trainer

    settings = load(config)
    if model not in settings.models:
        raise BadInputError(
            f"the configuration has no [models.{model}]",
            remedy="write its label and its sources there",
        )
    if strategy is not None:
        settings = _with_strategy(settings, model, strategy)
    launcher = LocalLauncher()
    try:
        yield Trainer(
            settings, open_store(settings.store), BlobRoot(settings.blob_root), launcher,
            # On the local disk: backups are written there once an epoch.
            settings.spool_dir.absolute().parent / JOBS_FOLDER,
            say=lambda text: print(text, file=sys.stderr, flush=True), follow=_Follow(),
        )  # fmt: skip
    finally:
        launcher.close()


def jobs(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Of this model.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List jobs, the newest first: state, progress, time and cost."""
    from trueup.config.load import load
    from trueup.store.engine import reading
    from trueup.store.schema import open_store
    from trueup.trainer.jobs import list_jobs

    with reading(open_store(load(config).store)) as connection:
        found = list_jobs(connection, model=model)
    if json:
        print(_dumped([_row(job) for job in found]))
        return
    for job in found:
        told = job.message or ("" if job.progress is None else job.progress.message)
        print(
            f"{job.id}  {job.state.value:9}  {job.created_at:%Y-%m-%d %H:%M}  "
            f"{job.machine_seconds:,.0f} s  {told}".rstrip()
        )


def cancel(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its id: trueup jobs.")],
    reason: ReasonOption = "trueup cancel",
    config: ConfigOption = None,
) -> None:
    """End a job; nothing is left of it but its row and its logs."""
    from trueup.config.load import load
    from trueup.store.engine import writing
    from trueup.store.schema import open_store
    from trueup.trainer.jobs import request_cancel

    with writing(open_store(load(config).store)) as connection:
        asked = request_cancel(connection, job, author=author(reason))
    print(
        f"{asked.id} is {asked.state.value}" if asked.state.ended else f"{asked.id} is told to end"
    )


def _with_strategy(settings: Settings, model: str, strategy: str) -> Settings:
    from pydantic import ValidationError

    from trueup.config.training import TrainingSettings
    from trueup.errors import BadInputError

    mine = settings.model(model)
    try:
        training = TrainingSettings.model_validate(
            {**mine.training.model_dump(), "strategy": strategy}
        )
    except ValidationError:
        raise BadInputError(
            f"there is no strategy {strategy!r}",
            remedy="single, mirrored, multi_worker or parameter_server",
        ) from None
    changed = mine.model_copy(update={"training": training})
    return settings.model_copy(update={"models": {**settings.models, model: changed}})


class _Follow:
    """Says how the tasks are doing, when it is another epoch, or now and then."""

    def __init__(self) -> None:
        self._said: tuple[int, float] = (-1, 0.0)

    def __call__(self, progress: JobProgress) -> None:
        from time import monotonic

        chief = progress.chief
        if chief is None or not chief.rows:
            return
        epoch, at = self._said
        now = monotonic()
        if chief.epoch == epoch and now - at < _SAYS_EVERY_S:
            return
        self._said = (chief.epoch, now)
        loss = "" if chief.loss is None else f", loss {chief.loss:.4f}"
        print(
            f"  epoch {chief.epoch} of {chief.epochs}, {chief.rows:,} rows, "
            f"{chief.rows_per_s:,.0f} rows/s{loss}",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def _lines(trained: Trained) -> Iterator[str]:
    gate = trained.gate
    yield f"version {trained.version} is {'live' if trained.live else 'not live'}"
    if gate is not None:
        yield f"gate: {gate.verdict.value.replace('_', ' ')}"
        if gate.against_live is not None:
            yield f"  {gate.against_live.sentence}"
        yield from (f"  {reason}" for reason in gate.reasons)
    yield from (f"note: {note}" for note in trained.notes)


def _decision_lines(decision: RetrainingDecision) -> Iterator[str]:
    if decision.start:
        yield "a job is due:"
    else:
        yield "no job: held back" if decision.triggers else "no job: nothing asks for one"
    yield from (f"  {reason}" for reason in decision.reasons)


def _json(trained: Trained) -> Iterator[str]:
    yield _dumped(_trained(trained))


def _trained(trained: Trained) -> dict[str, object]:
    return {
        "job": trained.job,
        "version": trained.version,
        "live": trained.live,
        "gate": None if trained.gate is None else trained.gate.model_dump(mode="json"),
        "notes": list(trained.notes),
    }


def _row(job: Job) -> dict[str, object]:
    return {
        "id": job.id, "model": job.model, "kind": job.kind, "state": job.state.value,
        "created_at": job.created_at.isoformat(), "created_by": job.created_by,
        "reason": job.reason, "message": job.message, "version": job.version,
        "machine_seconds": job.machine_seconds, "cost": job.cost,
        "progress": None if job.progress is None else job.progress.model_dump(mode="json"),
    }  # fmt: skip


def _dumped(value: object) -> str:
    import json

    return json.dumps(value, indent=1)
