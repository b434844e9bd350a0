# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Command line of the captures of terminals for the documentation."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from cluster import cluster, layout
from cluster.errors import ClusterError, log

from .scenes import NAMESPACE, SCENES, deploy_registry, remove_registry
from .studio import Studio


def main() -> int:
    """Run the playbooks and write the pictures; return 1 if a playbook did not do what a picture shows."""
    options = _parser().parse_args()
    # Clean up after SIGTERM as after an exception.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        cluster.up()
        layout.CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="captures-", dir=layout.CACHE) as folder:
            studio = Studio(Path(folder), options.output, {"namespace": NAMESPACE})
            try:
                deploy_registry(studio)
                for name in options.only or SCENES:
                    SCENES[name](studio)
            finally:
                remove_registry(studio)
    except (AssertionError, ClusterError) as problem:
        log(f"error: {problem}")
        return 1
    log(f"the pictures are in {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make captures ARGS='…'", description="Run playbooks on a terminal and write pictures of it."
    )
    parser.add_argument(
        "--only", action="append", default=[], choices=list(SCENES), help="write only these pictures; repeatable"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=layout.CACHE / "captures",
        metavar="FOLDER",
        help="folder of the pictures (default: %(default)s)",
    )
    return parser
