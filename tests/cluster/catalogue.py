# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which programs the cluster is made of: the only place that knows their versions."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

KUBERNETES = "1.37.2"
ETCD = "3.6.16"
CONTAINERD = "2.4.2"
DISTRIBUTION = "3.1.2"
GO_CONTAINERREGISTRY = "0.22.1"
REGCLIENT = "0.11.7"
ORAS = "1.3.6"
TOXIPROXY = "2.5.0"
VERSITYGW = "1.8.0"
PAUSE = "3.10"
# Changes with its source, so that a changed one is built anew.
SEED = "2"

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class Release:
    """Where a project publishes the program, and the SHA-256 of what it publishes."""

    url: str
    sums: str
    member: str | None = None
    """The program's path inside the archive at `url`; without it, `url` is the program."""


@dataclass(frozen=True)
class Program:
    """One program, and the three ways to come by it."""

    name: str
    version: str
    package: str
    """The Go package of its main function (or a folder beside this file, for our own)."""
    module: str
    """The Go module, with `version` as its version, that holds `package`."""
    versions: str = "go.mod"
    """The file in our own program's folder that says which modules it is built from."""
    stamp: str = ""
    """The Go variable that holds the version it reports (`v` before it)."""
    ask: tuple[str, ...] = ()
    """Arguments that make it say its version; without them only a named folder is trusted."""
    release: Release | None = None

    @property
    def local_source(self) -> Path | None:
        """Our own program's source folder."""
        return Path(__file__).parent / self.package if not self.module else None


def _kubernetes(name: str, *ask: str) -> Program:
    url = f"https://dl.k8s.io/release/v{KUBERNETES}/bin/linux/{ARCH}/{name}"
    return Program(
        name=name,
        version=KUBERNETES,
        package=f"k8s.io/kubernetes/cmd/{name}",
        module="k8s.io/kubernetes",
        ask=ask or ("--version",),
        release=Release(url, f"{url}.sha256"),
    )


def _containerd(name: str) -> Program:
    url = (
        f"https://github.com/containerd/containerd/releases/download/v{CONTAINERD}"
        f"/containerd-static-{CONTAINERD}-linux-{ARCH}.tar.gz"
    )
    module = "github.com/containerd/containerd/v2"
    return Program(
        name=name,
        version=CONTAINERD,
        package=f"{module}/cmd/{name}",
        module=module,
        stamp=f"{module}/version.Version",
        ask=("-v",) if name.startswith("containerd-shim") else ("--version",),
        release=Release(url, f"{url}.sha256sum", f"bin/{name}"),
    )


def _etcd() -> Program:
    url = f"https://github.com/etcd-io/etcd/releases/download/v{ETCD}"
    folder = f"etcd-v{ETCD}-linux-{ARCH}"
    return Program(
        name="etcd",
        version=ETCD,
        package="go.etcd.io/etcd/server/v3",
        module="go.etcd.io/etcd/server/v3",
        ask=("--version",),
        release=Release(f"{url}/{folder}.tar.gz", f"{url}/SHA256SUMS", f"{folder}/etcd"),
    )


def _registry() -> Program:
    url = (
        f"https://github.com/distribution/distribution/releases/download/v{DISTRIBUTION}"
        f"/registry_{DISTRIBUTION}_linux_{ARCH}.tar.gz"
    )
    module = "github.com/distribution/distribution/v3"
    return Program(
        name="registry",
        version=DISTRIBUTION,
        package=f"{module}/cmd/registry",
        module=module,
        stamp=f"{module}/version.version",
        ask=("--version",),
        release=Release(url, f"{url}.sha256", "registry"),
    )


def _crane() -> Program:
    url = f"https://github.com/google/go-containerregistry/releases/download/v{GO_CONTAINERREGISTRY}"
    archive = {"amd64": "x86_64"}.get(ARCH, ARCH)
    module = "github.com/google/go-containerregistry"
    return Program(
        name="crane",
        version=GO_CONTAINERREGISTRY,
        package=f"{module}/cmd/crane",
        module=module,
        stamp=f"{module}/cmd/crane/cmd.Version",
        ask=("version",),
        release=Release(f"{url}/go-containerregistry_Linux_{archive}.tar.gz", f"{url}/checksums.txt", "crane"),
    )


def _from_source(name: str, version: str, module: str, command: str) -> Program:
    return Program(name=name, version=version, package=f"{module}/{command}", module=module)


NEEDED = (
    # The slowest first, so that whoever watches knows the longest wait.
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    _kubernetes("kubectl", "version", "--client"),
    _etcd(),
    _containerd("containerd"),
    _containerd("containerd-shim-runc-v2"),
    _containerd("ctr"),
    _registry(),
    _crane(),
    Program(name="pause", version=PAUSE, package="pause", module=""),
)
ON_DEMAND = (
    _from_source("regctl", REGCLIENT, "github.com/regclient/regclient", "cmd/regctl"),
    _from_source("oras", ORAS, "oras.land/oras", "cmd/oras"),
    _from_source("toxiproxy", TOXIPROXY, "github.com/Shopify/toxiproxy/v2", "cmd/server"),
    _from_source("versitygw", VERSITYGW, "github.com/versity/versitygw", "cmd/versitygw"),
    Program(name="listing-registry", version=GO_CONTAINERREGISTRY, package="listing_registry", module=""),
    Program(name="seed", version=SEED, package="../benchmark/seed", module=""),
    Program(name="seed-today", version=SEED, package="../benchmark/seed", module="", versions="today.mod"),
)
PROGRAMS = {program.name: program for program in (*NEEDED, *ON_DEMAND)}
