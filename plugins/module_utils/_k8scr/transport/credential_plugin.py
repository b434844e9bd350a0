# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the credential plugins of kubeconfigs (client-go credential plugins, ``client.authentication.k8s.io``).

A plugin that waits for a login would block a task silently. So it has a time limit, no terminal and no input, and its
last output is part of the error.
"""

from __future__ import annotations

import base64
import json
import os
import re
import selectors
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ..errors import ClusterError
from ..files.file_access import read_small
from ..files.process_group import process_group
from ..oci.timestamp import parse_timestamp
from ..redaction import HIDDEN, without_passwords

TIMEOUT = 60.0
"""Seconds until a plugin is killed. Getting a token without a login takes a few seconds, on slow networks up to 30."""
_INTERVAL = 0.05
"""Seconds between checks whether a plugin exited while a child process keeps its output open."""
_MAXIMUM_OUTPUT = 1 << 20
"""Bytes of a response; certificates have a few KiB."""
_SHOWN = 1000
"""Characters of a plugin's last output in messages."""
_BLOCK = 1 << 16
_EXTENSION = "client.authentication.k8s.io/exec"
_CLUSTER_FIELDS = (
    *("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url"),
    "disable-compression",
)
_LOG_IN = (
    "Log in on the host that runs the module, as the user of the task, before the task runs; or use a token or a "
    "client certificate"
)
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TOKEN = re.compile(r"\beyJ[\w-]+\.[\w.-]+|(?<=[Bb]earer )\S+|(?<=_token=)[^\s&]+|(?<=[Tt]oken\": \")[^\"]+")
"""JSON Web Tokens, and tokens in headers, URLs and JSON."""


@dataclass(frozen=True)
class Credential:
    """A credential from a plugin.

    Attributes:
        certificate: A client certificate in PEM format, with its ``key``.
        expires_at: When the token expires, in seconds since 1970; None if it is not known.
    """

    token: str | None = field(repr=False)
    certificate: str | None
    key: str | None = field(repr=False)
    expires_at: float | None


def run_plugin(plugin: Mapping[str, Any], cluster: Mapping[str, Any]) -> Credential:
    """Run a credential plugin and return its credential.

    Args:
        plugin: The field ``exec`` of a user.
        cluster: The cluster of the context.

    Raises:
        ClusterError: The plugin failed or exceeded the time limit. The message is only the reason, with the plugin's
            last output. Secrets of the kubeconfig may be part of it; the caller must redact them.
        OSError: The CA file of the cluster cannot be read.
    """
    command, version = plugin.get("command"), plugin.get("apiVersion")
    if not command or not isinstance(command, str) or not isinstance(version, str):
        raise ClusterError("command or apiVersion is missing", "Set both in the kubeconfig")
    if plugin.get("interactiveMode") == "Always":
        raise ClusterError("it needs a terminal (interactiveMode: Always), and modules have none", _LOG_IN)
    arguments = [command, *(str(argument) for argument in plugin.get("args") or [])]
    environment = _environment(plugin, cluster)
    try:
        output, messages = _run(arguments, environment)
    except FileNotFoundError as error:
        hint = f". {plugin['installHint']}" if plugin.get("installHint") else ""
        raise ClusterError(f"{error.strerror}", f"Install it on the host that runs the module{hint}") from None
    except (OSError, ValueError) as error:
        raise ClusterError(f"it cannot be started: {getattr(error, 'strerror', None) or error}") from None
    try:
        return _credential(output, version)
    except ClusterError as error:
        raise error.replace(f"{error.message}{_quoted(messages)}") from None


