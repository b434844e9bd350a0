# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The progress of a module: it contains no secrets, and its failure does not fail the module."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import ClusterModule
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_settings import PUSH_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import (
    VARIABLE,
    Message,
    MessageReader,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import ImagePlan
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.progress_listener import (
    TransferProgress,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import ImageResult
from unit.plugins.module_utils.support.arguments import patch_module_args
from unit.plugins.module_utils.support.moved_clock import MovedClock
from unit.plugins.module_utils.support.shown_texts import ShownTexts

TOKEN, PASSWORD, KEY = "canary-token", "canary-token-of-registry", "canary-key"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The progress file of the module."""
    path = tmp_path / "progress"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


@pytest.fixture
def module(file: Path) -> Iterator[ClusterModule]:
    """A push with secrets in its options."""
    options = {
        "kubeconfig": {"users": [{"name": "me", "user": {"token": TOKEN}}]},
        "api_key": KEY,
        "images": [f"docker://me:{PASSWORD}@registry.example.com/app:1"],
    }
    with patch_module_args(options):
        yield ClusterModule(PUSH_ARGUMENT_SPEC)


def messages(file: Path) -> list[Message]:
    """Return the messages of a module."""
    return MessageReader().feed(file.read_bytes())


def test_progress_contains_no_secrets(module: ClusterModule, file: Path) -> None:
    clock, progress = MovedClock(), module.progress
    transfer = TransferProgress(progress, clock=clock)
    for number, secret in enumerate((TOKEN, PASSWORD, KEY, "https://me:canary@h/", "x" * 190 + TOKEN)):
        job = ImageJob(f"docker://me:{secret}@registry.example.com/app:{number}")
        transfer.phase_started(f"checking {secret}")
        transfer.retried(f"blob {number}", f"HTTP 401 for {secret} of {secret}")
        transfer.image_done(ImageResult(ImagePlan(job), error=RegistryError(f"denied: {secret}")))
        clock.seconds += 10
        with progress.status(transfer.status):
            pass
        progress.line(str(transfer.status()))
        transfer.recovered(f"blob {number}")

    assert len(messages(file)) >= 5
    assert "canary" not in file.read_text()


def test_long_text_is_cut_after_secrets_are_masked(module: ClusterModule, file: Path) -> None:
    progress = module.progress
    for length in range(480, 500):
        progress.line("x" * length + TOKEN)

    assert "c" not in "".join(message.text for message in messages(file))


def test_status_is_deleted_at_end_of_block(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ShownTexts(monkeypatch)

    with shown.progress.status(lambda: "copying"):
        shown.wait_for_last("copying")

    assert shown.texts == ["copying", ""]


def test_module_without_variable_reports_no_progress(module: ClusterModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    assert not module.progress.is_shown


def test_module_writes_no_file_for_name_of_job(
    module: ClusterModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "k8scr-0123456789abcdef")

    assert not module.progress.is_shown
    assert not list(tmp_path.iterdir())


def test_module_succeeds_with_one_warning_if_progress_cannot_be_written(
    module: ClusterModule, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(b"")
    module.progress.line("first")
    module.progress.line("second")

    with pytest.raises(SystemExit):
        module.run(lambda: {"changed": True})

    result = json.loads(capsys.readouterr().out)
    assert result["changed"]
    assert str(result["warnings"]).count("The progress of the task cannot be shown: File exists") == 1
