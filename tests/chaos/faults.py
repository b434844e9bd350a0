# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The faults, one class for each. What is random in one is drawn when it is made."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import requests
from cluster import cluster

from . import look
from .cluster_registry import ClusterRegistry
from .middlebox import Exchange, Middlebox
from .running import Run
from .sources import Source
from .world import BOX, DIRECT, LINE, TOKENS, World

KIB = 1 << 10
MIB = 1 << 20


@dataclass
class Scene:
    """What a fault may lay hands on.

    Attributes:
        world: Where it happens.
        sources: The images that are pushed; none in a pull.
        repository: The repository of the first image.
        old: The digest that the tag had before, if there was one.
        start: Starts another run, at the same or at something else.
        run: The run that is under way.
        others: The runs that were started beside it.
        destroyed: Bytes that the registry had taken, and lost.
        spoilt: Bytes that are sent in vain.
    """

    world: World
    sources: list[Source]
    repository: str
    old: str | None
    start: Callable[[str], Run]
    run: Run = field(init=False)
    others: list[Run] = field(default_factory=list)
    destroyed: int = 0
    spoilt: int = 0


class Fault(ABC):
    """Something that goes wrong during a delivery.

    What it is, for people, is the first line of its class.

    Attributes:
        actions: The deliveries that it can happen to.
        named: What an error may say because of it (a regular expression); empty where the delivery must succeed.
        seconds: After how long it is over; None for the end of the delivery.
        front: The road to the API server that it needs.
        back: Whether it needs the proxy in front of the registry.
        in_cluster: Whether the registry must be one that the cluster runs.
        timeout: The module's option: longer than a busy machine needs, and shorter than a silence.
    """

    actions: tuple[str, ...] = ("push", "pull")
    named = ""
    seconds: float | None = None
    front = DIRECT
    back = False
    timeout = 15
    in_cluster = False

    def __init__(self, draw: random.Random) -> None:  # noqa: B027 - not every one has something random
        """Draw what is random in it."""

    @classmethod
    def what(cls) -> str:
        """What it is, for people."""
        return (cls.__doc__ or "").partition("\n")[0]

    @abstractmethod
    def strike(self, scene: Scene) -> None:
        """Happen."""

    def mend(self, scene: Scene) -> None:  # noqa: B027 - some are over at once
        """Be over."""


class ApiServerKilled(Fault):
    """API server killed and restarted"""

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.05, 1)

    def strike(self, scene: Scene) -> None:
        cluster.stop("kube-apiserver", signal.SIGKILL)

    def mend(self, scene: Scene) -> None:
        cluster.start("kube-apiserver")


class ControllerManagerGone(Fault):
    """Controller manager gone"""

    def strike(self, scene: Scene) -> None:
        cluster.stop("kube-controller-manager", signal.SIGKILL)

    def mend(self, scene: Scene) -> None:
        cluster.start("kube-controller-manager")


class PodOfTheClusterDeleted(Fault):
    """Pod of the cluster's own deleted, and made again by it"""

    in_cluster = True

    def strike(self, scene: Scene) -> None:
        scene.world.registry.stop()

    def mend(self, scene: Scene) -> None:
        scene.world.registry.start_if_stopped()


class ContainerdRestarted(Fault):
    """The node's containerd restarted"""

    in_cluster = True

    def strike(self, scene: Scene) -> None:
        assert isinstance(scene.world.registry, ClusterRegistry)
        name = f"containerd@{scene.world.registry.node}"
        cluster.stop(name, signal.SIGKILL)
        cluster.start(name)


class ApiServerAway(Fault):
    """API server gone for a while: connections cut, then refused"""

    front = LINE

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.1, 2)

    def strike(self, scene: Scene) -> None:
        scene.world.line.be_there(False)

    def mend(self, scene: Scene) -> None:
        scene.world.line.be_there(True)


class _OfALine(Fault):
    """A fault that toxiproxy has a name for."""

    front = LINE
    kind = ""

    def __init__(self, draw: random.Random) -> None:
        self.stream = draw.choice(["upstream", "downstream"])
        self.attributes: dict[str, int] = {}

    def strike(self, scene: Scene) -> None:
        self._name = scene.world.line.have(self.kind, self.stream, **self.attributes)

    def mend(self, scene: Scene) -> None:
        scene.world.line.mend(self._name)