def _environment(plugin: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, str]:
    spec: dict[str, Any] = {"interactive": False}
    if plugin.get("provideClusterInfo") is True:
        spec["cluster"] = _cluster_info(cluster)
    info = {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": spec}
    variables = [entry for entry in plugin.get("env") or [] if isinstance(entry, Mapping) and entry.get("name")]
    return {
        **os.environ,
        **{str(entry["name"]): str(entry.get("value") or "") for entry in variables},
        "KUBERNETES_EXEC_INFO": json.dumps(info),
    }


def _cluster_info(cluster: Mapping[str, Any]) -> dict[str, Any]:
    info = {name: cluster[name] for name in _CLUSTER_FIELDS if cluster.get(name)}
    if cluster.get("certificate-authority") and "certificate-authority-data" not in info:
        content = read_small(cluster["certificate-authority"])
        info["certificate-authority-data"] = base64.b64encode(content).decode("ascii")
    for extension in cluster.get("extensions") or []:
        if isinstance(extension, Mapping) and extension.get("name") == _EXTENSION:
            info["config"] = extension.get("extension")
    return info


def _run(arguments: list[str], environment: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Run a command and return its output and the end of its error output.

    Processes that it leaves in the background continue, and may keep its output open.
    """
    begin = time.monotonic()
    output, messages = bytearray(), bytearray()
    started = process_group(arguments, subprocess.PIPE, subprocess.PIPE, environment)
    with started as process, selectors.DefaultSelector() as selector:
        for stream, content in ((process.stdout, output), (process.stderr, messages)):
            if stream is not None:  # always, but the type does not say so
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, content)
        exited = False
        while not exited:
            # What a process wrote before its exit is in the pipe then.
            exited = process.poll() is not None
            for key, _events in selector.select(0 if exited else _INTERVAL):
                if not _read(key.fd, key.data):
                    selector.unregister(key.fileobj)
            del messages[: -4 * _SHOWN]
            if len(output) > _MAXIMUM_OUTPUT:
                raise ClusterError(f"its response has more than {_MAXIMUM_OUTPUT >> 20} MiB")
            if not exited and time.monotonic() - begin > TIMEOUT:
                raise ClusterError(f"it did not finish within {TIMEOUT:g} s{_quoted(messages)}", _LOG_IN)
    if process.returncode:
        status = process.returncode
        ended = f"it exited with {status}" if status > 0 else f"it was ended by signal {-status}"
        _fail(f"{ended}{_quoted(messages)}")
    return bytes(output), bytes(messages)


def _read(descriptor: int, content: bytearray) -> bool:
    """Add the available output to the content; return False at its end. The size of a pipe limits one call."""
    try:
        block = os.read(descriptor, _BLOCK)
    except BlockingIOError:
        return True
    content += block
    return bool(block)


def _quoted(messages: bytes | bytearray) -> str:
    """Return a plugin's last output for a message, without tokens; empty if there is none."""
    text = _ESCAPE_SEQUENCE.sub("", messages.decode("utf-8", "replace"))
    text = " ".join(_TOKEN.sub(HIDDEN, str(without_passwords(text))).split()).rstrip(".")
    return f". Its last output: {text[-_SHOWN:]}" if text else ""


def _fail(reason: str) -> NoReturn:
    raise ClusterError(reason, "Run it manually to see what it needs, for example a login")


def _credential(output: bytes, version: str) -> Credential:
    try:
        response = json.loads(output)
    except (ValueError, RecursionError):
        _fail("its response is not JSON")
    status = response.get("status") if isinstance(response, dict) else None
    if not isinstance(status, dict) or response.get("kind") != "ExecCredential":
        _fail("its response is not an ExecCredential with a status")
    if response.get("apiVersion") != version:
        _fail(f"its response has the version {response.get('apiVersion')} instead of {version}")
    token, certificate, key = (status.get(name) or None for name in ("token", "clientCertificateData", "clientKeyData"))
    if not all(value is None or isinstance(value, str) for value in (token, certificate, key)):
        _fail("its response has a token, a certificate or a key that is not text")
    if (certificate is None) != (key is None) or (token is None and certificate is None):
        _fail("it returned neither a token nor a certificate with a key")
    return Credential(token, certificate, key, parse_timestamp(status.get("expirationTimestamp")))
