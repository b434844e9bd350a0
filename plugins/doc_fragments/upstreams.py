# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options for direct connections to other registries."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that read images from ``docker://``."""

    DOCUMENTATION = r"""
options:
  upstreams:
    description:
      - Settings of the registries in names of C(docker://), one entry for each registry. By default, registries are
        reached over HTTPS, with the host's trusted certificates and with the credentials of other tools. Add an entry
        for a registry that needs other settings.
      - Without O(upstreams[].username), the module looks for credentials when a registry requests them. It reads
        E(DOCKER_AUTH_CONFIG), which has the content of a C(config.json), then the file in E(REGISTRY_AUTH_FILE), or if
        that is unset C($XDG_RUNTIME_DIR/containers/auth.json), C($XDG_CONFIG_HOME/containers/auth.json) and
        C($DOCKER_CONFIG/config.json) (C(~/.docker/config.json)), in this order, with the credential helpers that these
        files name. C(podman login) and C(docker login) write these files.
      - CA certificates (C(*.crt)) and client certificates (C(NAME.cert) with C(NAME.key)) of a registry are
        read as in containers-certs.d(5), from the first existing folder of C(~/.config/containers/certs.d/HOST:PORT),
        C(/etc/containers/certs.d/HOST:PORT) and C(/etc/docker/certs.d/HOST:PORT).
      - A registry's credentials and client certificates are used only for that registry and its token server.
      - Proxies are read from the environment variables E(HTTPS_PROXY), E(HTTP_PROXY) and E(NO_PROXY).
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Host of the registry as in image names, such as V(registry.example.com:5000). Docker Hub is
          V(docker.io).
        type: str
        required: true
      username:
        description: User to log in as. By default, the module looks for credentials as described above.
        type: str
      password:
        description: Password or access token of the user.
        type: str
      ca_cert:
        description: Path of a PEM file with CA certificates to trust, in addition to the system's. Set it for a
          registry with a certificate of a private CA. They also apply to its token server and to redirects.
        type: path
      client_cert:
        description: Path of a PEM file with the client certificate, for a registry that requires one.
        type: path
      client_key:
        description: Path of a PEM file with the certificate's private key, without a password. The default is the file
          of O(upstreams[].client_cert).
        type: path
      validate_certs:
        description: Whether to verify the registry's certificate. By default, it is verified.
        type: bool
        default: true
      plain_http:
        description: Whether to use HTTP without TLS, which also sends credentials unencrypted. The default is HTTPS.
        type: bool
        default: false
      mirrors:
        description:
          - Mirrors to read this registry's images from, in order of preference, before the registry itself. An entry is
            a host, or a host with a path that precedes the repositories of images, as in V(mirror.example.com) or
            V(mirror.example.com/docker-hub).
          - The module skips a mirror that does not have an image. A mirror that keeps failing for five seconds before
            its first image is skipped for the rest of the task.
          - Names of images do not change with a mirror. Settings of a mirror belong in a separate entry.
        type: list
        elements: str
        default: []
"""
