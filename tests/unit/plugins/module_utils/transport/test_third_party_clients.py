# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Third-party clients, unchanged, over the Pod proxy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.pod_proxy import PodProxyAdapter
from dxf import DXF
from oras.client import OrasClient
from unit.plugins.module_utils.transport.servers import Registry, Server

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Connect

CONTENT = b"a layer" * 1000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def registry(api_server: Server) -> Registry:
    """A registry in the Pod."""
    registry = Registry()
    api_server.reply(registry)
    return registry


@pytest.fixture
def adapter(cluster_of: Connect, options: dict[str, Any]) -> PodProxyAdapter:
    """The adapter for the registry."""
    return PodProxyAdapter(cluster_of(options).adapter, "k8scr", "k8scr-0", 5000)


@pytest.fixture
def dxf(adapter: PodProxyAdapter) -> Iterator[Any]:
    """A client of python-dxf for the repository team/api."""
    with DXF("registry.k8scr", "team/api", insecure=True) as client:
        client._sessions[0].mount("http://registry.k8scr/", adapter)
        yield client


@pytest.fixture
def oras(adapter: PodProxyAdapter) -> Iterator[Any]:
    """A client of oras."""
    client = OrasClient(hostname="registry.k8scr", insecure=True)
    client.session.mount("http://registry.k8scr/", adapter)
    yield client
    client.session.close()


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A file to push."""
    path = tmp_path / "layer.bin"
    path.write_bytes(CONTENT)
    return path


def test_dxf_pushes_and_pulls(registry: Registry, dxf: Any, layer: Path) -> None:
    dxf.push_blob(str(layer))
    dxf.set_alias("1.2", DIGEST)

    assert dxf.get_alias("1.2") == [DIGEST]
    assert b"".join(dxf.pull_blob(DIGEST)) == CONTENT


def test_dxf_reads_list_of_several_pages(registry: Registry, dxf: Any) -> None:
    registry.manifests = dict.fromkeys(("1", "2", "3"), ("text/plain", b""))

    assert dxf.list_aliases() == ["1", "2", "3"]


@pytest.mark.parametrize("do_chunked", [False, True])
def test_oras_pushes_and_pulls(registry: Registry, oras: Any, layer: Path, tmp_path: Path, do_chunked: bool) -> None:
    target = "registry.k8scr/team/api:1.2"

    oras.push(target=target, files=[str(layer)], disable_path_validation=True, do_chunked=do_chunked)
    (pulled,) = oras.pull(target=target, outdir=str(tmp_path / "pulled"))

    assert Path(pulled).read_bytes() == CONTENT


def test_oras_reads_list_of_several_pages(registry: Registry, oras: Any) -> None:
    registry.manifests = dict.fromkeys(("1", "2", "3"), ("text/plain", b""))

    assert oras.get_tags("registry.k8scr/team/api") == ["1", "2", "3"]
