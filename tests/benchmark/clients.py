# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients that others wrote: over ``kubectl port-forward``, and the seed's through the API server."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

from cluster import layout

from .measure import Measured, measure
from .registry import Registry, the_seeds
from .way import Way
from .works import DOCKER_NAME, Source, Work, destinations

Words = list[str]
Command = Callable[[str, Source, str], Words]
"""The words of a command, from the registry's address, an image outside of it and the image's name in it."""


def _program(name: str) -> str:
    return str(layout.BIN / name)


def crane_push(address: str, source: Source, name: str) -> Words:
    """``crane push``, of a layout or a Docker archive."""
    return [_program("crane"), "push", "--insecure", source.place, f"{address}/{name}"]


def crane_pull(address: str, destination: Source, name: str) -> Words:
    """``crane pull``, into a layout or a Docker archive."""
    form = "oci" if destination.transport == "oci" else "tarball"
    return [_program("crane"), "pull", "--insecure", f"--format={form}", f"{address}/{name}", destination.place]


def regctl_push(address: str, source: Source, name: str) -> Words:
    """``regctl image copy``, of a layout."""
    return [*_regctl(address), "copy", f"ocidir://{source.place}@{source.digest}", f"{address}/{name}"]


def regctl_pull(address: str, destination: Source, name: str) -> Words:
    """``regctl image copy``, into a layout."""
    return [*_regctl(address), "copy", f"{address}/{name}", f"ocidir://{destination.place}:1"]


def _regctl(address: str) -> Words:
    return [_program("regctl"), f"--host=reg={address},tls=disabled", "image"]


def oras_push(address: str, source: Source, name: str) -> Words:
    """``oras cp``, of a layout."""
    image = f"{source.place}@{source.digest}"
    return [_program("oras"), "cp", "--from-oci-layout", image, "--to-plain-http", f"{address}/{name}"]


def oras_pull(address: str, destination: Source, name: str) -> Words:
    """``oras cp``, into a layout."""
    image = f"{destination.place}:1"
    return [_program("oras"), "cp", "--from-plain-http", f"{address}/{name}", "--to-oci-layout", image]


def skopeo_push(address: str, source: Source, name: str) -> Words:
    """``skopeo copy``, which compresses what is not, except where digests are to be kept."""
    options = ["--dest-tls-verify=false", *_form("src", source)]
    return [*_skopeo(), *options, source.reference, f"docker://{address}/{name}"]


def skopeo_pull(address: str, destination: Source, name: str) -> Words:
    """``skopeo copy``, the other way."""
    options = ["--src-tls-verify=false", *_form("dest", destination)]
    named = destination.transport == "docker-archive"
    place = f"{destination.reference}:{DOCKER_NAME}" if named else destination.reference
    return [*_skopeo(), *options, f"docker://{address}/{name}", place]


def skopeo_pull_as_it_comes(address: str, destination: Source, name: str) -> Words:
    """``skopeo copy`` without an option, which compresses the layers of a layout, so that digests change."""
    return [word for word in skopeo_pull(address, destination, name) if word != "--preserve-digests"]


def _skopeo() -> Words:
    return ["skopeo", "--insecure-policy", "copy"]


def _form(side: str, image: Source) -> Words:
    """What is to be said of the form that an image has outside of the registry."""
    if image.engine:
        return [f"--{side}-daemon-host={image.engine}"]
    return ["--preserve-digests"] if image.transport == "oci" else []


def forwarded_push(command: Command) -> Way:
    """A push by a client that knows nothing of the API server, over a port-forward that is there already."""

    def act(registry: Registry, work: Work, names: Sequence[str], _folder: Path) -> Measured:
        return _forwarded(registry, command, zip(work.sources, names))

    return act


def forwarded_pull(command: Command) -> Way:
    """A pull by such a client."""

    def act(registry: Registry, work: Work, names: Sequence[str], folder: Path) -> Measured:
        return _forwarded(registry, command, zip(destinations(work, folder), names))

    return act


def _forwarded(registry: Registry, command: Command, images: Iterable[tuple[Source, str]]) -> Measured:
    with registry.forwarded() as tunnel:
        script = _script(command(tunnel.address, *image) for image in images)
        more = {"registry": registry.pids}
        return measure(script, beside=[tunnel.pid], more=more).measured


def seed_push(program: str) -> Way:
    """A push by the seed's method, which begins anew for each image.

    Args:
        program: Which of its programs: ``seed`` has a registry of its own.
    """

    def act(registry: Registry, work: Work, names: Sequence[str], _folder: Path) -> Measured:
        pairs = zip(work.sources, names)
        return _seed(program, registry, work, names, [["push", source.reference, name] for source, name in pairs])

    return act


def seed_pull(program: str) -> Way:
    """A pull by the seed's method."""

    def act(registry: Registry, work: Work, names: Sequence[str], folder: Path) -> Measured:
        pairs = zip(destinations(work, folder), names)
        return _seed(program, registry, work, names, [["pull", name, place.reference] for place, name in pairs])

    return act


def _seed(program: str, registry: Registry, work: Work, names: Sequence[str], actions: Iterable[Words]) -> Measured:
    with the_seeds(registry, names) if program == "seed" else nullcontext(registry) as used:
        environment = {"SEED_PROXY": used.proxy, "KUBECONFIG": str(used.kubeconfig)}
        if work.engine:
            environment["DOCKER_HOST"] = work.engine
        script = _script([_program(program), *action] for action in actions)
        return measure(script, more={"registry": used.pids}, environment=environment).measured


def _script(commands: Iterable[Words]) -> Words:
    """One command for all of them, one after the other."""
    return ["sh", "-ec", "\n".join(map(shlex.join, commands))]
