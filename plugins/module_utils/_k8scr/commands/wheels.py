# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Download wheels of Python packages for other Python versions and platforms, with the interpreter's own pip."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..discovery.programs import ProgramRun, run_limited
from ..errors import InputError, SourceError
from ..oci.decimal import parse_decimal
from ..redaction import without_passwords

REQUIREMENTS_FILE = "requirements.txt"
DEFAULT_REQUIREMENTS = ("requests>=2.28.0", "kubernetes>=24.2.0,!=36.0.0,!=36.0.1")
"""What the modules of this collection need, as in ``meta/ee-requirements.txt``."""
DEFAULT_PLATFORMS = ("manylinux2014_x86_64",)
_NO_PIP = 97
_PROGRAM = f"""
import json, runpy, sys
sys.path[:] = [folder for folder in sys.path if folder]
target = json.loads(sys.argv.pop(1))
try:
    from pip._vendor.packaging import markers
except ImportError:
    sys.exit({_NO_PIP})
default = markers.default_environment
markers.default_environment = lambda: {{**default(), **target}}
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__")
"""
"""Runs pip. pip evaluates the markers of requirements, such as ``python_version < "3.11"``, for its own interpreter,
whatever ``--python-version`` is, and would leave out packages that another version needs."""
_REQUIREMENT = re.compile(
    r"(?!.*\s-)[A-Za-z0-9][\w.-]*(?: ?\[[\w ,.-]*\])?[\w .,<>=!~*+()-]*(?:;[^\\#@/$]*)?", re.ASCII
)
_PYTHON = re.compile(r"3\.(?:[6-9]|[1-9]\d{1,2})(\.\d{1,3})?")
"""3.6 or newer: pip supports no older versions, and YAML reads 3.10 as 3.1."""
_PLATFORM = re.compile(r"(?:manylinux|musllinux|linux|macosx|win)\w*", re.ASCII)
_LIBC = re.compile(r"(manylinux_2|musllinux_1)_(\d{1,3})_(\w+)")
_LEGACY_GLIBC = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OFFLINE = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError", "connection broken by")
_TEMPORARY_FILE = re.compile(rf" \(from line \d+ of \S*{re.escape(REQUIREMENTS_FILE)}\)")
_RUN = ProgramRun(timeout=3600, limit=1 << 20, memory=None)
"""An hour for each Python version and platform; pip's cache keeps the wheels that it has downloaded completely."""
_SHOWN = 600
"""Characters of pip's errors in messages."""
_READ = 64 << 10
"""Bytes of pip's last output that are searched for errors."""


@dataclass(frozen=True)
class WheelRequest:
    """The wheels of an option ``wheels``.

    Attributes:
        requirements: The requirements (PEP 508), without URLs and paths.
        pythons: The Python versions; each of them is served on each platform.
        platforms: The platforms, as in the file names of wheels.
    """

    requirements: tuple[str, ...]
    pythons: tuple[str, ...]
    platforms: tuple[str, ...]

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> WheelRequest:
        """Read the option.

        Raises:
            InputError: A requirement, a version or a platform is invalid.
        """
        requirements = tuple(" ".join(each.split()) for each in options["requirements"] or DEFAULT_REQUIREMENTS)
        platforms = tuple(options["platforms"] or DEFAULT_PLATFORMS)
        for text in requirements:
            if not _REQUIREMENT.fullmatch(text):
                # Its text may be a URL with a password.
                raise InputError(
                    "extras.wheels.requirements has an entry that is not the name of a package with versions",
                    "Write entries like 'requests>=2.28' or 'ansible-core==2.19.*', and set an index in pip's"
                    " configuration",
                )
        for version in options["python"]:
            if not _PYTHON.fullmatch(version):
                raise InputError(
                    f"extras.wheels.python has the entry {version!r:.50}, which is not a version of Python 3 from 3.6",
                    'Write it like "3.11", in quotes because YAML reads 3.10 as the number 3.1',
                )
        for platform in platforms:
            if not _PLATFORM.fullmatch(platform):
                raise InputError(
                    f"extras.wheels.platforms has the entry {platform!r:.50}, which is not the platform of a wheel",
                    "Write it like manylinux2014_x86_64, musllinux_1_2_aarch64, macosx_11_0_arm64 or win_amd64",
                )
        return cls(*(tuple(sorted(set(each))) for each in (requirements, options["python"], platforms)))

    @property
    def content(self) -> bytes:
        """The content of a requirements file that also states the versions and platforms."""
        lines = [f"# Wheels for Python {', '.join(self.pythons)} on {', '.join(self.platforms)}", *self.requirements]
        return "".join(f"{line}\n" for line in lines).encode()

    def download(self, folder: Path, phase_started: Callable[[str], None]) -> list[Path]:
        """Download the wheels and what they require into an empty folder, and return their paths.

        Args:
            phase_started: Receives the description of each download.

        Raises:
            SourceError: pip is missing, or cannot find or download a wheel.
        """
        requirements = folder / REQUIREMENTS_FILE
        requirements.write_bytes(self.content)
        for version in self.pythons:
            for platform in self.platforms:
                phase_started(f"downloading wheels for Python {version} on {platform}")
                _download(version, platform, requirements)
        return sorted(folder.glob("*.whl"))


