# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must stay secret is in nothing that Ansible shows, however much it is asked to say."""

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

API_KEY = "canary-of-the-api-key-5d1e"
PASSWORD = "canary-of-the-password-93c0"
TOKEN = "canary-of-the-kubeconfig-71fa"
PROXY_PASSWORD = "canary-of-the-proxy-c2b8"
PROXY = f"http://someone:{PROXY_PASSWORD}@127.0.0.1:1"
CA = str(layout.PKI / "ca.crt")


def kubeconfig() -> dict[str, Any]:
    """The administrator's, as a dictionary, with a token besides the client certificate that opens the door."""
    loaded: dict[str, Any] = yaml.safe_load(layout.KUBECONFIG.read_text())
    loaded["users"][0]["user"]["token"] = TOKEN
    return loaded


def wrong_key() -> dict[str, Any]:
    """The same with a key that is none."""
    loaded = kubeconfig()
    loaded["users"][0]["user"]["client-key-data"] = "Y2FuYXJ5LW9mLWEta2V5LTRlMmY="
    return loaded


def failing(case: str) -> dict[str, Any]:
    """The options of a push that fails."""
    server = {"host": layout.API_URL, "ca_cert": CA}
    cases: dict[str, dict[str, Any]] = {
        "api_key": {**server, "api_key": API_KEY},
        "password": {**server, "username": "someone", "password": PASSWORD},
        "proxy": {"kubeconfig": kubeconfig(), "proxy": PROXY, "retry_timeout": 1},
        "key": {"kubeconfig": wrong_key()},
        "port": {"kubeconfig": kubeconfig(), "registry_port": 5999, "retry_timeout": 1},
    }
    return cases[case]


def push(folder: Path, name: str, options: dict[str, Any], *flags: str) -> tuple[int, str]:
    """Push by a playbook, at the highest verbosity; the exit status and all that was shown come back."""
    source = {"source": f"oci:{images.ensure('busybox').layout}", "name": f"docker.io/{name}:1"}
    pushed = {"name": "Push", "k8scr.core.k8scr_push": {"images": [source], **options}}
    shown = {"name": "Show", "ansible.builtin.debug": {"var": "pushed"}}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"block": [{**pushed, "register": "pushed"}], "always": [shown]}],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    (folder / "log").touch()
    environment = {**os.environ, "ANSIBLE_LOG_PATH": str(folder / "log"), "ANSIBLE_NOCOLOR": "1"}
    # Releases of ansible-core before 2.21 always have a module return its options.
    environment["ANSIBLE_INJECT_INVOCATION"] = "1"
    command = ["ansible-playbook", "-vvvv", *flags, str(folder / "play.yml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr + (folder / "log").read_text()


def assert_keeps_secrets(shown: str) -> None:
    user = kubeconfig()["users"][0]["user"]
    secrets = [API_KEY, PASSWORD, TOKEN, PROXY_PASSWORD, user["client-key-data"], "Y2FuYXJ5LW9mLWEta2V5LTRlMmY="]
    assert [secret[:20] for secret in secrets if secret in shown] == []
    assert "_state=" not in shown
    assert "Bearer " not in shown
    assert "PRIVATE KEY" not in shown


@pytest.mark.parametrize("flags", [(), ("--check", "--diff")], ids=["run", "check"])
def test_a_push_that_works_shows_no_secret(tmp_path: Path, repository: str, flags: tuple[str, ...]) -> None:
    options = {"kubeconfig": kubeconfig(), "proxy": PROXY, "no_proxy": "127.0.0.1"}

    code, shown = push(tmp_path, repository, options, *flags)

    assert code == 0, shown[-2000:]
    assert "changed=1" in shown
    assert_keeps_secrets(shown)


@pytest.mark.parametrize("flags", [(), ("--check", "--diff")], ids=["run", "check"])
@pytest.mark.parametrize("case", ["api_key", "password", "proxy", "key", "port"])
def test_a_push_that_fails_shows_no_secret(tmp_path: Path, repository: str, case: str, flags: tuple[str, ...]) -> None:
    code, shown = push(tmp_path, repository, failing(case), *flags)

    assert code == 2, shown[-2000:]
    assert "failed=1" in shown
    assert_keeps_secrets(shown)
