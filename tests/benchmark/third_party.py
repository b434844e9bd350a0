# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Third-party clients: over ``kubectl port-forward``, and the kubectl plugin through the API server."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

from cluster import layout

from .client import Client
from .measure import Measurement, measure
from .registry import Registry, plugin_registry
from .workloads import DOCKER_NAME, Source, Workload, destinations

Arguments = list[str]
Command = Callable[[str, Source, str], Arguments]
"""Builds a command line. Arguments: the registry's address, the source or destination, the image's name."""


def _program(name: str) -> str:
    return str(layout.BIN / name)


def crane_push(address: str, source: Source, name: str) -> Arguments:
    """Return ``crane push`` of a layout or a Docker archive."""
    return [_program("crane"), "push", "--insecure", source.location, f"{address}/{name}"]


def crane_pull(address: str, destination: Source, name: str) -> Arguments:
    """Return ``crane pull`` into a layout or a Docker archive."""
    form = "oci" if destination.transport == "oci" else "tarball"
    return [_program("crane"), "pull", "--insecure", f"--format={form}", f"{address}/{name}", destination.location]


def regctl_push(address: str, source: Source, name: str) -> Arguments:
    """Return ``regctl image copy`` from a layout."""
    return [*_regctl(address), "copy", f"ocidir://{source.location}@{source.digest}", f"{address}/{name}"]


def regctl_pull(address: str, destination: Source, name: str) -> Arguments:
    """Return ``regctl image copy`` into a layout."""
    return [*_regctl(address), "copy", f"{address}/{name}", f"ocidir://{destination.location}:1"]


def _regctl(address: str) -> Arguments:
    return [_program("regctl"), f"--host=reg={address},tls=disabled", "image"]


def oras_push(address: str, source: Source, name: str) -> Arguments:
    """Return ``oras cp`` from a layout."""
    image = f"{source.location}@{source.digest}"
    return [_program("oras"), "cp", "--from-oci-layout", image, "--to-plain-http", f"{address}/{name}"]


def oras_pull(address: str, destination: Source, name: str) -> Arguments:
    """Return ``oras cp`` into a layout."""
    image = f"{destination.location}:1"
    return [_program("oras"), "cp", "--from-plain-http", f"{address}/{name}", "--to-oci-layout", image]


def skopeo_push(address: str, source: Source, name: str) -> Arguments:
    """Return ``skopeo copy`` to the registry. It compresses uncompressed layers, except with ``--preserve-digests``."""
    options = ["--dest-tls-verify=false", *_options("src", source)]
    return [*_skopeo(), *options, source.reference, f"docker://{address}/{name}"]


def skopeo_pull(address: str, destination: Source, name: str) -> Arguments:
    """Return ``skopeo copy`` from the registry."""
    options = ["--src-tls-verify=false", *_options("dest", destination)]
    named = destination.transport == "docker-archive"
    target = f"{destination.reference}:{DOCKER_NAME}" if named else destination.reference
    return [*_skopeo(), *options, f"docker://{address}/{name}", target]


def skopeo_pull_recompressed(address: str, destination: Source, name: str) -> Arguments:
    """Return ``skopeo copy`` with its defaults: it recompresses the layers of a layout, so digests change."""
    return [word for word in skopeo_pull(address, destination, name) if word != "--preserve-digests"]


def _skopeo() -> Arguments:
    return ["skopeo", "--insecure-policy", "copy"]


def _options(side: str, image: Source) -> Arguments:
    """Return the options for the image outside the registry."""
    if image.engine:
        return [f"--{side}-daemon-host={image.engine}"]
    return ["--preserve-digests"] if image.transport == "oci" else []


def forwarded_push(command: Command) -> Client:
    """Return a push over ``kubectl port-forward``, which is started before the measurement."""

    def run(registry: Registry, workload: Workload, names: Sequence[str], _folder: Path) -> Measurement:
        return _forwarded(registry, command, zip(workload.sources, names))

    return run


def forwarded_pull(command: Command) -> Client:
    """Return a pull over ``kubectl port-forward``, which is started before the measurement."""

    def run(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
        return _forwarded(registry, command, zip(destinations(workload, folder), names))

    return run


def _forwarded(registry: Registry, command: Command, images: Iterable[tuple[Source, str]]) -> Measurement:
    with registry.forwarded() as tunnel:
        script = _script(command(tunnel.address, *image) for image in images)
        components = {"registry": registry.pids}
        return measure(script, helpers=[tunnel.pid], components=components).measured


def plugin_push(program: str) -> Client:
    """Return a push with the kubectl plugin's method, one process per image.

    Args:
        program: ``seed``, which uses the plugin's registry, or ``seed-today``.
    """

    def run(registry: Registry, workload: Workload, names: Sequence[str], _folder: Path) -> Measurement:
        pairs = zip(workload.sources, names)
        return _plugin(program, registry, workload, names, [["push", source.reference, name] for source, name in pairs])

    return run


def plugin_pull(program: str) -> Client:
    """Return a pull with the kubectl plugin's method, one process per image.

    Args:
        program: ``seed``, which uses the plugin's registry, or ``seed-today``.
    """

    def run(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
        pairs = zip(destinations(workload, folder), names)
        return _plugin(program, registry, workload, names, [["pull", name, to.reference] for to, name in pairs])

    return run


def _plugin(
    program: str, registry: Registry, workload: Workload, names: Sequence[str], actions: Iterable[Arguments]
) -> Measurement:
    with plugin_registry(registry, names) if program == "seed" else nullcontext(registry) as used:
        environment = {"SEED_PROXY": used.proxy, "KUBECONFIG": str(used.kubeconfig)}
        if workload.engine:
            environment["DOCKER_HOST"] = workload.engine
        script = _script([_program(program), *action] for action in actions)
        return measure(script, components={"registry": used.pids}, environment=environment).measured


def _script(commands: Iterable[Arguments]) -> Arguments:
    """Return one command that runs all commands in order."""
    return ["sh", "-ec", "\n".join(map(shlex.join, commands))]
