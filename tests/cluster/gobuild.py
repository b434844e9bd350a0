# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds static programs from Go modules; a static program can be the only file of an image."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from .catalogue import Program
from .errors import ClusterError


def build(program: Program, scratch: Path) -> Path:
    """Build `program` in the empty folder `scratch` and return its path.

    Go caches compiled packages: an interrupted build resumes, and a second program of the same module builds faster.
    """
    output = scratch / program.name
    source = program.local_source
    if source is None:
        source = scratch / "module"
        source.mkdir()
        _write_module(program, source)
    flags = " ".join(["-s", "-w", *(f"-X {setting}" for setting in _version_settings(program))])
    _go(
        ["build", "-mod=mod", f"-modfile={program.module_file}", "-trimpath", "-ldflags", flags, "-o", str(output)]
        + ([program.package] if program.module else ["."]),
        source,
        program,
    )
    return output


def _write_module(program: Program, folder: Path) -> None:
    """Write a go.mod that can build `program.package` to `folder`."""
    module_file = folder / "go.mod"
    if program.module == "k8s.io/kubernetes":
        module_file.write_text(_kubernetes_module(program, folder), encoding="utf-8")
        return
    module_file.write_text("module k8scr.example/build\n", encoding="utf-8")
    _go(["get", "-tool", f"{program.package}@v{program.version}"], folder, program)


def _kubernetes_module(program: Program, folder: Path) -> str:
    """Return the text of a go.mod that can build the programs of Kubernetes.

    Kubernetes requires its own libraries at v0.0.0 and replaces them with folders of its repository, which its
    module does not contain. The same libraries are published as v0.MINOR.PATCH. The go.mod of Kubernetes also has
    the runtime settings (godebug) of its tests; they are copied, because Go uses those of the main module only.
    """
    requirement = f"{program.module}@v{program.version}"
    downloaded = json.loads(_go(["mod", "download", "-json", requirement], folder, program))
    upstream = json.loads(_go(["mod", "edit", "-json", downloaded["GoMod"]], folder, program))
    libraries = "0." + program.version.split(".", 1)[1]
    lines = ["module k8scr.example/build", f"go {upstream['Go']}"]
    lines += [f"godebug {item['Key']}={item['Value']}" for item in upstream.get("Godebug") or ()]
    lines.append(f"require {program.module} v{program.version}")
    lines += [
        f"replace {required['Path']} => {required['Path']} v{libraries}"
        for required in upstream["Require"]
        if required["Version"] == "v0.0.0"
    ]
    return "\n".join(lines) + "\n"


def _version_settings(program: Program) -> list[str]:
    """Return the `variable=value` pairs that set the version that the program reports."""
    if program.module == "k8s.io/kubernetes":
        major, minor, _patch = program.version.split(".")
        values = {"gitVersion": f"v{program.version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "archive"}
        # The version that --version prints, and the version in the clients' user agent.
        packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        return [f"{package}.{name}={value}" for package in packages for name, value in values.items()]
    return [f"{program.version_variable}=v{program.version}"] if program.version_variable else []


def _go(arguments: list[str], folder: Path, program: Program) -> str:
    """Run go in `folder` and return its output.

    Raises:
        ClusterError: It failed; the message has the end of its error output.
    """
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
