"""Pure parts of a task: who it is, how many steps it makes, when it ends early, what went wrong."""

from __future__ import annotations

import errno
import json
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.training import TrainingSettings
from trueup.errors import BadInputError, ChildTaskError
from trueup.records.job import TaskType
from trueup.records.training import Shard
from trueup.trainer import fit_errors
from trueup.trainer.cluster import Member, member
from trueup.trainer.fit_callbacks import check_loss
from trueup.trainer.fit_history import History
from trueup.trainer.input import shares
from trueup.trainer.steps import plan_steps
from trueup.trainer.strategies import batch_replicas, check_cluster, is_server, readers

CLUSTER = {"chief": ["a:1"], "worker": ["a:2", "b:1"], "ps": ["b:2"]}


def config(type_: str, index: int = 0, **cluster: list[str]) -> Member:
    return member(
        json.dumps({"cluster": cluster or CLUSTER, "task": {"type": type_, "index": index}})
    )


class TestMember:
    def test_alone_without_tf_config(self) -> None:
        for text in (None, "", "{}", '{"cluster": {}, "task": {"type": "chief", "index": 0}}'):
            found = member(text)
            assert (found.type, found.is_chief, found.replicas) == (TaskType.CHIEF, True, 1)
            assert found.address is None

    def test_each_task_knows_its_address(self) -> None:
        assert config("worker", 1).address == "b:1"
        assert config("ps").address == "b:2"
        assert not config("worker", 0).is_chief

    def test_first_worker_leads_where_there_is_no_chief(self) -> None:
        """Kubernetes operators leave the chief out of a cluster of workers."""
        assert config("worker", 0, worker=["a:1", "b:1"]).is_chief
        assert not config("worker", 1, worker=["a:1", "b:1"]).is_chief

    def test_master_is_the_chief_of_older_operators(self) -> None:
        assert config("master", 0, master=["a:1"]).type is TaskType.CHIEF

    @pytest.mark.parametrize("text", ["[", "[]", '{"task": {"index": "x"}}', '{"cluster": 3}'])
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(BadInputError, match="TF_CONFIG"):
            member(text)

    def test_evaluator_is_refused(self) -> None:
        with pytest.raises(BadInputError, match="evaluator makes TensorFlow 2 wait"):
            config("evaluator", 0, evaluator=["a:1"])


class TestStrategies:
    def test_who_shares_batches_and_who_reads(self) -> None:
        all_reduce = TrainingSettings(strategy="multi_worker")
        coordinated = TrainingSettings(strategy="parameter_server")
        chief = config("chief")
        assert batch_replicas(all_reduce, config("chief", 0, chief=["a:1"], worker=["b:1"])) == 2
        assert (batch_replicas(coordinated, chief), readers(coordinated, chief)) == (1, 2)
        assert is_server(coordinated, config("worker"))
        assert is_server(coordinated, config("ps"))
        assert not is_server(coordinated, chief)
        assert not is_server(all_reduce, config("worker"))

    @pytest.mark.parametrize(
        ("strategy", "task"),
        [
            ("parameter_server", Member()),
            ("parameter_server", config("worker", 0, worker=["a:1"], ps=["a:2"])),
            ("multi_worker", Member()),
            ("single", config("chief")),
        ],
    )
    def test_cluster_must_fit(self, strategy: str, task: Member) -> None:
        settings = TrainingSettings(strategy=strategy)
        with pytest.raises(BadInputError, match=f"strategy '{strategy}' needs"):
            check_cluster(settings, task)


