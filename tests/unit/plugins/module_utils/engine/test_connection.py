# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to engines over SSH and TCP."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine import client
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine.client import Engine
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine.connection import ssh_command
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine.context import EngineEndpoint, EngineTls
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import EngineError, InputError
from unit.plugins.module_utils.support.engine_server import EngineServer, Fault, classic
from unit.plugins.module_utils.support.images import Image

# The function of `docker system dial-stdio` on the other host: it connects its input and output to the engine's socket.
DIAL_STDIO = """\
#!{python}
import os, socket, sys, threading
open({words!r}, "w").write("\\n".join(sys.argv[1:]))
connection = socket.socket(socket.AF_UNIX)
connection.connect({socket!r})
def pump():
    while block := os.read(0, 65536):
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)
threading.Thread(target=pump, daemon=True).start()
while block := connection.recv(65536):
    os.write(1, block)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EngineServer]:
    """An engine without images."""
    with EngineServer(tmp_path).running() as running:
        yield running


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replaces ssh with a program."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    def install(program: str) -> None:
        (programs / "ssh").write_text(program)
        (programs / "ssh").chmod(0o755)

    return install


@pytest.fixture
def connect() -> Iterator[Callable[[EngineEndpoint], Engine]]:
    """Creates clients of engines, and closes them after the test."""
    engines: list[Engine] = []

    def run(endpoint: EngineEndpoint) -> Engine:
        engines.append(Engine(endpoint))
        return engines[-1]

    yield run
    for engine in engines:
        engine.close()


Connect = Callable[[EngineEndpoint], Engine]


def test_ssh_connection_runs_the_command_of_dockers_client(
    server: EngineServer, ssh: Callable[[str], None], connect: Connect, image: Image, tmp_path: Path
) -> None:
    server.add("app:1", classic(image))
    words = str(tmp_path / "words")
    ssh(DIAL_STDIO.format(python=sys.executable, words=words, socket=str(server.socket)))
    engine = connect(EngineEndpoint("ssh://admin@engine.example.com:2222"))

    found = engine.find("app:1")
    assert found is not None
    with engine.export(found.id) as blocks:
        exported = b"".join(bytes(block) for block in blocks)

    assert exported == server.images["app:1"].archive
    called = Path(words).read_text().split("\n")
    assert called[-9:] == ["-l", "admin", "-p", "2222", "--", "engine.example.com", "docker", "system", "dial-stdio"]


def test_ssh_error_message_is_reported(ssh: Callable[[str], None], connect: Connect) -> None:
    ssh("#!/bin/sh\necho 'Warning: banner' >&2\necho 'admin@engine: Permission denied (publickey).' >&2\nexit 255\n")

    with pytest.raises(EngineError, match=r"cannot be reached: admin@engine: Permission denied \(publickey\)"):
        connect(EngineEndpoint("ssh://admin@engine")).find("app:1")


def test_ssh_failure_without_message_is_reported(ssh: Callable[[str], None], connect: Connect) -> None:
    ssh("#!/bin/sh\nexit 1\n")

    with pytest.raises(EngineError, match="the connection to the Docker engine at ssh://engine failed"):
        connect(EngineEndpoint("ssh://engine")).find("app:1")


def test_missing_ssh_client_is_reported(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/no/such/folder")

    with pytest.raises(EngineError, match=r"ssh cannot be started: No such file or directory. Install OpenSSH"):
        connect(EngineEndpoint("ssh://engine")).find("app:1")


def test_path_of_ssh_address_is_the_remote_socket() -> None:
    command = ssh_command(urlsplit("ssh://engine/run/docker.sock"))

    assert command[-6:] == ["engine", "docker", "--host", "unix:///run/docker.sock", "system", "dial-stdio"]


def test_ssh_host_is_never_parsed_as_an_option() -> None:
    command = ssh_command(urlsplit("ssh://-oProxyCommand=evil"))

    assert command[command.index("--") + 1] == "-oproxycommand=evil"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "engine",
        "/run/docker.sock",
        "unix://",
        "unix://run/docker.sock",
        "tcp://",
        "tcp://engine:port",
        "tcp://engine:99999",
        "tcp://[::1",
        "ssh://",
        "ssh://admin:secret@engine",
        "http://engine",
        "npipe:////./pipe/docker_engine",
        "fd://",
    ],
)
def test_invalid_address_is_rejected_with_valid_forms(host: str) -> None:
    with pytest.raises(InputError, match=r"is not the address of an engine. Write unix:///SOCKET, tcp://HOST:PORT"):
        Engine(EngineEndpoint(host))


@pytest.mark.parametrize(
    "host",
    [
        "ssh://admin:secret@engine",
        "tcp://admin:secret@engine",
        "tcp://admin:se/secret@engine",
        "tcp://admin:se@secret@engine",
        "tcp://secret@engine",
        "admin:secret@engine",
    ],
)
def test_address_with_password_is_rejected_and_redacted(host: str) -> None:
    with pytest.raises(InputError, match=r"'.*\*{8}@engine' is not the address of an engine") as failure:
        Engine(EngineEndpoint(host))

    assert "secret" not in str(failure.value)


def test_unreachable_tcp_address_is_reported(connect: Connect) -> None:
    with pytest.raises(EngineError, match=r"at tcp://127.0.0.1:1 is not available: Connection refused"):
        connect(EngineEndpoint("tcp://127.0.0.1:1")).find("app:1")


@pytest.mark.parametrize("content", ["", "not PEM"])
def test_invalid_certificates_are_reported(tmp_path: Path, content: str) -> None:
    for file in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / file).write_text(content)
    tls = EngineTls(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")

    with pytest.raises(EngineError, match=f"the certificates in {tmp_path} cannot be used for TLS"):
        Engine(EngineEndpoint("tcp://engine", tls))


def test_slow_engine_is_reported(server: EngineServer, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SECONDS", 0.2)
    server.faults["GET", "/version"] = Fault(200, b"{", slow=True)

    with pytest.raises(EngineError, match=f"the Docker engine at {server.host} sent no complete response within"):
        connect(EngineEndpoint(server.host)).platform()


def test_socket_without_permission_is_reported(server: EngineServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, which can use all sockets; therefore the error is simulated.
    def refuse(*_words: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)

    with pytest.raises(EngineError, match=r"cannot be used by this user: permission denied.*become: true"):
        Engine(EngineEndpoint(server.host)).find("app:1")
