# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds programs from Go modules, static, so that each can be the only file of an image."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from .catalogue import Program
from .errors import ClusterError


def build(program: Program, scratch: Path) -> Path:
    """Build `program` in the empty folder `scratch`; its path in there comes back.

    Go keeps what it compiled in its own cache, so a build that was interrupted goes on from
    where it was, and the second program of a module takes a fraction of the first one's time.
    """
    output = scratch / program.name
    source = program.local_source
    if source is None:
        source = scratch / "module"
        source.mkdir()
        _write_module(program, source)
    flags = " ".join(["-s", "-w", *(f"-X {stamp}" for stamp in _stamps(program))])
    _go(
        ["build", "-mod=mod", f"-modfile={program.versions}", "-trimpath", "-ldflags", flags, "-o", str(output)]
        + ([program.package] if program.module else ["."]),
        source,
        program,
    )
    return output


def _write_module(program: Program, folder: Path) -> None:
    """Write a go.mod in `folder` from which `program.package` can be built."""
    module_file = folder / "go.mod"
    if program.module == "k8s.io/kubernetes":
        module_file.write_text(_kubernetes_module(program, folder), encoding="utf-8")
        return
    module_file.write_text("module k8scr.example/build\n", encoding="utf-8")
    _go(["get", "-tool", f"{program.package}@v{program.version}"], folder, program)


def _kubernetes_module(program: Program, folder: Path) -> str:
    """The text of a go.mod that can build Kubernetes' programs.

    Kubernetes requires its own libraries at v0.0.0 and replaces them by folders of its
    repository, which its module does not hold; the same libraries are published under
    v0.MINOR.PATCH. Its go.mod also says which runtime settings (godebug) it was tested with,
    and only the main module's count.
    """
    requirement = f"{program.module}@v{program.version}"
    downloaded = json.loads(_go(["mod", "download", "-json", requirement], folder, program))
    theirs = json.loads(_go(["mod", "edit", "-json", downloaded["GoMod"]], folder, program))
    libraries = "0." + program.version.split(".", 1)[1]
    lines = ["module k8scr.example/build", f"go {theirs['Go']}"]
    lines += [f"godebug {item['Key']}={item['Value']}" for item in theirs.get("Godebug") or ()]
    lines.append(f"require {program.module} v{program.version}")
    lines += [
        f"replace {required['Path']} => {required['Path']} v{libraries}"
        for required in theirs["Require"]
        if required["Version"] == "v0.0.0"
    ]
    return "\n".join(lines) + "\n"


def _stamps(program: Program) -> list[str]:
    """The `variable=value` pairs that make the program report its version."""
    if program.module == "k8s.io/kubernetes":
        major, minor, _patch = program.version.split(".")
        values = {"gitVersion": f"v{program.version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "archive"}
        # What --version says, and what clients call themselves to the API server.
        packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        return [f"{package}.{name}={value}" for package in packages for name, value in values.items()]
    return [f"{program.stamp}=v{program.version}"] if program.stamp else []


def _go(arguments: list[str], folder: Path, program: Program) -> str:
    """Run go in `folder`; its output comes back, or an error with the end of what it said."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    result = subprocess.run(
        ["go", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        end = "\n".join(result.stderr.strip().splitlines()[-8:])
        raise ClusterError(f"{program.name} {program.version}: `go {arguments[0]}` failed:\n{end}")
    return result.stdout
