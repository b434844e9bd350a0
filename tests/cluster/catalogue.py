# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of the cluster with their versions and sources; no other file names a version."""

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
HELM = "3.22.0"
TOXIPROXY = "2.5.0"
VERSITYGW = "1.8.0"
PAUSE = "3.10"
# Increase it with every change of the source: a cached program is rebuilt only for a new version.
SEED = "2"

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class Release:
    """The URLs of a published program and of its SHA-256 checksum."""

    url: str
    sums: str
    member: str | None = None
    """The program's path in the archive at `url`; None if `url` is the program itself."""


@dataclass(frozen=True)
class Program:
    """One program: its version, its Go package and its published release."""

    name: str
    version: str
    package: str
    """The Go package of the main function. For a program of this repository, a folder relative to this file."""
    module: str
    """The Go module that contains `package`, at `version`. Empty for a program of this repository."""
    module_file: str = "go.mod"
    """The file that lists the required modules of a program of this repository."""
    version_variable: str = ""
    """The Go variable that the build sets to the version, prefixed with `v`."""
    version_arguments: tuple[str, ...] = ()
    """Arguments that print the version. A program without them is not used from PATH."""
    release: Release | None = None

    @property
    def local_source(self) -> Path | None:
        """The source folder of a program of this repository."""
        return Path(__file__).parent / self.package if not self.module else None


def _kubernetes(name: str, *version_arguments: str) -> Program:
    url = f"https://dl.k8s.io/release/v{KUBERNETES}/bin/linux/{ARCH}/{name}"
    return Program(
        name=name,
        version=KUBERNETES,
        package=f"k8s.io/kubernetes/cmd/{name}",
        module="k8s.io/kubernetes",
        version_arguments=version_arguments or ("--version",),
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
        version_variable=f"{module}/version.Version",
        version_arguments=("-v",) if name.startswith("containerd-shim") else ("--version",),
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
        version_arguments=("--version",),
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
        version_variable=f"{module}/version.version",
        version_arguments=("--version",),
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
        version_variable=f"{module}/cmd/crane/cmd.Version",
        version_arguments=("version",),
        release=Release(f"{url}/go-containerregistry_Linux_{archive}.tar.gz", f"{url}/checksums.txt", "crane"),
    )


def _helm() -> Program:
    url = f"https://get.helm.sh/helm-v{HELM}-linux-{ARCH}.tar.gz"
    module = "helm.sh/helm/v3"
    return Program(
        name="helm",
        version=HELM,
        package=f"{module}/cmd/helm",
        module=module,
        version_variable=f"{module}/internal/version.version",
        version_arguments=("version", "--short"),
        release=Release(url, f"{url}.sha256sum", f"linux-{ARCH}/helm"),
    )


def _from_source(name: str, version: str, module: str, command: str) -> Program:
    return Program(name=name, version=version, package=f"{module}/{command}", module=module)


NEEDED = (
    # The slowest build comes first.
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
    _helm(),
    _from_source("toxiproxy", TOXIPROXY, "github.com/Shopify/toxiproxy/v2", "cmd/server"),
    _from_source("versitygw", VERSITYGW, "github.com/versity/versitygw", "cmd/versitygw"),
    Program(name="listing-registry", version=GO_CONTAINERREGISTRY, package="listing_registry", module=""),
    Program(name="seed", version=SEED, package="../benchmark/seed", module=""),
    Program(name="seed-today", version=SEED, package="../benchmark/seed", module="", module_file="today.mod"),
)
PROGRAMS = {program.name: program for program in (*NEEDED, *ON_DEMAND)}