def _download(version: str, platform: str, requirements: Path) -> None:
    """Run pip for one Python version and one platform; existing wheels in the folder are not downloaded again."""
    command = [sys.executable, "-c", _PROGRAM, json.dumps(marker_environment(version, platform))]
    command += ["download", "--quiet", "--no-input", "--no-color", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}"]
    command += [f"--platform={tag}" for tag in platform_tags(platform)]
    command += [f"--dest={requirements.parent}", f"--requirement={requirements}"]
    what = f"the wheels for Python {version} on {platform}"
    with tempfile.TemporaryFile() as output:
        status, reason = run_limited(command, output, output, _RUN, {}, requirements.parent)
        if reason:
            raise SourceError(
                f"{what} cannot be downloaded: pip {reason}",
                f"Check the network and pip's configuration with {sys.executable} -m pip config list, and run again",
            )
        if status:
            raise _failure(what, status, _end_of(output))


def _end_of(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _READ))
    return output.read().decode("utf-8", "replace")


def _failure(what: str, status: int, output: str) -> SourceError:
    if status == _NO_PIP:
        return SourceError(
            f"{what} cannot be downloaded: {sys.executable} has no pip",
            "Install it on the host that runs the module, for example as the package python3-pip",
        )
    text = str(without_passwords(output))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.partition(":")[2].strip() for line in lines if line.startswith("ERROR:")] or lines[-3:]
    errors = [_TEMPORARY_FILE.sub("", error) for error in errors]
    reason = "; ".join(dict.fromkeys(errors)).rstrip(".") or f"pip exited with {status}"
    if any(word in text for word in _OFFLINE):
        broken = next((line for line in lines if any(word in line for word in _OFFLINE)), "")
        return SourceError(
            f"{what} cannot be downloaded: pip cannot connect to its package index: {broken:.{_SHOWN}}",
            "Check the network, HTTPS_PROXY and pip's configuration (pip config list)",
        )
    return SourceError(
        f"{what} cannot be downloaded: {reason:.{_SHOWN}}",
        "Each package must have a wheel for this version and platform in pip's package index; change requirements,"
        " python or platforms",
    )


def platform_tags(platform: str) -> list[str]:
    """Return the platforms of all wheels that a platform can use, including those for older versions of its libc."""
    for version, name in _LEGACY_GLIBC.items():
        if platform.startswith(f"{name}_"):
            platform = platform.replace(name, f"manylinux_2_{version}", 1)
    match = _LIBC.fullmatch(platform)
    return list(_libc_tags(match[1], parse_decimal(match[2]) or 0, match[3])) if match else [platform]


def _libc_tags(libc: str, newest: int, architecture: str) -> Iterator[str]:
    for minor in range(newest, -1, -1):
        yield f"{libc}_{minor}_{architecture}"
        if libc == "manylinux_2" and minor in _LEGACY_GLIBC:
            yield f"{_LEGACY_GLIBC[minor]}_{architecture}"


def marker_environment(version: str, platform: str) -> dict[str, str]:
    """Return the values of environment markers (PEP 508) for a Python version and the platform of a wheel."""
    full = version if version.count(".") == 2 else f"{version}.0"
    system = {"win": ("nt", "win32", "Windows"), "mac": ("posix", "darwin", "Darwin")}
    name, platform_name, system_name = system.get(platform[:3], ("posix", "linux", "Linux"))
    return {
        "implementation_name": "cpython",
        "implementation_version": full,
        "os_name": name,
        "platform_machine": _machine(platform),
        "platform_python_implementation": "CPython",
        "platform_system": system_name,
        "python_full_version": full,
        "python_version": ".".join(full.split(".")[:2]),
        "sys_platform": platform_name,
    }


def _machine(platform: str) -> str:
    if platform.startswith("win"):
        return {"win32": "x86", "win_amd64": "AMD64", "win_arm64": "ARM64"}.get(platform, platform)
    return re.sub(r"^(manylinux(_\d+_\d+|\d+)|musllinux_\d+_\d+|macosx_\d+_\d+|linux)_", "", platform)
