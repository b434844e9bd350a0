# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that say which engine of Docker or Podman is meant."""

from __future__ import annotations


class ModuleDocFragment:
    """The engine's options."""

    DOCUMENTATION = r"""
options:
  docker_host:
    description:
      - The engine of Docker or Podman that C(docker-daemon:) and names alone mean - V(unix:///var/run/docker.sock),
        V(unix:///run/podman/podman.sock), V(tcp://HOST:PORT) or V(ssh://USER@HOST), which runs Docker's own program
        there, as Docker's client does.
      - Without it and O(docker_context) it is found as Docker's client finds it - by E(DOCKER_HOST), by
        E(DOCKER_CONTEXT), by the context in use, or else at V(unix:///var/run/docker.sock).
      - The engine is used on, or from, the host that runs the task.
    type: str
  docker_context:
    description: A context of Docker's client, as C(docker context ls) lists them, that says which engine is meant.
    type: str
  docker_cert_path:
    description:
      - The folder of C(ca.pem), C(cert.pem) and C(key.pem) for V(tcp://) with TLS. The engine's certificate is checked.
      - Without it E(DOCKER_CERT_PATH) counts, and without that C(~/.docker) if E(DOCKER_TLS_VERIFY) is set.
    type: path
"""
