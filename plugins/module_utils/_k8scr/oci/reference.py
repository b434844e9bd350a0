# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""References (names of images), with the grammar and the defaults of distribution's reference package."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv6Address

from ..errors import InputError
from ..redaction import passwords_in
from .decimal import parse_decimal
from .digest import parse_digest


def _host_pattern(inner: str) -> re.Pattern[str]:
    """Return the pattern of hosts whose components may contain these characters between letters and digits."""
    component = rf"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9{inner}]*[a-zA-Z0-9])"
    return re.compile(rf"(?:{component}(?:\.{component})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")


_HOST = _host_pattern("-")
_HOST_IN_WORKLOAD = _host_pattern("_-")
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^]%]+)\]|[^][:]+)(?::(?P<port>.+))?")
_PATH_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MAXIMUM_NAME = 255
_LARGEST_PORT = 65535
CREDENTIALS_ADVICE = "Write the name alone; the credentials of a registry belong in username and password in upstreams"
DOCKER_HUB = "docker.io"
DOCKER_HUB_ALIASES = ("index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True)
class Reference:
    """An image's full name: ``host/path[:tag][@digest]``."""

    host: str
    path: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.path}{tag}{digest}"

    def repository(self, qualify: bool = False) -> str:
        """Return the image's repository in the cluster's registry, optionally qualified with the host.

        See :func:`host_component` for the characters of a host that are not allowed in a repository's path.
        """
        return f"{host_component(self.host)}/{self.path}" if qualify else self.path


def host_component(host: str) -> str:
    """Return a registry's host and port as the first component of a repository's path.

    The colon before a port becomes an underscore. An IPv6 address is written in full, with hyphens, because a component
    cannot begin or end with one.
    """
    address, bracket, port = host.lower().lstrip("[").partition("]")
    if bracket:
        # Python 3.13 writes the end of an IPv4-mapped address in decimal.
        address = IPv6Address(address).packed.hex("-", 2)
    return f"{address}{port}".replace(":", "_")


def is_host(text: str) -> bool:
    """Return whether a text is a host or an address, with an optional port. IPv6 addresses are in brackets."""
    match = _ADDRESS.fullmatch(text)
    if not match or not 1 <= (parse_decimal(match["port"] or "1") or 0) <= _LARGEST_PORT:
        return False
    try:
        return not match["ipv6"] or bool(IPv6Address(match["ipv6"]))
    except AddressValueError:
        return False


def parse_reference(text: str) -> Reference:
    """Parse a reference. Missing parts get Docker's defaults.

    Raises:
        InputError: The text is not a valid reference.
    """
    return _parse(text, _HOST)


def parse_repository(text: str) -> Reference:
    """Parse the name of a repository: a reference without tag and digest, which get no default.

    Raises:
        InputError: The text is not a valid name, or it has a tag or a digest.
    """
    _reject_credentials(text)
    # A text with a tag or digest is not valid with a second tag.
    try:
        return replace(parse_reference(f"{text}:any"), tag=None)
    except InputError as error:
        advice = "Write a repository without a tag and digest, such as registry.example.com/team/api"
        raise InputError(f"{text!r:.300} is not the name of a repository", advice) from error


def parse_workload_reference(text: str) -> Reference:
    """Parse a reference in a workload or lock file, whose host may contain underscores.

    Container runtimes pull from such a host, because distribution's reference package takes it as a part of the path.

    Raises:
        InputError: The text is not a valid reference.
    """
    return _parse(text, _HOST_IN_WORKLOAD)


def _parse(text: str, host_pattern: re.Pattern[str]) -> Reference:
    _reject_credentials(text)
    name, at, digest = text.partition("@")
    tag: str | None = None
    colon = name.rfind(":")
    if colon > name.rfind("/"):
        name, tag = name[:colon], name[colon + 1 :]
        if not _TAG.fullmatch(tag):
            raise _invalid(
                text,
                f"{tag!r:.200} is not a valid tag",
                "A tag has up to 128 letters, digits, and _ . - after the first character",
            )
    host, slash, path = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost" or host != host.lower()):
        host, path = DOCKER_HUB, name
    if host in DOCKER_HUB_ALIASES:
        host = DOCKER_HUB
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    if not host_pattern.fullmatch(host) or not is_host(host):
        reason = f"{host!r:.100} is not a valid registry host"
        if _HOST_IN_WORKLOAD.fullmatch(host) and is_host(host):
            # Docker and skopeo reject such a name with a port, and take the host as a part of the path without one.
            advice = "Write another name of this host or its address; host names have letters, digits, hyphens and dots"
            raise _invalid(text, f"{reason}: it has an underscore", advice)
        raise _invalid(text, reason, "Write HOST or HOST:PORT before the first slash, without a scheme")
    if not _PATH.fullmatch(path):
        lower = " (upper case is not allowed)" if path != path.lower() else ""
        raise _invalid(
            text,
            f"{path!r:.300} is not a valid repository path{lower}",
            "Its components have lower-case letters and digits, separated by a period, hyphens or underscores",
        )
    if len(path) > _MAXIMUM_NAME:
        raise _invalid(text, f"its path is longer than {_MAXIMUM_NAME} characters", "Choose a shorter path")
    if at:
        digest = parse_digest(digest)
    return Reference(host, path, tag if tag or at else "latest", digest or None)


def is_tag(text: str) -> bool:
    """Return whether a text is a valid tag."""
    return _TAG.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Return whether a text is the path of a repository: without host, tag and digest."""
    return len(text) <= _MAXIMUM_NAME and _PATH.fullmatch(text) is not None


def target_name(repository: str, reference: str) -> str:
    """Return the name of an image in a registry: ``repository:tag`` or ``repository@digest``."""
    return f"{repository}@{reference}" if ":" in reference else f"{repository}:{reference}"


def _reject_credentials(text: str) -> None:
    """Raise an error for a name such as ``user:password@host/path``. Its message does not quote the password."""
    # A digest, which also follows @, has no slash.
    if "/" in text.partition("@")[2] or any(passwords_in(text, of_images=True)):
        raise InputError("the name of an image has credentials before its registry", CREDENTIALS_ADVICE)


def _invalid(text: str, why: str, advice: str) -> InputError:
    return InputError(f"{text!r:.300} is not a valid image name: {why}", advice)
