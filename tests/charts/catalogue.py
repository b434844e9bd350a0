# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The charts and manifests of the tests with their versions and sources; no other file names a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.catalogue import HELM, KUBERNETES


@dataclass(frozen=True)
class GoModule:
    """A Go module from which a program of the cluster or the tests is built.

    Attributes:
        repository: Its repository, for machines without Go.
    """

    path: str
    version: str
    repository: str


@dataclass(frozen=True)
class Repository:
    """A public Git repository on GitHub, at a commit or a tag."""

    name: str
    commit: str


@dataclass(frozen=True)
class Input:
    """A chart, or a file or folder with manifests.

    Attributes:
        path: The path in the source.
        values: The values of the chart.
        is_chart: Whether it is a chart.
        started: Images that its operator starts later, so that no Pod of the test has them.
    """

    name: str
    source: GoModule | Repository
    path: str
    values: Mapping[str, Any] = field(default_factory=dict)
    is_chart: bool = True
    started: tuple[str, ...] = ()


_KUBERNETES = GoModule("k8s.io/kubernetes", KUBERNETES, "kubernetes/kubernetes")
_HELM = GoModule("helm.sh/helm/v3", HELM, "helm/helm")
_ADDONS = "cluster/addons"
_TEST_CHARTS = "cmd/helm/testdata/testcharts"

FEW = (
    Input("snapshot-controller", _KUBERNETES, f"{_ADDONS}/volumesnapshots", is_chart=False),
    Input("node-local-dns", _KUBERNETES, f"{_ADDONS}/dns/nodelocaldns", is_chart=False),
    Input("csi-hostpath", _KUBERNETES, "test/e2e/testing-manifests/storage-csi/hostpath", is_chart=False),
    Input("library-chart", _HELM, f"{_TEST_CHARTS}/chart-with-lib-dep"),
    Input("sub-charts", _HELM, f"{_TEST_CHARTS}/subchart"),
)
"""The inputs that ``make test`` installs. The modules are those from which the programs are built."""

TEMPLATES = Input("fluentd-gcp", _KUBERNETES, f"{_ADDONS}/fluentd-gcp", is_chart=False)
"""Manifests with placeholders, which the scripts of Kubernetes replace."""

_ARGO = Repository("argoproj/argo-helm", "af0a9310bacbaa4636018dfe22c801a6d33a5c43")
_EKS = Repository("aws/eks-charts", "5239609242f3430be50fb0b714a24d3ef2b47983")
_FLUENT = Repository("fluent/helm-charts", "5b81bf7a5a5d9f7c3513810efdef47cdb4e28239")
_GRAFANA = Repository("grafana/helm-charts", "7a0ab968961a165318ab95ff678908c3b9bc3240")
_ISTIO = Repository("istio/istio", "86c9f01fd735fb01d8192f5bcaf0d424afb7f14c")
_JENKINS = Repository("jenkinsci/helm-charts", "22055414e808938d0fc0585c4920d57661acce90")
_KEDA = Repository("kedacore/charts", "1444d00d90d7668cf7f53f270777d039371d90d0")
_NATS = Repository("nats-io/k8s", "957650fba03e2e6ad8b5d54d66358f67a431157b")
_OPEN_TELEMETRY = Repository("open-telemetry/opentelemetry-helm-charts", "dd5665c06f376c00a5e2147aa84b70c3d105ecfb")
_PROMETHEUS = Repository("prometheus-community/helm-charts", "cf408a290aec489277a94450bb3511432477a53a")
_ZALANDO = Repository("zalando/postgres-operator", "a7aaad0a0b9517bb46077f2925eb80ae8ebe1a0c")


def _github(name: str, commit: str, path: str, is_chart: bool = True, started: tuple[str, ...] = ()) -> Input:
    source = Repository(name, commit)
    return Input(name.partition("/")[2].lower(), source, path, is_chart=is_chart, started=started)


