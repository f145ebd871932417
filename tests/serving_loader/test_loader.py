"""The loader follows the registry, and nothing that fails changes what is served."""

from __future__ import annotations

import os
import stat
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from tests.serving_loader.conftest import Site, until
from trueup.serving.fleet import Lifecycle, NotServed, ServedVersion
from trueup.serving.loading import at_low_priority, gentle_to_other_threads
from trueup.serving.refusals import FIRST_PAUSE_S, LONGEST_PAUSE_S


def test_it_serves_what_aliases_name(site: Site) -> None:
    site.add("one")
    site.add("two", alias="canary")
    site.add("nobody's", alias=None)
    assert site.loader.not_ready() == "the registry has not been read yet"
    site.loader.round()
    assert site.loader.not_ready() == ""
    assert site.texts() == {"stable": "one", "canary": "two"}
    assert site.states() == {2: "AVAILABLE", 1: "AVAILABLE"}
    assert isinstance(site.fleet.resolve("flights", version=3), NotServed)


def test_a_promotion_switches_then_drains_then_closes(site: Site) -> None:
    site.add("one")
    site.loader.round()
    before = site.fleet.resolve("flights")
    site.add("two")
    site.loader.round()
    assert site.port.events == ["load one", "load two", "settle", "drain one", "close one"]
    assert site.texts() == {"stable": "two"}
    assert site.states() == {2: "AVAILABLE", 1: "END"}
    # Who was resolved before keeps what it was given.
    assert isinstance(before, ServedVersion) and before.version == 1
    site.rollback()
    site.loader.round()
    assert site.texts() == {"stable": "one"}
    assert site.states() == {2: "END", 1: "AVAILABLE"}
    assert [model.closed for model in site.port.models] == [True, True, False]


def test_the_view_is_switched_before_anybody_is_drained(site: Site) -> None:
    site.add("one")
    site.loader.round()
    site.add("two")
    seen: list[tuple[dict[str, str], bool]] = []
    site.port.while_settling = lambda: seen.append((site.texts(), site.port.lanes[0].closed))
    site.loader.round()
    assert seen == [({"stable": "two"}, False)]


def test_while_it_loads_the_old_version_answers(site: Site) -> None:
    site.add("one")
    site.loader.round()
    site.add("two")
    seen = []
    site.port.while_loading = lambda: seen.append(
        (site.texts(), site.states(), site.loader.status().loading)
    )
    site.loader.round()
    assert seen == [({"stable": "one"}, {2: "LOADING", 1: "AVAILABLE"}, ("flights", 2))]


def test_aliases_move_without_loading(site: Site) -> None:
    site.add("one")
    site.add("two", alias="canary")
    site.loader.round()
    lanes = list(site.port.lanes)
    site.promote(2)
    site.promote(1, alias="old")
    site.loader.round()
    assert site.texts() == {"stable": "two", "canary": "two", "old": "one"}
    assert site.port.lanes == lanes and not any(lane.closed for lane in lanes)


def test_each_model_switches_as_soon_as_it_is_loaded(site: Site) -> None:
    site.add("a1", model="a")
    site.add("b1", model="b")
    site.loader.round()
    site.add("a2", model="a")
    site.add("b2", model="b")
    seen = []
    site.port.while_loading = lambda: seen.append((site.texts("a"), site.texts("b")))
    site.loader.round()
    assert seen == [
        ({"stable": "a1"}, {"stable": "b1"}),
        ({"stable": "a2"}, {"stable": "b1"}),
    ]


