# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Valid and invalid names of images, as they may occur in Pods."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, product
from random import Random

DIGESTS = ["sha256:" + "a" * 64, "sha512:" + "0f" * 64]
_HOSTS = [
    *("docker.io", "index.docker.io", "registry-1.docker.io", "localhost", "localhost:5000", "ghcr.io", "quay.io"),
    *("registry.example.com:5000", "bastion:5000", "10.0.0.1", "10.0.0.1:5000", "a_b.example.com", "a__b.c:1"),
    *("UPPER", "Upper.example.com", "Docker.io", "index.Docker.io", "Localhost", "x" * 200 + ".com", "host:65535"),
    *("host:00080", "[::1]", "[::1]:5000", "[fd00::1]:5000", "[FD00::A]", "[::ffff:102:304]", "[1:2:3:4:5:6:7:8]"),
    *("[1:2:3:4:5:6:7::]", "[::2:3:4:5:6:7:8]:080", "[1::]", "[::]"),
]
_INVALID_HOSTS = [
    *("-bad.com", "bad-.com", "a..b", ".com", "com.", "_a.com", "a_.com", "a_-b.c", "[1::2::3]", "[:::]", "[12345::]"),
    *("[1:2]", "[::1", "::1]", "[]", "[::g]", "[::1]5000", "[::1]:", "[fe80::1%eth0]", "[1.2.3.4]", "[::1.2.3.4]"),
    *("[1:2:3:4:5:6:7:8:9]", "[1:2:3:4::5:6:7:8]", "[:1]", "[1:]", "host:0", "host:65536", "host:", "host:x", ":5000"),
    *("host:99999999999999999999", "host:9223372036854775808", "host:" + "0" * 20 + "1", "münchen.de", "a b.c", "É"),
    *("http:", "a+b.c", "user@host", "user:password@host.io", "a:1:2", "..", "."),
]
_COMPONENTS = ["library", "busybox", "team", "api", "a.b", "a__b", "a--b", "a-b.c_d", "0", "x" * 60, "registry.k8s.io"]
_INVALID_COMPONENTS = ["", "a___b", "a-", "-a", "A", "a..b", "a._b", "é", "a b", "_", "a+b", "$", "a\\b", '"', "a'b"]
_TAGS = ["", "", ":1", ":latest", ":1.36", ":v1.2.3-rc.1", ":" + "a" * 128, ":_a", ":UPPER"]
_INVALID_TAGS = [":", ":" + "a" * 129, ":.a", ":-a", "::a", ":1:2", ":é", ":a b", ":a\nb", ":1\t", ":\u0000"]
_DIGESTS = ["", "", *(f"@{digest}" for digest in DIGESTS)]
_INVALID_DIGESTS = [
    *("@", "@@", "@sha256", "@sha256:", "@sha256:" + "a" * 63, "@sha256:" + "a" * 65, "@sha256:" + "A" * 64),
    *("@md5:" + "a" * 32, "@sha512:" + "a" * 64, f"@{DIGESTS[0]}@{DIGESTS[0]}", f"@{DIGESTS[0]}/a", f"@{DIGESTS[0]}:1"),
]
_CHARACTERS = "aZ0._-/:@[]%+ \n\té"


def some_names(seed: int, count: int, address: str) -> list[str]:
    """Return different names: combinations of valid and invalid parts, and valid names with random changes.

    Args:
        address: A registry whose images are among them.
    """
    random = Random(seed)  # noqa: S311 - nothing secret
    names: dict[str, None] = dict.fromkeys(_edges(address))
    while len(names) < count:
        names.setdefault(_name(random, address))
    return [name for name in names if name and name == name.strip()][:count]


def _edges(address: str) -> list[str]:
    """Return the names with one unusual part, and names at the limits of the lengths."""
    hosts = [f"{host}/team/api:1" for host in [*_HOSTS, *_INVALID_HOSTS, address]]
    short = [f"{host}/busybox" for host in [*_HOSTS, *_INVALID_HOSTS, address]]
    paths = [
        f"{prefix}{component}" for component in [*_COMPONENTS, *_INVALID_COMPONENTS] for prefix in ("", "quay.io/")
    ]
    nested = [f"team/{component}/api" for component in _INVALID_COMPONENTS]
    ends = [f"team/api{tag}{digest}" for tag, digest in product([*_TAGS, *_INVALID_TAGS], [*_DIGESTS, "@"])]
    digests = [f"busybox{digest}" for digest in _INVALID_DIGESTS]
    lengths = [f"{host}{'a' * size}" for size, host in product(range(246, 257), ("", "docker.io/", "quay.io/", "a/"))]
    lengths += [f"[::1]:5000/{'a' * size}" for size in range(206, 213)]
    return list(chain(hosts, short, paths, nested, ends, digests, lengths, [*_HOSTS, *_INVALID_HOSTS, address]))


def _name(random: Random, address: str) -> str:
    host = _part(random, [*_HOSTS, address], _INVALID_HOSTS) + "/" if random.random() < 0.6 else ""
    path = "/".join(_part(random, _COMPONENTS, _INVALID_COMPONENTS) for _number in range(random.randint(1, 4)))
    name = host + path + _part(random, _TAGS, _INVALID_TAGS) + _part(random, _DIGESTS, _INVALID_DIGESTS)
    return _changed(random, name) if random.random() < 0.2 else name


def _part(random: Random, valid: Sequence[str], invalid: Sequence[str]) -> str:
    return random.choice(valid if random.random() < 0.95 else invalid)


def _changed(random: Random, name: str) -> str:
    """Return a name with one character added, removed or replaced."""
    position = random.randrange(len(name))
    character = random.choice(["", random.choice(_CHARACTERS)])
    return name[:position] + character + name[position + random.randint(0, 1) :]
