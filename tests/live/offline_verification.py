# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify the images of a source in a network namespace without a network, as modules verify them before a copy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_entries import SourceEntry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_sources import ImageSources
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.source_settings import SourceSettings
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.verify_settings import verify_policies
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.engine.settings import DockerSettings
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import Upstreams
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageJob

_OPTIONS = ("cosign_key", "identity", "issuer", "trusted_root", "allow")


def verify_offline(source: str, policies: Sequence[Mapping[str, str]], cosign: Path) -> list[dict[str, Any]]:
    """Return the result of each image of a source: of its verified signature, or its error.

    Args:
        cosign: The program cosign for policies with an identity.
    """
    path = os.pathsep.join((str(cosign.parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["unshare", "--net", sys.executable, "-m", __name__, source, json.dumps(policies)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    result: list[dict[str, Any]] = json.loads(done.stdout)
    return result


def _main(source: str, policies: str) -> None:
    options = [{**dict.fromkeys(_OPTIONS), **policy} for policy in json.loads(policies)]
    docker = DockerSettings(None, None, None, None)
    settings = SourceSettings((SourceEntry(source),), docker, None, False, {}, 4, verify_policies(options))
    with ExitStack() as exit_stack, closing(Upstreams({})) as upstreams:
        results = []
        for found in ImageSources(settings, upstreams, None, exit_stack).read():
            if isinstance(found, ImageJob):
                results.append({"error": str(found.error)})
            else:
                results.append(found.verified.to_result() if found.verified else {})
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    _main(*sys.argv[1:])
