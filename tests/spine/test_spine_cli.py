"""The command line: quick help, one sentence for an error, the documented exit codes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from sqlalchemy import text

from trueup.cli import main as cli
from trueup.cli.health import check_python, check_skew, file_system_of
from trueup.config.load import load
from trueup.config.settings import Settings
from trueup.errors import ConflictError, DataError
from trueup.store.engine import open_engine, writing
from trueup.store.schema import schema_state, upgrade

HEAVY = ("pydantic", "rich", "pandas", "pyarrow", "numpy", "scipy", "sqlalchemy", "altair",
         "alembic", "fsspec", "polars", "tensorflow", "datasketches", "importlib.metadata",
         "asyncio", "concurrent")  # fmt: skip

IMPORTED = """
import sys
from trueup.cli.main import main
main(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
"""


def trueup(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trueup.cli.main", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    for name, entry in cli.COMMANDS.items():
        assert name in done.stdout
        assert entry.help.split()[0] in done.stdout
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert loaded.isdisjoint(HEAVY)
    assert {name for name in done.stderr.split() if name.startswith("trueup.cli.")} == {
        "trueup.cli.main"
    }


def test_help_takes_less_cpu_than_promised(tmp_path: Path) -> None:
    """CPU time, not wall time: other processes do not count. The least of three is the work."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        trueup("--help", cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) <= 0.3


@pytest.mark.parametrize("name", ["init", "doctor"])
def test_each_command_has_help(name: str, tmp_path: Path) -> None:
    done = trueup(name, "-h", cwd=tmp_path)
    assert done.returncode == 0
    assert f"trueup {name}" in done.stdout


def test_version(tmp_path: Path) -> None:
    import trueup as package

    assert trueup("--version", cwd=tmp_path).stdout == f"trueup {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["copmare"], "did you mean 'compare'?"),
        (["zzzz"], "trueup --help lists them"),
        (["--nonsense"], "No such option"),
        (["init", "a", "b"], "unexpected extra argument"),
        ([], "Usage"),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert says in shown.err + shown.out


def run_raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command that raises ``error``."""

    def fail() -> None:
        raise error

    monkeypatch.setattr("trueup.cli.init.init", fail)
    return cli.main(["init"])


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (
            DataError("column x of a.csv is empty", remedy="give another"),
            2,
            "trueup: column x of a.csv is empty; give another\n",
        ),
        (ConflictError("was first"), 1, "trueup: was first\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (
            ValueError("two\nlines"),
            1,
            "trueup: unexpected ValueError: two lines (this is a defect; TRUEUP_DEBUG=1 shows the "
            "traceback)\n",
        ),
        (
            RuntimeError(),
            1,
            "trueup: unexpected RuntimeError (this is a defect; TRUEUP_DEBUG=1 shows the "
            "traceback)\n",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_becomes_a_sentence_and_an_exit_code(
    error: BaseException,
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("TRUEUP_DEBUG", raising=False)
    monkeypatch.setattr(cli, "_silence_standard_output", lambda: None)
    assert run_raising(error, monkeypatch) == code
    assert capsys.readouterr().err == says


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUEUP_DEBUG", "1")
    assert run_raising(ZeroDivisionError("oh"), monkeypatch) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "unexpected ZeroDivisionError: oh" in shown


@pytest.mark.parametrize("command", ["--help", "profile a.csv", "profile a.csv --json", "doctor"])
def test_a_reader_that_leaves_is_no_error(command: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("fare\n" + "1.5\n" * 40)
    script = f'"$0" -m trueup.cli.main {command} | true; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() in ("0", "141")  # 0: it had written all before the reader left
    assert done.stderr == ""


def test_init_writes_a_configuration_that_loads(tmp_path: Path) -> None:
    done = trueup("init", "new/folder", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "wrote new/folder/trueup.toml\n")
    path = tmp_path / "new/folder/trueup.toml"
    settings = load(path, environment={})
    assert settings.compare == Settings().compare
    assert settings.blob_root == f"{path.parent}/.trueup/blobs"
    path.write_text("mine")
    again = trueup("init", "new/folder", cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr == (
        "trueup: new/folder/trueup.toml is there already; edit it, or remove it first\n"
    )
    assert path.read_text() == "mine"
    assert trueup("init", "new/folder/trueup.toml", cwd=tmp_path).returncode == 2


def doctor(cwd: Path, **environment: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = trueup("doctor", "--json", cwd=cwd, **environment)
    found = json.loads(done.stdout)
    assert found["ok"] is (done.returncode == 0)
    return done.returncode, {check["name"]: check for check in found["checks"]}


def test_doctor_finds_nothing_broken_and_leaves_nothing_behind(tmp_path: Path) -> None:
    code, checks = doctor(tmp_path)
    assert [check for check in checks.values() if check["status"] == "fail"] == []
    assert code == 0
    named = {"Python", "packages", "clock", "configuration", "store", "blob root", "spool", "disk"}
    assert checks.keys() >= named
    assert list(tmp_path.iterdir()) == []


def test_doctor_looks_into_what_is_there(tmp_path: Path) -> None:
    (tmp_path / ".trueup/blobs").mkdir(parents=True)
    engine = open_engine(f"sqlite:///{tmp_path}/.trueup/store.db")
    upgrade(engine)
    code, checks = doctor(tmp_path)
    assert code == 0
    assert f"schema {schema_state(engine).head}" in checks["store"]["found"]
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    code, checks = doctor(tmp_path)
    assert code == 1
    assert checks["store"]["status"] == "fail"
    assert checks["store"]["remedy"] == "upgrade Trueup"
    assert list((tmp_path / ".trueup/blobs").iterdir()) == []


def test_doctor_says_what_to_mend(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    code, checks = doctor(
        tmp_path,
        TRUEUP_STORE__URL="postgresql://me:hunter2@127.0.0.1:1/x",
        TRUEUP_BLOB_ROOT=f"{blocked}/blobs",
        TRUEUP_SPOOL_DIR=f"{blocked}/spool",
    )
    assert code == 1
    for name in ("store", "blob root", "spool"):
        assert checks[name]["status"] == "fail", name
        assert checks[name]["remedy"], name
    assert "hunter2" not in json.dumps(checks)


def test_doctor_takes_a_broken_configuration_as_a_finding(tmp_path: Path) -> None:
    (tmp_path / "trueup.toml").write_text("[compare]\nmeen = 1")
    done = trueup("doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert "trueup.toml line 2: compare.meen is no setting" in done.stdout
    assert "did you mean compare.mean?" in done.stdout
    assert "1 of " in done.stdout


def test_doctor_checks_postgresql(tmp_path: Path, postgresql_server: str) -> None:
    code, checks = doctor(tmp_path, TRUEUP_STORE__URL=postgresql_server)
    assert checks["store"]["status"] == "warn"  # its schema is still to be made
    assert checks["store's clock"]["status"] == "ok"
    assert code == 0


@pytest.mark.parametrize(
    ("found", "status"),
    [((3, 9), "fail"), ((3, 10), "ok"), ((3, 13), "ok"), ((3, 14), "fail")],
)
def test_python_versions(found: tuple[int, int], status: str) -> None:
    assert check_python(found).status == status


@pytest.mark.parametrize(
    ("skew_s", "status"), [(0.1, "ok"), (-1.9, "ok"), (-5, "warn"), (29, "warn"), (31, "fail")]
)
def test_clock_skew(skew_s: float, status: str) -> None:
    assert check_skew("store's clock", skew_s).status == status


def test_the_innermost_and_latest_mount_holds_a_folder() -> None:
    mounts = (
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 0:5 / /data rw shared:1 - xfs /dev/sdb1 rw\n"
        "3 1 0:6 / /data rw shared:2 - nfs4 host:/x rw\n"
        "4 1 0:7 / /with\\040space rw - tmpfs tmpfs rw\n"
    )
    assert file_system_of(Path("/data/spool"), mounts) == "nfs4"
    assert file_system_of(Path("/database"), mounts) == "ext4"
    assert file_system_of(Path("/with space/x"), mounts) == "tmpfs"
    assert file_system_of(Path("/x"), "") == "unknown"


def test_this_host_passes_the_clock_check() -> None:
    from trueup.cli.health import check_clock

    check = check_clock()
    assert check.status == "ok"
    assert str(datetime.now(timezone.utc).year) in check.found