def test_a_corrupt_artifact_is_refused_with_one_sentence(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.add("one")
    site.loader.round()
    site.add("two")
    site.damage(2)
    for _ in range(3):
        site.loader.round()
        site.clock.now_s += LONGEST_PAUSE_S
    assert site.texts() == {"stable": "one"}
    found = site.fleet.statuses("flights", version=2)
    assert isinstance(found, tuple)
    assert (found[0].state, found[0].error_code) == (Lifecycle.END, "DATA_LOSS")
    assert found[0].error_message == site.loader.status().refused[0]
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said == [
        "flights version 2 is refused, and what is live stays: the artifact of flights version 2 "
        "is corrupt: saved_model.pb was changed since it was published; import the model again"
    ]
    assert site.loader.not_ready() == ""
    site.rollback()
    site.loader.round()
    assert site.loader.status().refused == ()
    assert "load two" not in site.port.events


def test_a_version_that_does_not_load_is_tried_again_after_a_while(site: Site) -> None:
    site.add("one")
    site.add("broken")
    tries: list[float] = []
    site.port.while_loading = lambda: tries.append(site.clock.now_s)
    for _ in range(300):
        site.loader.round()
        site.clock.now_s += FIRST_PAUSE_S
    # Nothing is served: version 1 was never live here.
    assert isinstance(site.fleet.resolve("flights"), NotServed)
    assert site.loader.not_ready().endswith("broken: no graph in two lines")
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses[:4] == [FIRST_PAUSE_S * 2**n for n in range(4)]
    assert max(pauses) == LONGEST_PAUSE_S


def test_a_new_promotion_is_tried_at_once(site: Site) -> None:
    site.add("one")
    site.loader.round()
    site.add("broken")
    site.loader.round()
    tries: list[int] = []
    site.port.while_loading = lambda: tries.append(1)
    site.loader.round()
    assert tries == []
    site.promote(1)
    site.loader.round()
    site.promote(2)
    site.loader.round()
    assert tries == [1]


def test_one_that_fails_does_not_hold_up_others(site: Site) -> None:
    site.add("broken", model="a")
    site.add("fine", model="b")
    site.loader.round()
    assert site.texts("b") == {"stable": "fine"}
    assert site.loader.not_ready() == ""
    status = site.loader.status()
    assert (status.loads, status.failures) == (1, 1)


def test_a_lane_that_cannot_be_made_leaves_nothing_behind(site: Site) -> None:
    site.add("one")
    site.port.lane_fails = True
    site.loader.round()
    assert [model.closed for model in site.port.models] == [True]
    assert "no thread could be started" in site.loader.not_ready()


def test_a_version_stays_in_memory_while_it_has_requests(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.add("one")
    site.loader.round()
    site.port.lanes[0].busy = True
    site.add("two")
    site.loader.round()
    assert site.texts() == {"stable": "two"}
    assert site.states() == {2: "AVAILABLE", 1: "UNLOADING"}
    site.clock.now_s += 31.0
    site.loader.round()
    assert "flights version 1 still has requests after 31 s" in caplog.text
    # Live again: it is loaded anew, beside the one that drains.
    site.rollback()
    site.loader.round()
    assert site.texts() == {"stable": "one"}
    assert not site.port.models[0].closed
    site.port.lanes[0].busy = False
    site.loader.round()
    assert [model.closed for model in site.port.models] == [True, True, False]
    assert site.states() == {2: "END", 1: "AVAILABLE"}


def test_what_drains_is_among_what_is_looked_after(site: Site) -> None:
    """Requests of a version that was swapped out have deadlines, too."""
    site.add("one")
    site.loader.round()
    first = site.port.lanes[0]
    first.busy = True
    site.add("two")
    site.loader.round()
    assert [each.lane for each in site.fleet.served()] == site.port.lanes[1:]
    assert {id(each.lane) for each in site.fleet.held()} == set(map(id, site.port.lanes))
    site.loader.round()
    assert first in [each.lane for each in site.fleet.held()]
    first.busy = False
    site.loader.round()
    assert [each.lane for each in site.fleet.held()] == site.port.lanes[1:]


def test_ended_versions_are_shown_for_a_while(site: Site) -> None:
    for number in range(1, 13):
        site.add(str(number))
        site.loader.round()
    assert list(site.states()) == [12, 11, 10, 9, 8, 7, 6, 5, 4]
    assert site.loader.status().unloads == 11


def test_checked_files_of_old_versions_are_removed(site: Site) -> None:
    for text in ("one", "two", "three"):
        site.add(text)
        site.loader.round()
    assert len([path for path in site.port.cache.iterdir() if path.is_dir()]) == 1


def test_a_server_without_a_registry_is_not_ready(site: Site) -> None:
    site.loader.round()
    assert "no model is live" in site.loader.not_ready()
    site.add("one")
    site.loader.round()
    assert site.loader.not_ready() == ""


def test_a_number_with_another_artifact_is_loaded_anew(site: Site) -> None:
    """A store restored from a backup gives numbers a second time."""
    site.add("one")
    site.loader.round()
    taken = site.port.take()
    site.add("other")
    version = site.port.take().by_name["flights"].versions[0]
    model = taken.models[0]
    changed = version.model_copy(update={"version": 1})
    site.port.take = lambda: taken.model_copy(  # type: ignore[method-assign]
        update={"models": (model.model_copy(update={"versions": (changed,)}),)}
    )
    site.loader.round()
    assert site.texts() == {"stable": "other"}
    assert [found.closed for found in site.port.models] == [True, False]


def test_requests_never_meet_a_closed_lane(site: Site) -> None:
    """Resolved and submitted in one turn, as the event loop does, while versions come and go."""
    for text in ("one", "two"):
        site.add(text)
    site.promote(1)
    site.loader.round()
    turn = threading.Lock()
    stop = threading.Event()
    met: list[str] = []

    def wait_for_the_turn() -> None:
        with turn:
            pass

    site.port.while_settling = wait_for_the_turn

    def ask() -> None:
        while not stop.is_set():
            with turn:
                found = site.fleet.resolve("flights")
                assert isinstance(found, ServedVersion)
                met.append("closed" if found.lane.closed else found.loaded.text)

    asking = threading.Thread(target=ask)
    asking.start()
    for place in range(15):
        site.promote(2 - place % 2)
        site.loader.round()
    stop.set()
    asking.join(60)
    assert set(met) == {"one", "two"}


def test_in_its_thread_it_follows_by_itself(site: Site) -> None:
    site.loader.start()
    until("readiness", lambda: "no model is live" in site.loader.not_ready())
    site.add("one")
    until("version 1", lambda: site.texts() == {"stable": "one"})
    site.add("two")
    until("version 2", lambda: site.texts() == {"stable": "two"} and site.port.models[0].closed)
    assert site.loader.stop(60)
    assert site.port.events[0] == "prepare"
    site.add("three")
    assert site.texts() == {"stable": "two"}


def test_it_is_stopped_between_two_loads(site: Site) -> None:
    site.add("one", model="a")
    site.add("two", model="b")
    loading, go_on = threading.Event(), threading.Event()

    def load() -> None:
        loading.set()
        go_on.wait(60)

    site.port.while_loading = load
    site.loader.start()
    assert loading.wait(60)
    assert not site.loader.stop(0.0)
    go_on.set()
    assert site.loader.stop(60)
    assert site.port.events == ["prepare", "load one"]


def test_the_snapshot_is_for_its_owner_only(site: Site) -> None:
    site.add("one")
    site.loader.round()
    path = site.folder / "spool" / "registry-snapshot.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_spool_that_cannot_be_written_stops_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    (site.folder / "spool").write_text("no folder")
    site.add("one")
    site.loader.round()
    assert site.texts() == {"stable": "one"}
    assert "a start without the store would find an older registry" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
def test_copying_has_a_low_priority_and_loading_has_not(site: Site) -> None:
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert at_low_priority(priority) > mine
    found: list[int] = []
    site.port.while_loading = lambda: found.append(priority())
    site.add("one")
    site.loader.round()
    assert found == [mine]


def test_while_a_model_loads_the_interpreter_is_handed_over_sooner() -> None:
    before = sys.getswitchinterval()
    with gentle_to_other_threads():
        assert sys.getswitchinterval() < before
    assert sys.getswitchinterval() == before


def test_what_fails_at_low_priority_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        at_low_priority((tmp_path / "absent").read_bytes)
