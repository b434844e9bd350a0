# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script that serves the write port of the registry and collects garbage, in several shells."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cluster import packages
from cluster.waiting import wait_until
from unit.roles.support.registry_script import RegistryScript, running

Run = Callable[..., RegistryScript]
SHELLS = {"sh": ["sh"], "busybox": [str(packages.path_of("busybox")), "sh"]}
MEMORY = "the container exceeded its memory limit"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts the script and waits until the registry accepts pushes; ends it after the test."""
    with ExitStack() as stack:

        def started(**options: Any) -> RegistryScript:
            script = stack.enter_context(running(RegistryScript(tmp_path / "run", **options)))
            wait_until(lambda: script.state() != "", "the port is open")
            return script

        yield started


def hold(script: RegistryScript, request: str = "a1", point: str = "hold") -> None:
    """Request a collection and wait until the collector waits."""
    (script.fake / point).touch()
    script.request(request)
    wait_until(lambda: (script.fake / "collected").exists() or point == "drain", "the collector runs")
    script.wait_for("running")


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_script_collects_garbage_and_reports_bytes(run: Run, shell: list[str]) -> None:
    script = run(shell=shell)
    for name, size in (("garbage", 1000), ("data", 234)):
        path = script.blobs / "sha256/ab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    assert script.state() == "ready"

    script.request("a1b2")
    reported = script.wait_for("id=a1b2 ")

    status, _space, sizes = reported.partition(" seconds=")
    assert status == "id=a1b2 status=done"
    assert sizes.split(" ")[1:] == ["before=1234", "after=234"]
    assert script.is_writable()
    assert (script.fake / "collected").read_text() == "garbage-collect -m\n"


def test_script_serves_read_only_during_collection(run: Run) -> None:
    script = run()

    hold(script)

    assert not script.is_writable()
    (script.fake / "hold").unlink()
    script.wait_for("id=a1 ")
    assert script.is_writable()


def test_script_collects_only_after_writing_process_ended(run: Run) -> None:
    script = run()

    hold(script, point="drain")
    script.wait_for_pauses(5)
    assert not (script.fake / "collected").exists()

    (script.fake / "drain").unlink()
    script.wait_for("id=a1 ")
    assert (script.fake / "collected").exists()


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize("point", ["drain", "hold"])
def test_script_collects_again_after_kill(run: Run, shell: list[str], point: str) -> None:
    script = run(shell=shell)
    hold(script, point=point)

    script.kill()
    (script.fake / point).unlink()
    script.start()

    assert script.wait_for("id=a1 ").startswith("id=a1 status=done")
    assert script.is_writable()


def test_script_keeps_result_after_kill(run: Run) -> None:
    script = run()
    script.request("a1")
    reported = script.wait_for("id=a1 ")

    script.kill()
    script.start()

    assert script.wait_for("id=a1 ") == reported
    assert (script.fake / "collected").read_text().count("\n") == 1


def test_script_accepts_pushes_after_several_interrupted_collections(run: Run) -> None:
    script = run()
    hold(script)
    for _attempt in range(3):
        (script.fake / "collected").unlink(missing_ok=True)
        script.kill()
        script.start()
        wait_until(lambda: script.state() != "", "the port is open")

    reported = script.wait_for("id=a1 ")

    assert reported.startswith("id=a1 status=failed seconds=0 error=the collector was interrupted 3 times")
    assert MEMORY in reported
    assert script.is_writable()
    (script.fake / "hold").unlink()
    script.request("a2")
    assert script.wait_for("id=a2 ").startswith("id=a2 status=done")


def test_script_skips_request_of_earlier_pod(tmp_path: Path) -> None:
    script = RegistryScript(tmp_path / "run")
    script.request("a1")

    with running(script):
        assert script.wait_for("id=") == "id=a1 status=skipped"
        assert script.is_writable()
        assert not (script.fake / "collected").exists()
        script.request("a2")
        script.wait_for("id=a2 ")


@pytest.mark.parametrize("request_text", ["", "a1 b2", "A1", '"]}', "f" * 65, "$(touch x)"])
def test_script_ignores_invalid_request(run: Run, request_text: str) -> None:
    script = run()

    script.request(request_text)

    # The script reads the request after the current pause, and begins another one.
    script.wait_for_pauses(3)
    assert script.state() == "ready"


@pytest.mark.parametrize(
    ("message", "reported"),
    [
        ("level=error\nfailed to mark: no manifest sha256:ab", "failed to mark: no manifest sha256:ab"),
        ('cannot read "x": \\"]}\x1b[31m\tü', "cannot read x: 31m"),
        ("no such path /secretsecretsecretsecret/v2/", "the message contains a secret, see the log"),
        ("bad signing-secret", "the message contains a secret, see the log"),
        ("", "no message, exit status 1"),
        ("x" * 5000, "x" * 300),
    ],
)
def test_script_reports_failure_of_collector_without_secrets(run: Run, message: str, reported: str) -> None:
    script = run()
    (script.fake / "fail").write_text(message)

    script.request("a1")
    state = script.wait_for("id=a1 ")

    assert state.startswith("id=a1 status=failed seconds=")
    assert state.partition(" error=")[2] == reported
    assert script.is_writable()


@pytest.mark.parametrize(
    "version", ["docker/distribution 2.8.3+unknown", "distribution/distribution/v3 v3.0.0-alpha.1"]
)
def test_script_keeps_untagged_images_if_collector_would_delete_children(run: Run, version: str) -> None:
    script = run()
    (script.fake / "version").write_text(f"registry github.com/{version}")

    script.request("a1")
    script.wait_for("id=a1 ")

    assert (script.fake / "collected").read_text() == "garbage-collect\n"


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_script_removes_files_that_collector_cannot_read(run: Run, shell: list[str]) -> None:
    script = run(shell=shell)
    root = script.blobs.parent
    kept = [root / "repositories/team/app.tmp/_manifests/tags/1/current/link", script.blobs / "sha256/ab/data"]
    removed = [script.blobs / "sha256/ab/data.0.tmp", root / "repositories/team/app.tmp/_manifests/tags/2/link"]
    for path in (*kept, *removed):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("sha256:ab" if path in kept else "")

    script.request("a1")
    script.wait_for("id=a1 ")

    assert [path.exists() for path in (*kept, *removed)] == [True, True, False, False]
    # The collector fails without this folder.
    assert (root / "repositories/team/app.tmp/_layers").is_dir()


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_script_rejects_collection_that_would_delete_blobs_in_use(run: Run, shell: list[str]) -> None:
    script = run(shell=shell)
    layers = script.blobs.parent / "repositories/team/app/_layers"
    for name in (f"sha256/{'a' * 64}", f"sha512/{'b' * 128}"):
        (layers / name).mkdir(parents=True)
        (layers / name / "link").write_text("sha256:ab")

    script.request("a1")
    error = script.wait_for("id=a1 ").partition(" error=")[2]

    assert error.startswith("repository team/app has blob sha512:bbbbbbbbbbbb, and the collector deletes")
    assert not (script.fake / "collected").exists()
    shutil.rmtree(layers / "sha512")
    script.request("a2")
    assert "status=done" in script.wait_for("id=a2 ")


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize("collecting", [False, True])
def test_script_ends_with_all_processes_after_sigterm(run: Run, shell: list[str], collecting: bool) -> None:
    script = run(shell=shell)
    if collecting:
        hold(script)
    assert script.process is not None

    script.process.send_signal(signal.SIGTERM)

    assert script.process.wait(10) == 0
    assert not script.is_alive()


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_script_ends_if_port_is_in_use(tmp_path: Path, shell: list[str]) -> None:
    script = RegistryScript(tmp_path / "run", shell=shell)
    with socket.create_server(("127.0.0.1", script.port)):
        script.start()
        assert script.process is not None

        assert script.process.wait(10) == 1


def test_script_of_other_pod_serves_read_only(run: Run) -> None:
    script = run(pod="k8scr-10")
    script.request("a1")

    assert script.state() == "reader"
    assert not script.is_writable()
    with pytest.raises(AssertionError):
        wait_until((script.fake / "collected").exists, "the collector runs", 0.5)


def test_script_skips_request_if_state_is_lost(run: Run) -> None:
    script = run()
    script.request("a1")
    script.wait_for("id=a1 ")
    script.kill()
    shutil.rmtree(script.folder / "state")
    (script.folder / "state").mkdir()

    script.start()

    assert script.wait_for("id=a1 ") == "id=a1 status=skipped"