MANY = (
    _github(
        "aquasecurity/trivy-operator",
        "1006872c1463e81a40d48298145625aefef2a02f",
        "deploy/helm",
        started=("ghcr.io/aquasecurity/node-collector:0.3.1", "mirror.gcr.io/aquasec/trivy:0.72.0"),
    ),
    Input("argo-events", _ARGO, "charts/argo-events", started=("docker.io/library/nats:2.10.10",)),
    Input("argo-rollouts", _ARGO, "charts/argo-rollouts"),
    Input("argo-workflows", _ARGO, "charts/argo-workflows"),
    Input("argocd-image-updater", _ARGO, "charts/argocd-image-updater"),
    Input("aws-cloudwatch-metrics", _EKS, "stable/aws-cloudwatch-metrics"),
    Input("aws-load-balancer-controller", _EKS, "stable/aws-load-balancer-controller", {"clusterName": "test"}),
    Input("aws-vpc-cni", _EKS, "stable/aws-vpc-cni"),
    _github("bitnami-labs/sealed-secrets", "86671a8851be1e6c2dfef4e12e2d7c19ed24ac94", "helm/sealed-secrets"),
    _github("cert-manager/cert-manager", "2d0d7f7f74241a9cbf79f0e2a7bb247238ee09fd", "deploy/charts/cert-manager"),
    Input("fluent-bit", _FLUENT, "charts/fluent-bit"),
    Input("fluent-operator", _FLUENT, "charts/fluent-operator"),
    Input("fluentd", _FLUENT, "charts/fluentd"),
    _github("goharbor/harbor-helm", "70564d52f0ade16a481c6cd29efc8db863b487ce", "."),
    Input("grafana-agent-operator", _GRAFANA, "charts/agent-operator"),
    Input("loki-distributed", _GRAFANA, "charts/loki-distributed"),
    Input("promtail", _GRAFANA, "charts/promtail"),
    Input("rollout-operator", _GRAFANA, "charts/rollout-operator"),
    _github("hashicorp/vault-helm", "aa1c92e4adddbce9660e536dfe5222a88eda6d52", "."),
    Input("istio-cni", _ISTIO, "manifests/charts/istio-cni"),
    Input("istio-gateway", _ISTIO, "manifests/charts/gateway"),
    Input(
        "istiod",
        _ISTIO,
        "manifests/charts/istio-control/istio-discovery",
        started=("registry.istio.io/testing/proxyv2:latest",),
    ),
    Input("ztunnel", _ISTIO, "manifests/charts/ztunnel"),
    Input("jenkins", _JENKINS, "charts/jenkins"),
    _github("jupyterhub/zero-to-jupyterhub-k8s", "48ea50e34daddde55d76e30df6ecd47e4abd4d8e", "jupyterhub"),
    Input("keda", _KEDA, "keda"),
    Input("keda-http-add-on", _KEDA, "http-add-on"),
    _github("kubernetes-sigs/metrics-server", "5ed5d3a2cf940a8c7541cfbac19af822f4c97844", "charts/metrics-server"),
    _github(
        "kubernetes-sigs/node-feature-discovery",
        "76e6cc8cc0d54b8bce037098b72611ffdf66ef5a",
        "deployment/helm/node-feature-discovery",
    ),
    _github("kubernetes/ingress-nginx", "dbb11b92ddb77bee9c35e462479129354c84f939", "charts/ingress-nginx"),
    _github(
        "longhorn/longhorn",
        "bb2f2223a6f7b5d97a98b7e765937fe48a1b96f7",
        "chart",
        started=("docker.io/longhornio/longhorn-engine:master-head",),
    ),
    _github("metallb/metallb", "7938d3f89b8bd808dae2e42d97d6ae7e18e9ed54", "charts/metallb"),
    Input("nack", _NATS, "helm/charts/nack"),
    Input("nats", _NATS, "helm/charts/nats"),
    Input("nats-operator", _NATS, "helm/charts/nats-operator"),
    _github(
        "NVIDIA/gpu-operator",
        "a22dbf671f2e26f9a1e342f8eea28e196235e110",
        "deployments/gpu-operator",
        started=("nvcr.io/nvidia/k8s-device-plugin:v0.20.0", "nvcr.io/nvidia/k8s/container-toolkit:v1.20.0"),
    ),
    _github("open-policy-agent/gatekeeper", "dd8507eb97f5ca24dbee34c95d8e6ffa053cb8a0", "charts/gatekeeper"),
    Input("opentelemetry-ebpf", _OPEN_TELEMETRY, "charts/opentelemetry-ebpf"),
    Input("opentelemetry-operator", _OPEN_TELEMETRY, "charts/opentelemetry-operator"),
    Input("alertmanager", _PROMETHEUS, "charts/alertmanager"),
    Input("kube-state-metrics", _PROMETHEUS, "charts/kube-state-metrics"),
    Input("prometheus-adapter", _PROMETHEUS, "charts/prometheus-adapter"),
    Input("prometheus-blackbox-exporter", _PROMETHEUS, "charts/prometheus-blackbox-exporter"),
    Input("prometheus-node-exporter", _PROMETHEUS, "charts/prometheus-node-exporter"),
    Input("prometheus-pushgateway", _PROMETHEUS, "charts/prometheus-pushgateway"),
    _github(
        "prometheus-operator/kube-prometheus",
        "4d719f1dea8853540b3823ab1fbe6be74a9953b3",
        "manifests",
        is_chart=False,
    ),
    _github("stakater/Reloader", "655a2b3814baadb69d3d1e105242d6cc8875d7cb", "deployments/kubernetes/chart/reloader"),
    _github(
        "strimzi/strimzi-kafka-operator",
        "8541da1e336bdcda9647aeacfbc2048e57580a52",
        "helm-charts/helm3/strimzi-kafka-operator",
    ),
    _github("traefik/traefik-helm-chart", "a8a66d0098703627b2cf352c66b1725c196a734a", "traefik"),
    Input("postgres-operator", _ZALANDO, "charts/postgres-operator"),
    Input("postgres-operator-ui", _ZALANDO, "charts/postgres-operator-ui"),
)
"""The further inputs of ``make charts``: charts without dependencies that must be downloaded."""