class Cut(_OfALine):
    """Every connection cut after some bytes"""

    kind = "limit_data"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"bytes": draw.randrange(200 * KIB, 3 * MIB)}
        self.seconds = draw.uniform(0.5, 2)


class CutInAHeader(_OfALine):
    """Connections cut in the middle of a header"""

    kind = "limit_data"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.stream = "downstream"
        # TLS begins with some 2,000 to 3,000 bytes from the server.
        self.attributes = {"bytes": draw.randrange(1500, 4000)}
        self.seconds = draw.uniform(0.2, 1)


class Reset(_OfALine):
    """Connections reset"""

    kind = "reset_peer"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"timeout": draw.choice([0, 20, 100])}
        self.seconds = draw.uniform(0.2, 1)


class Stall(_OfALine):
    """Line silent for longer than `timeout`"""

    kind = "timeout"
    timeout = 3

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"timeout": 0}
        self.seconds = self.timeout + draw.uniform(0, 1)


class Slow(_OfALine):
    """Slow line"""

    kind = "bandwidth"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"rate": draw.randrange(3000, 9000)}


class Long(_OfALine):
    """Long line"""

    kind = "latency"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.attributes = {"latency": draw.randrange(5, 60), "jitter": draw.randrange(5)}


class _OfABox(Fault):
    """A fault of a load balancer in front of the API server, or of a proxy behind it."""

    def __init__(self, draw: random.Random) -> None:
        self.back = draw.random() < 0.4
        self.front = DIRECT if self.back else BOX

    def strike(self, scene: Scene) -> None:
        self._box(scene).misbehaviours[self] = self.misbehave

    def mend(self, scene: Scene) -> None:
        self._box(scene).misbehaviours.pop(self, None)

    def _box(self, scene: Scene) -> Middlebox:
        return scene.world.back if self.back else scene.world.front

    @abstractmethod
    def misbehave(self, exchange: Exchange) -> bool:
        """Do it to a request, or let it pass."""


class _Limit(_OfABox):
    """A limit to what a request may carry."""

    actions = ("push",)

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.limit = draw.randrange(MIB, 2 * MIB)

    def misbehave(self, exchange: Exchange) -> bool:
        if not exchange.exceeds(self.limit):
            return False
        self.refuse(exchange)
        return True

    @abstractmethod
    def refuse(self, exchange: Exchange) -> None:
        """Answer a request that carries more."""


class BodyLimit(_Limit):
    """413: bodies limited"""

    def refuse(self, exchange: Exchange) -> None:
        exchange.refuse(413, "<html><h1>413 Request Entity Too Large</h1></html>")


class BadGateway(_OfABox):
    """502 for a while"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.seconds = draw.uniform(0.1, 1)
        self.status = draw.choice([502, 503])

    def misbehave(self, exchange: Exchange) -> bool:
        exchange.refuse(self.status, "<html><h1>Bad Gateway</h1></html>")
        return True


class GatewayTimeout(_Limit):
    """504: requests limited in time"""

    def refuse(self, exchange: Exchange) -> None:
        time.sleep(0.1)
        exchange.refuse(504, "<html><h1>504 Gateway Time-out</h1></html>")


class IdleCut(_OfABox):
    """Idle connections cut at once"""

    def misbehave(self, exchange: Exchange) -> bool:
        exchange.connection.settimeout(None)
        exchange.let_pass()
        if exchange.connection.fileno() >= 0:
            exchange.connection.settimeout(0.002)
        return True


class ResetInAHeader(_OfABox):
    """Connections reset in mid-header"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.seconds = draw.uniform(0.1, 0.8)
        self.beginning = draw.choice([b"", b"HTT", b"HTTP/1.1 202 Acc", b"HTTP/1.1 200 OK\r\nContent-Le"])

    def misbehave(self, exchange: Exchange) -> bool:
        exchange.wfile.write(self.beginning)
        exchange.reset()
        return True


