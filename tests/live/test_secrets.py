# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets do not appear in Ansible's output or log, even at the highest verbosity."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import images
import pytest
import yaml
from cluster import layout

from .image_tasks import push_entry

API_KEY = "canary-of-the-api-key-5d1e"
PASSWORD = "canary-of-the-password-93c0"
TOKEN = "canary-of-the-kubeconfig-71fa"
PROXY_PASSWORD = "canary-of-the-proxy-c2b8"
PROXY = f"http://someone:{PROXY_PASSWORD}@127.0.0.1:1"
CA = str(layout.PKI / "ca.crt")


def kubeconfig() -> dict[str, Any]:
    """Return the administrator's kubeconfig as a dictionary, with a token besides the client certificate."""
    loaded: dict[str, Any] = yaml.safe_load(layout.KUBECONFIG.read_text())
    loaded["users"][0]["user"]["token"] = TOKEN
    return loaded


def invalid_key() -> dict[str, Any]:
    """Return the same kubeconfig with an invalid client key."""
    loaded = kubeconfig()
    loaded["users"][0]["user"]["client-key-data"] = "Y2FuYXJ5LW9mLWEta2V5LTRlMmY="
    return loaded


def failing_options(case: str) -> dict[str, Any]:
    """Return the options of a push that fails."""
    server = {"host": layout.API_URL, "ca_cert": CA}
    cases: dict[str, dict[str, Any]] = {
        "api_key": {**server, "api_key": API_KEY},
        "password": {**server, "username": "someone", "password": PASSWORD},
        "proxy": {"kubeconfig": kubeconfig(), "proxy": PROXY, "retry_timeout": 1},
        "key": {"kubeconfig": invalid_key()},
        "port": {"kubeconfig": kubeconfig(), "registry_port": 5999, "retry_timeout": 1},
    }
    return cases[case]


def run_playbook(folder: Path, repository: str, options: dict[str, Any], *flags: str) -> tuple[int, str]:
    """Push an image by a playbook at the highest verbosity.

    Returns:
        The exit status, and the output together with the log.
    """
    entry = push_entry(images.ensure("busybox"), repository)
    push = {"name": "Push", "k8scr.core.k8scr_push": {"images": [entry], **options}, "register": "pushed"}
    show = {"name": "Show the result", "ansible.builtin.debug": {"var": "pushed"}}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"block": [push], "always": [show]}]}
    (folder / "play.yml").write_text(json.dumps([play]))
    (folder / "log").touch()
    environment = {**os.environ, "ANSIBLE_LOG_PATH": str(folder / "log"), "ANSIBLE_NOCOLOR": "1"}
    # The results of modules include their options; before ansible-core 2.21 they always do.
    environment["ANSIBLE_INJECT_INVOCATION"] = "1"
    command = ["ansible-playbook", "-vvvv", *flags, str(folder / "play.yml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr + (folder / "log").read_text()


def assert_no_secrets(output: str) -> None:
    user = kubeconfig()["users"][0]["user"]
    secrets = [API_KEY, PASSWORD, TOKEN, PROXY_PASSWORD, user["client-key-data"], "Y2FuYXJ5LW9mLWEta2V5LTRlMmY="]
    assert [secret[:20] for secret in secrets if secret in output] == []
    assert "_state=" not in output
    assert "Bearer " not in output
    assert "PRIVATE KEY" not in output


@pytest.mark.parametrize("flags", [(), ("--check", "--diff")], ids=["run", "check"])
def test_successful_push_prints_no_secret(tmp_path: Path, repository: str, flags: tuple[str, ...]) -> None:
    options = {"kubeconfig": kubeconfig(), "proxy": PROXY, "no_proxy": "127.0.0.1"}

    status, output = run_playbook(tmp_path, repository, options, *flags)

    assert status == 0, output[-2000:]
    assert "changed=1" in output
    assert_no_secrets(output)


@pytest.mark.parametrize("flags", [(), ("--check", "--diff")], ids=["run", "check"])
@pytest.mark.parametrize("case", ["api_key", "password", "proxy", "key", "port"])
def test_failed_push_prints_no_secret(tmp_path: Path, repository: str, case: str, flags: tuple[str, ...]) -> None:
    status, output = run_playbook(tmp_path, repository, failing_options(case), *flags)

    assert status == 2, output[-2000:]
    assert "failed=1" in output
    assert_no_secrets(output)
