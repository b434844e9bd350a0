# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd, the API server, the controller manager and the scheduler, which run directly on this machine."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from . import api, certificates, files, layout, users
from .certificates import CA, ETCD_CA, Pair
from .components import Component

_ETCD = Pair("etcd")
_ETCD_CLIENT = Pair("etcd-client")
_API = Pair("kube-apiserver")
_KUBELET_CLIENT = Pair("kube-apiserver-kubelet-client")
_MANAGERS = ("kube-controller-manager", "kube-scheduler")
_AUDIT_POLICY = layout.CONTROL_PLANE / "audit-policy.yaml"
_ETCD_PORT = 2379
_ETCD_PEER_PORT = 2380
_MANAGER_PORT = 10257
_SCHEDULER_PORT = 10259


def prepare() -> None:
    """Make the certificates and write the configuration files."""
    certificates.authority(CA)
    certificates.authority(ETCD_CA)
    certificates.signed(_ETCD, "etcd", hosts=["127.0.0.1"], signer=ETCD_CA)
    certificates.signed(_ETCD_CLIENT, "kube-apiserver", signer=ETCD_CA)
    names = [
        *("127.0.0.1", layout.HOST_ADDRESS, layout.KUBERNETES_SERVICE, "localhost", "kubernetes"),
        *("kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"),
    ]
    certificates.signed(_API, "kube-apiserver", hosts=names)
    certificates.signed(_KUBELET_CLIENT, "kube-apiserver-kubelet-client", ["system:masters"])
    certificates.service_account_key()
    for name in _MANAGERS:
        pair = certificates.signed(Pair(name), f"system:{name}", hosts=["127.0.0.1"])
        users.kubeconfig(_kubeconfig(name), f"system:{name}", pair, layout.API_URL)
    users.make_admin()
    files.write(_AUDIT_POLICY, files.fill("audit-policy.yaml", monitor=users.MONITOR))


def _kubeconfig(name: str) -> Path:
    return layout.CONTROL_PLANE / f"{name}.kubeconfig"


def components() -> list[Component]:
    """Return the components of the control plane, in start order."""
    return [etcd(), api_server(), controller_manager(), scheduler()]


def etcd() -> Component:
    """Return etcd. Its client port requires a certificate of a separate authority, which users do not have."""
    client = f"https://127.0.0.1:{_ETCD_PORT}"
    peer = f"https://127.0.0.1:{_ETCD_PEER_PORT}"

    def check() -> str | None:
        context = ssl.create_default_context(cafile=str(ETCD_CA.certificate))
        context.load_cert_chain(str(_ETCD_CLIENT.certificate), str(_ETCD_CLIENT.key))
        return api.check("127.0.0.1", _ETCD_PORT, "/health", context)

    return _component(
        "etcd",
        lambda: _command(
            "etcd",
            name="etcd",
            data_dir=layout.CONTROL_PLANE / "etcd",
            # `down` deletes the data, and writes of a killed process stay in the kernel's page cache.
            unsafe_no_fsync="true",
            listen_client_urls=client,
            advertise_client_urls=client,
            listen_peer_urls=peer,
            initial_advertise_peer_urls=peer,
            initial_cluster=f"etcd={peer}",
            cert_file=_ETCD.certificate,
            key_file=_ETCD.key,
            client_cert_auth="true",
            trusted_ca_file=ETCD_CA.certificate,
            peer_cert_file=_ETCD.certificate,
            peer_key_file=_ETCD.key,
            peer_client_cert_auth="true",
            peer_trusted_ca_file=ETCD_CA.certificate,
        ),
        check,
        _ETCD_PORT,
        _ETCD_PEER_PORT,
    )


def api_server() -> Component:
    """Return the API server. Users and tests connect to 127.0.0.1, nodes to this machine's address on the switch.

    It can listen on one address or on all. As usual it listens on all and relies on authentication.
    """

    def check() -> str | None:
        try:
            api.get("/readyz")
        except OSError as error:
            return str(error)
        return None

    return _component(
        "kube-apiserver",
        lambda: _command(
            "kube-apiserver",
            bind_address="0.0.0.0",  # noqa: S104
            advertise_address=layout.HOST_ADDRESS,
            secure_port=layout.API_PORT,
            tls_cert_file=_API.certificate,
            tls_private_key_file=_API.key,
            client_ca_file=CA.certificate,
            etcd_servers=f"https://127.0.0.1:{_ETCD_PORT}",
            etcd_cafile=ETCD_CA.certificate,
            etcd_certfile=_ETCD_CLIENT.certificate,
            etcd_keyfile=_ETCD_CLIENT.key,
            authorization_mode="Node,RBAC",
            enable_admission_plugins="NodeRestriction",
            allow_privileged="true",
            service_cluster_ip_range=layout.SERVICES,
            service_account_issuer="https://kubernetes.default.svc.cluster.local",
            service_account_signing_key_file=certificates.SERVICE_ACCOUNT_KEY,
            service_account_key_file=certificates.SERVICE_ACCOUNT_KEY,
            kubelet_certificate_authority=CA.certificate,
            kubelet_client_certificate=_KUBELET_CLIENT.certificate,
            kubelet_client_key=_KUBELET_CLIENT.key,
            # By default, exec, logs and port-forward look up the nodes' names in DNS.
            kubelet_preferred_address_types="InternalIP",
            audit_policy_file=_AUDIT_POLICY,
            audit_log_path=layout.AUDIT_LOG,
            audit_log_maxsize=1024,
        ),
        check,
        layout.API_PORT,
    )


def controller_manager() -> Component:
    """Return the controller manager. It assigns no Pod addresses to nodes: `layout.Node.pods` has them."""
    return _manager(
        "kube-controller-manager",
        _MANAGER_PORT,
        root_ca_file=CA.certificate,
        cluster_signing_cert_file=CA.certificate,
        cluster_signing_key_file=CA.key,
        service_account_private_key_file=certificates.SERVICE_ACCOUNT_KEY,
        use_service_account_credentials="true",
    )


def scheduler() -> Component:
    """Return the scheduler."""
    return _manager("kube-scheduler", _SCHEDULER_PORT)


def _manager(name: str, port: int, **flags: object) -> Component:
    """Return a component that watches the API server.

    Leader election is off: with it, both exit if the API server is unreachable for ten seconds, and tests stop it.
    """
    return _component(
        name,
        lambda: _command(
            name,
            kubeconfig=_kubeconfig(name),
            leader_elect="false",
            bind_address="127.0.0.1",
            secure_port=port,
            tls_cert_file=Pair(name).certificate,
            tls_private_key_file=Pair(name).key,
            **flags,
        ),
        lambda: api.check("127.0.0.1", port, context=ssl.create_default_context(cafile=str(CA.certificate))),
        port,
    )


def _component(
    name: str, command: Callable[[], Sequence[str]], check: Callable[[], str | None], *ports: int
) -> Component:
    group = f"k8scr-core/control-plane/{name}"
    return Component(name=name, group=group, command=command, check=check, ports=ports)


def _command(program: str, **flags: object) -> list[str]:
    options = (f"--{name.replace('_', '-')}={value}" for name, value in flags.items())
    return [str(layout.BIN / program), *options]
