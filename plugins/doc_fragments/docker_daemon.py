# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options for the Docker or Podman engine."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that use a Docker or Podman engine."""

    DOCUMENTATION = r"""
options:
  docker_host:
    description:
      - Address of the Docker or Podman engine for C(docker-daemon:) and for names alone. It is
        V(unix:///var/run/docker.sock), V(unix:///run/podman/podman.sock), V(tcp://HOST:PORT) or V(ssh://USER@HOST).
        V(ssh://) runs Docker's program on that host, as Docker's client does.
      - If this option and O(docker_context) are unset, the module determines the address like Docker's client, from
        E(DOCKER_HOST), E(DOCKER_CONTEXT) or the current context. Otherwise it is V(unix:///var/run/docker.sock).
      - The host that runs the module connects to the engine.
    type: str
  docker_context:
    description: Context of Docker's client that selects the engine, as listed by C(docker context ls).
    type: str
  docker_cert_path:
    description: Folder with C(ca.pem), C(cert.pem) and C(key.pem) for V(tcp://) with TLS. The default is
      E(DOCKER_CERT_PATH), or C(~/.docker) if only E(DOCKER_TLS_VERIFY) is set. The certificate is verified.
    type: path
"""