class HalfClosed(_OfABox):
    """Connections half-closed in the middle of a request"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.seconds = draw.uniform(0.1, 0.8)

    def misbehave(self, exchange: Exchange) -> bool:
        half = exchange.length // 2
        for block in exchange.read_body():
            half -= len(block)
            if half <= 0:
                break
        exchange.linger()
        return True


class AnswerLost(_OfABox):
    """Requests carried out whose answers are lost"""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.left = draw.randrange(1, 4)

    def misbehave(self, exchange: Exchange) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        # The answer goes nowhere.
        exchange.wfile = open(os.devnull, "wb")  # noqa: SIM115 - the server closes it
        exchange.let_pass()
        exchange.reset()
        return True


class TokenRenewed(_OfABox):
    """Token expired, a new one at hand"""

    accepted = TOKENS[1]

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.front, self.back = BOX, False

    def strike(self, scene: Scene) -> None:
        super().strike(scene)
        scene.world.token.write_text(TOKENS[1])

    def mend(self, scene: Scene) -> None:
        super().mend(scene)
        scene.world.token.write_text(TOKENS[0])

    def misbehave(self, exchange: Exchange) -> bool:
        if exchange.headers.get("Authorization") == f"Bearer {self.accepted}":
            return False
        status = '{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "Unauthorized", "code": 401}'
        exchange.refuse(401, status, "application/json")
        return True


class TokenExpired(TokenRenewed):
    """Token expired, no other at hand"""

    named = "does not accept the credentials"
    accepted = "none"

    def strike(self, scene: Scene) -> None:
        _OfABox.strike(self, scene)


class RightsTakenAway(Fault):
    """RBAC taken away, and given back later"""

    named = "the API server forbids the way to Pod"

    def strike(self, scene: Scene) -> None:
        scene.world.bind(False)

    def mend(self, scene: Scene) -> None:
        scene.world.bind(True)


class RegistryKilled(Fault):
    """Registry killed and restarted"""

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.05, 1.5)

    def strike(self, scene: Scene) -> None:
        scene.world.registry.stop(signal.SIGKILL)

    def mend(self, scene: Scene) -> None:
        scene.world.registry.start_if_stopped()


class PodRescheduled(Fault):
    """Pod deleted and rescheduled, storage kept"""

    keeps = True

    def __init__(self, draw: random.Random) -> None:
        self.seconds = draw.uniform(0.2, 1.5)

    def strike(self, scene: Scene) -> None:
        world = scene.world
        world.be_displaced()
        world.registry.stop(signal.SIGTERM)
        if not self.keeps:
            scene.destroyed += world.stored()
            shutil.rmtree(world.registry.storage, ignore_errors=True)

    def mend(self, scene: Scene) -> None:
        scene.world.registry.start_if_stopped()
        scene.world.be_placed()


class PodRescheduledFromMemory(PodRescheduled):
    """Pod deleted and rescheduled, storage in memory"""

    # What a push relied on and what a pull wants are gone with it.
    named = "lacks the|there is no image|unknown"
    keeps = False


class RegistryDiskFull(Fault):
    """Disk full at the registry"""

    actions = ("push",)
    named = "no space left|storage is full"

    def __init__(self, draw: random.Random) -> None:
        self.left = draw.choice([0, 40 * KIB, 300 * KIB])

    def strike(self, scene: Scene) -> None:
        _fill(scene.world.server_disk, self.left)

    def mend(self, scene: Scene) -> None:
        (scene.world.server_disk / "ballast").unlink()
        # The registry answers for a request before all of it is on its disk, and loses an upload that it cannot end.
        scene.spoilt += scene.run.traffic.sent - scene.run.traffic.cut


class ClientDiskFull(Fault):
    """Disk full at the client"""

    def __init__(self, draw: random.Random) -> None:
        self.left = draw.choice([0, 40 * KIB, 300 * KIB])

    def strike(self, scene: Scene) -> None:
        # A push writes nothing that it could not do without.
        self.named = "" if scene.sources else "No space left|no space left|disk is full"
        _fill(scene.world.client_disk, self.left)

    def mend(self, scene: Scene) -> None:
        (scene.world.client_disk / "ballast").unlink()
        # A pull that finds no room leaves nothing, so that there is more.
        scene.spoilt += scene.run.traffic.received


class SourceChanged(Fault):
    """Source changed while it is read"""

    actions = ("push",)
    named = (
        "is not what its digest|damaged|does not have the digest|truncated|cannot be read|has changed|not the content"
    )

    def __init__(self, draw: random.Random) -> None:
        self.draw = random.Random(draw.random())  # noqa: S311 - nothing secret

    def strike(self, scene: Scene) -> None:
        self.path = self.draw.choice(scene.sources[0].files)
        self.before = self.path.read_bytes()
        # What is refused at its end was sent in vain, and once more where the session had a past.
        scene.spoilt += 2 * len(self.before)
        self.damage(self.draw.randrange(len(self.before)))

    def damage(self, position: int) -> None:
        """Change the file."""
        with self.path.open("r+b") as file:
            file.seek(position)
            file.write(bytes(byte ^ 0xFF for byte in self.before[position : position + 100]))

    def mend(self, scene: Scene) -> None:
        self.path.write_bytes(self.before)


class SourceTruncated(SourceChanged):
    """Source truncated while it is read"""

    named = "truncated|has [0-9]+ bytes, but should have|damaged"

    def damage(self, position: int) -> None:
        """Cut the file off."""
        os.truncate(self.path, position)


class Killed(Fault):
    """Our process killed, and run again"""

    def strike(self, scene: Scene) -> None:
        scene.run.kill()


class Twin(Fault):
    """The same images pushed by two at once"""

    actions = ("push",)

    def strike(self, scene: Scene) -> None:
        scene.others.append(scene.start("push"))


class PulledMeanwhile(Fault):
    """A push and a pull of the same tag at once"""

    actions = ("push",)

    def strike(self, scene: Scene) -> None:
        scene.others.append(scene.start("pull"))


class PrunedMeanwhile(Fault):
    """A push and a prune with garbage collection at once"""

    actions = ("push",)
    # What was uploaded is no image's yet, so it is garbage to the registry.
    named = "blob unknown|manifest unknown|unknown to registry"

    def strike(self, scene: Scene) -> None:
        world = scene.world
        before = look.stored_blobs(world.registry.storage)
        if scene.old:
            url = f"http://{world.registry.address}/v2/{scene.repository}/manifests/{scene.old}"
            try:
                requests.delete(url, timeout=5)
            except requests.ConnectionError:
                return
        world.collect_garbage()
        # Others may have arrived meanwhile.
        scene.destroyed += sum(
            before[blob] for blob in before.keys() - look.stored_blobs(world.registry.storage).keys()
        )


CLUSTER_FAULTS: tuple[type[Fault], ...] = (
    ApiServerKilled,
    ControllerManagerGone,
    PodOfTheClusterDeleted,
    ContainerdRestarted,
)
"""Those that whoever else uses the cluster notices."""

FAULTS: tuple[type[Fault], ...] = (
    ApiServerAway,
    Cut,
    CutInAHeader,
    Reset,
    Stall,
    Slow,
    Long,
    BodyLimit,
    BadGateway,
    GatewayTimeout,
    IdleCut,
    ResetInAHeader,
    HalfClosed,
    AnswerLost,
    TokenRenewed,
    TokenExpired,
    RightsTakenAway,
    RegistryKilled,
    PodRescheduled,
    PodRescheduledFromMemory,
    RegistryDiskFull,
    ClientDiskFull,
    SourceChanged,
    SourceTruncated,
    Killed,
    Twin,
    PulledMeanwhile,
    PrunedMeanwhile,
)


def _fill(disk: Path, left: int) -> None:
    """Leave a disk only so many bytes, or fewer where somebody else is writing."""
    if not disk.is_mount():
        raise RuntimeError(f"{disk} is no file system of its own, and this machine's is not to be filled")
    with (disk / "ballast").open("wb") as file:
        while True:
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, free - left))
            except OSError:
                continue
            return
