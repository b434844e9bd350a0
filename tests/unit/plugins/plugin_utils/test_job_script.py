# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.job_script import JobScript, Output

Run = Callable[..., Output]
NAME = "k8scr-0123456789abcdef"


@pytest.fixture
def run() -> Run:
    """Runs a script with the shell of this machine, and reads its output."""
    return partial(_run, Path("/bin/sh"), dict(os.environ))


@pytest.fixture(params=["sh", "busybox"])
def run_with(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> Run:
    """Runs a script with the shell of this machine or with BusyBox alone, and reads its output."""
    if request.param == "sh":
        return run
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("BusyBox is not installed")
    programs = tmp_path / "bin"
    programs.mkdir()
    subprocess.run([busybox, "--install", "-s", programs], check=True)
    return partial(_run, programs / "sh", {"PATH": str(programs)})


def _run(shell: Path, environment: dict[str, str], script: str, data: bytes = b"") -> Output:
    command = [str(shell), "-c", script.replace("/bin/sh", str(shell))]
    result = subprocess.run(command, input=data, capture_output=True, env=environment, timeout=30, check=False)
    assert not result.stderr
    output = JobScript("", NAME).read(result.stdout.decode())
    assert output
    return output


@pytest.fixture
def job(tmp_path: Path) -> JobScript:
    return JobScript(f"{tmp_path}/it's a folder", NAME)


def _started(run: Run, job: JobScript, command: str) -> Output:
    """The output of a script that starts a command, which must write progress and run longer than a second."""
    output = run(job.start(f"echo a line that is longer than the first >{job.progress_path}; {command}", 0))
    assert output.state == "running"
    return output


def test_job_returns_outputs_and_exit_code_and_leaves_no_files(run_with: Run, job: JobScript) -> None:
    output = run_with(job.start('cat; echo "it\'s" >&2; (exit 3)', 5), b"input")

    assert output == Output("done", exit_code=3, out="input", err="it's\n", is_removed=True)
    assert not list(Path(job.folder).iterdir())


def test_job_is_followed_until_its_end_if_it_takes_longer(run_with: Run, job: JobScript) -> None:
    first = _started(run_with, job, f"sleep 1.5; echo more >>{job.progress_path}; echo result")

    last = run_with(job.follow(first.count))

    assert first.progress == b"a line that is longer than the first\n"
    assert (last.state, last.progress, last.out) == ("done", b"more\n", "result\n")
    run_with(job.remove())
    assert not list(Path(job.folder).iterdir())


def test_job_shows_progress_soon_if_sleep_takes_whole_seconds_only(job: JobScript, tmp_path: Path) -> None:
    sleep = tmp_path / "sleep"
    sleep.write_text(f'#!/bin/sh\ncase $1 in *.*) exit 1; esac\nexec {shutil.which("sleep")} "$1"\n')
    sleep.chmod(0o755)
    run = partial(_run, Path("/bin/sh"), {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})

    begin = time.monotonic()
    _started(run, job, "sleep 987")
    seconds = time.monotonic() - begin

    run(job.stop())
    assert seconds < 8


def test_job_stop_ends_all_processes(run_with: Run, job: JobScript, tmp_path: Path) -> None:
    _started(run_with, job, f"setsid sleep 987 & echo $! >{tmp_path}/child; sleep 987")
    group = int(Path(job.folder, NAME, "run", "pid").read_text("ascii"))
    child = int((tmp_path / "child").read_text("ascii"))

    run_with(job.stop())

    for process in (group, child):
        assert not _is_running(process)
    assert not list(Path(job.folder).iterdir())


def test_job_stop_lets_processes_end_by_themselves(run_with: Run, job: JobScript, tmp_path: Path) -> None:
    _started(run_with, job, f"trap 'sleep 0.5; touch {tmp_path}/saved; exit' TERM; while true; do sleep 0.1; done")

    run_with(job.stop())

    assert (tmp_path / "saved").exists()


def test_job_is_dead_after_kill(run: Run, job: JobScript) -> None:
    first = _started(run, job, "sleep 987")
    group = int(Path(job.folder, NAME, "run", "pid").read_text("ascii"))
    os.killpg(group, signal.SIGKILL)
    while _is_running(group):
        time.sleep(0.01)

    output = run(job.follow(first.count))

    assert output.state == "dead"


@pytest.mark.parametrize("end", [JobScript.stop, lambda job: job.follow(0, may_not_run=True)], ids=["stop", "follow"])
def test_job_does_not_start_late_after_lost_connection(
    run: Run, job: JobScript, tmp_path: Path, end: Callable[[JobScript], str]
) -> None:
    command = ["/bin/sh", "-c", job.start(f"touch {tmp_path}/ran", 5)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as start:
        while not Path(job.folder, NAME, "in").exists():
            time.sleep(0.01)
        output = run(end(job))
        printed, _error = start.communicate(b"input")

    assert output.state in ("stopped", "missing")
    assert b"done" not in printed
    assert not (tmp_path / "ran").exists()


def test_job_uses_home_folder_with_spaces(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}

    output = _run(Path("/bin/sh"), environment, JobScript("~/a folder", NAME).start("true", 0))

    assert output.state == "done"
    assert (tmp_path / "a folder").is_dir()


def test_job_removes_only_folders_of_old_jobs(run: Run, job: JobScript) -> None:
    old, other = Path(job.folder, f"k8scr-{'0a' * 16}"), Path(job.folder, "k8scr-images")
    for folder in (old, other):
        folder.mkdir(parents=True)
        os.utime(folder, (0, 0))

    run(job.start("true", 0))

    assert list(Path(job.folder).iterdir()) == [other]


def test_script_is_one_line_for_csh_as_login_shell(job: JobScript) -> None:
    scripts = [job.start("exit 0", 0), job.follow(0), job.stop(), job.remove()]

    assert not [script for script in scripts if "\n" in script]


def test_job_is_refused_if_folder_is_not_writable(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    output = run(JobScript(f"{tmp_path}/file", NAME).start("exit 0", 0))

    assert output.state == "refused"
    assert f"{tmp_path}/file" in output.reason


def test_job_does_not_run_with_incomplete_input(run: Run, job: JobScript) -> None:
    output = run(job.start("exit 0", 5), b"inp")

    assert output == Output("refused", reason="the module did not arrive completely")


def test_output_is_incomplete_without_its_end(job: JobScript) -> None:
    text = f"\n{NAME} progress 0\n\n{NAME} state done 0\n\n{NAME} out\nresu"

    assert job.read(text) is None


def test_output_is_read_from_terminal_with_other_lines(job: JobScript) -> None:
    text = f"Last login\r\n\r\n{NAME} progress 5\r\nmore\r\n\r\n{NAME} state running\r\n"

    assert job.read(text) == Output("running", progress=b"more\n", count=5)


def _is_running(process: int) -> bool:
    try:
        return " Z" not in Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2][:2]
    except FileNotFoundError:
        return False
