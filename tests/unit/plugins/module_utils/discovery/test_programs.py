# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs run with limits, without network, and without secrets in messages."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.programs import (
    ProgramRun,
    find_program,
    run_program,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from unit.plugins.module_utils.support.processes import has_ended

RUN = ProgramRun(timeout=20, limit=1 << 20)


def shell(script: str, run: ProgramRun = RUN, online: bool = False) -> bytes:
    """Run a shell script and return its output."""
    return run_program(["/bin/sh", "-c", script], "it cannot be done", run, online)


def test_program_returns_output() -> None:
    assert shell("echo text; echo warning >&2") == b"text\n"


def test_program_that_fails_is_error_with_its_last_output() -> None:
    with pytest.raises(InputError, match=r"^it cannot be done: sh failed: line 1 line 2$"):
        shell("echo line 1 >&2; echo line 2 >&2; exit 3")


@pytest.mark.parametrize("line", ["fatal error: runtime: cannot allocate memory", "panic: index out of range"])
def test_program_that_crashes_is_error_without_stack_traces(line: str) -> None:
    with pytest.raises(InputError, match=f"^it cannot be done: sh failed: {line}$"):
        shell(f"printf 'a warning\n{line}\n\ngoroutine 1 [running]:\nmain.main()\n' >&2; exit 2")


def test_program_that_is_killed_is_error() -> None:
    with pytest.raises(InputError, match="sh was ended by signal 9"):
        shell("kill -9 $$")


def test_program_that_does_not_finish_is_killed_with_its_children(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(InputError, match="sh did not finish within 1 s"):
        shell(f"sleep 100 & echo $! > {tmp_path}/child; wait", ProgramRun(timeout=1, limit=1 << 20))
    assert time.monotonic() - begin < 10

    assert has_ended(tmp_path / "child")


@pytest.mark.parametrize("stream", [1, 2])
def test_program_that_prints_without_end_is_killed(stream: int) -> None:
    with pytest.raises(InputError, match="sh printed more than 1 MiB"):
        shell(f"exec cat /dev/zero >&{stream}")


def test_program_has_bounded_memory() -> None:
    with pytest.raises(InputError, match=r"failed|ended by signal"):
        run_program(["python3", "-c", "bytearray(3 << 30)"], "it cannot be done", RUN)


def test_program_is_offline_unless_it_downloads() -> None:
    proxy = "echo $HTTPS_PROXY $GIT_ALLOW_PROTOCOL"
    assert shell(proxy) == b"http://127.0.0.1:9 file\n"
    assert b"127.0.0.1:9" not in shell(proxy, online=True)


def test_messages_do_not_show_secrets() -> None:
    run = ProgramRun(timeout=20, limit=1 << 20, secrets=("pass", "password-1", "on"))
    with pytest.raises(InputError) as raised:
        shell("echo password-1 is not on https://me:word@host >&2; exit 1", run)
    assert raised.value.message.endswith("******** is not on https://********@host")


def test_missing_program_is_error_with_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError) as raised:
        find_program("helm", None, "Helm 3 or newer")
    assert str(raised.value) == (
        "the program helm is not in PATH on the host that runs the module. "
        "Install Helm 3 or newer, or set helm to its path."
    )


def test_program_is_found_by_path_before_path_variable() -> None:
    assert find_program("helm", "/bin/sh", "Helm") == "/bin/sh"
    with pytest.raises(InputError, match=r"/missing/helm is not a program"):
        find_program("helm", "/missing/helm", "Helm")


def test_program_that_is_no_executable_is_error(tmp_path: Path) -> None:
    path = tmp_path / "helm"
    path.write_text("text")
    path.chmod(0o755)
    if os.getuid():
        path.chmod(0o700)
    with pytest.raises(InputError, match="helm cannot be started"):
        run_program([str(path)], "it cannot be done", RUN)