class TestSteps:
    @given(
        rows=st.integers(1, 3_000_000),
        batch=st.integers(1, 10_000),
        replicas=st.integers(1, 8),
        strategy=st.sampled_from(["single", "mirrored", "multi_worker", "parameter_server"]),
    )
    def test_every_pass_sees_all_rows(
        self, rows: int, batch: int, replicas: int, strategy: str
    ) -> None:
        settings = TrainingSettings(strategy=strategy, batch_size=batch, epochs=3)
        steps = plan_steps(rows, settings, replicas=replicas)
        assert steps.epochs == 3 * steps.per_pass
        assert steps.per_epoch % steps.per_call == 0
        assert steps.batch % replicas == 0
        assert steps.batch <= max(batch, replicas)
        seen = steps.rows_of_epoch * steps.per_pass
        assert seen >= rows
        # What is seen twice is less than a call of each virtual epoch.
        surplus = steps.per_pass * (steps.per_call + 1) * steps.batch
        assert seen < rows + surplus + steps.batch

    def test_backups_come_often_enough(self) -> None:
        for strategy, most in (("single", 1500), ("parameter_server", 150)):
            settings = TrainingSettings(strategy=strategy, batch_size=100)
            assert plan_steps(10_000_000, settings).per_epoch <= most


class TestShares:
    @given(
        rows=st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any),
        parts=st.integers(1, 6),
    )
    def test_every_row_is_in_a_share_and_shares_are_equal(
        self, rows: list[int], parts: int
    ) -> None:
        shards = [
            Shard(path=str(n), rows=count, bytes=0, sha256="") for n, count in enumerate(rows)
        ]
        found = shares(shards, parts)
        total = sum(rows)
        for share in found:
            assert sum(piece.take for piece in share) == ceil(total / parts)
        seen = [
            (piece.path, row)
            for share in found
            for piece in share
            for row in range(piece.skip, piece.skip + piece.take)
        ]
        wanted = {(str(n), row) for n, count in enumerate(rows) for row in range(count)}
        assert set(seen) == wanted
        if parts <= total:
            assert len(seen) - len(wanted) < parts


class TestHistory:
    @given(losses=st.lists(st.floats(0, 10), min_size=1, max_size=12), patience=st.integers(1, 4))
    def test_ends_as_tf_keras_does(self, losses: list[float], patience: int) -> None:
        """``EarlyStopping(patience=…)`` of tf_keras, loss by loss."""
        best, waited = float("inf"), 0
        history = History()
        for epoch, loss in enumerate(losses):
            history = history.after(epoch, loss)
            best, waited = (loss, 0) if loss < best else (best, waited + 1)
            assert history.ends(patience) == (waited >= patience)
        assert history.best_epoch == losses.index(min(losses))

    def test_what_came_after_the_backup_is_forgotten(self) -> None:
        history = History().after(1, 3.0).after(3, 2.0).after(5, 1.0)
        assert history.before(4).losses == ((1, 3.0), (3, 2.0))
        assert not history.ends(0)
        assert History().best_epoch is None

    @pytest.mark.parametrize(("loss", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
    def test_loss_that_is_no_number(self, loss: float, word: str) -> None:
        with pytest.raises(BadInputError, match=f"became {word} in virtual epoch 3; lower"):
            check_loss(loss, 3)


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "code", "words"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), fit_errors.BAD, "disk of"),
            (OSError(errno.EFBIG, "File too large"), fit_errors.BAD, "make room"),
            (ChildTaskError("x: No space left on device"), fit_errors.BAD, "make room"),
            (MemoryError(), fit_errors.BAD, "batch_size smaller"),
            (BadInputError("no", remedy="do"), fit_errors.BAD, "no; do"),
            (ChildTaskError("chief gone", retry=True), fit_errors.AGAIN, "chief gone"),
            (fit_errors.PortInUseError("port 1"), fit_errors.PORT, "port 1"),
            (ConnectionResetError("reset"), fit_errors.AGAIN, "training failed with Connection"),
            (KeyError("x"), fit_errors.BAD, "training failed with KeyError"),
        ],
    )
    def test_code_and_sentence(self, error: Exception, code: int, words: str, tmp_path) -> None:
        found, sentence = fit_errors.explain(error, tmp_path, "training")
        assert found == code
        assert words in sentence
        assert "\n" not in sentence
