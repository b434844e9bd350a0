# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fields of custom resources that name images which their operators run.

Fields in templates of Pods are not listed: these are recognized in every object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import InputError
from ..oci.json_object import json_object
from .field_paths import FieldPath, parse_field_path

_TEMPLATES = ("templates[]", "templates[].dag.tasks[].inline", "templateDefaults")
_WORKFLOW = tuple(
    f"{template}.{part}.image" for template in _TEMPLATES for part in ("container", "script", "sidecars[]")
)
_LANGUAGES = ("java", "nodejs", "python", "dotnet", "go", "apacheHttpd", "nginx")
_STEPS = ("steps[].image", "sidecars[].image", "stepTemplate.image")
_TASKS = tuple(f"{tasks}[].taskSpec.{path}" for tasks in ("tasks", "finally") for path in _STEPS)
_PREDICTORS = tuple(f"spec.{part}.*.image" for part in ("predictor", "transformer", "explainer"))


def _below(prefix: str, paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{prefix}.{path}" for path in paths)


KNOWN_PATHS: Mapping[str, tuple[str, ...]] = {
    "Alertmanager.monitoring.coreos.com": ("spec.image",),
    "Prometheus.monitoring.coreos.com": ("spec.image", "spec.thanos.image"),
    "PrometheusAgent.monitoring.coreos.com": ("spec.image",),
    "ThanosRuler.monitoring.coreos.com": ("spec.image",),
    "CronWorkflow.argoproj.io": _below("spec.workflowSpec", _WORKFLOW),
    "ClusterWorkflowTemplate.argoproj.io": _below("spec", _WORKFLOW),
    "Workflow.argoproj.io": _below("spec", _WORKFLOW),
    "WorkflowTemplate.argoproj.io": _below("spec", _WORKFLOW),
    "EventSource.argoproj.io": ("spec.template.container.image",),
    "Sensor.argoproj.io": ("spec.template.container.image",),
    "ClusterTask.tekton.dev": _below("spec", _STEPS),
    "Pipeline.tekton.dev": _below("spec", _TASKS),
    "PipelineRun.tekton.dev": _below("spec.pipelineSpec", _TASKS),
    "StepAction.tekton.dev": ("spec.image",),
    "Task.tekton.dev": _below("spec", _STEPS),
    "TaskRun.tekton.dev": _below("spec.taskSpec", _STEPS),
    "Kafka.kafka.strimzi.io": (
        *("spec.kafka.image", "spec.zookeeper.image", "spec.kafkaExporter.image", "spec.cruiseControl.image"),
        *("spec.entityOperator.topicOperator.image", "spec.entityOperator.userOperator.image"),
    ),
    "Image.caching.internal.knative.dev": ("spec.image",),
    "InferenceService.serving.kserve.io": _PREDICTORS,
    "KafkaBridge.kafka.strimzi.io": ("spec.image",),
    "KafkaConnect.kafka.strimzi.io": ("spec.image",),
    "KafkaMirrorMaker2.kafka.strimzi.io": ("spec.image",),
    "Cluster.postgresql.cnpg.io": ("spec.imageName",),
    "ClusterImageCatalog.postgresql.cnpg.io": ("spec.images[].image",),
    "ImageCatalog.postgresql.cnpg.io": ("spec.images[].image",),
    "postgresql.acid.zalan.do": ("spec.dockerImage",),
    "OperatorConfiguration.acid.zalan.do": (
        *("configuration.docker_image", "configuration.connection_pooler.connection_pooler_image"),
        "configuration.logical_backup.logical_backup_docker_image",
    ),
    "FluentBit.fluentbit.fluent.io": ("spec.image",),
    "Fluentd.fluentd.fluent.io": ("spec.image",),
    "CephCluster.ceph.rook.io": ("spec.cephVersion.image",),
    "Elasticsearch.elasticsearch.k8s.elastic.co": ("spec.image",),
    "Kibana.kibana.k8s.elastic.co": ("spec.image",),
    "RabbitmqCluster.rabbitmq.com": ("spec.image",),
    "Tenant.minio.min.io": ("spec.image",),
    "Instrumentation.opentelemetry.io": tuple(f"spec.{language}.image" for language in _LANGUAGES),
    "OpenTelemetryCollector.opentelemetry.io": ("spec.image",),
    "SparkApplication.sparkoperator.k8s.io": ("spec.image", "spec.driver.image", "spec.executor.image"),
    "VirtualMachine.kubevirt.io": ("spec.template.spec.volumes[].containerDisk.image",),
    "VirtualMachineInstance.kubevirt.io": ("spec.volumes[].containerDisk.image",),
    "Configuration.pkg.crossplane.io": ("spec.package",),
    "Function.pkg.crossplane.io": ("spec.package",),
    "Provider.pkg.crossplane.io": ("spec.package",),
    "CatalogSource.operators.coreos.com": ("spec.image",),
}
"""The paths of each kind with its group. Paths that do not exist in an object are skipped."""

_ELASTIC = "docker.elastic.co"
DEFAULT_IMAGES: Mapping[str, str] = {
    "Agent.agent.k8s.elastic.co": f"{_ELASTIC}/elastic-agent/elastic-agent:{{version}}",
    "ApmServer.apm.k8s.elastic.co": f"{_ELASTIC}/apm/apm-server:{{version}}",
    "Beat.beat.k8s.elastic.co": f"{_ELASTIC}/beats/{{type}}:{{version}}",
    "Elasticsearch.elasticsearch.k8s.elastic.co": f"{_ELASTIC}/elasticsearch/elasticsearch:{{version}}",
    "Kibana.kibana.k8s.elastic.co": f"{_ELASTIC}/kibana/kibana:{{version}}",
    "Logstash.logstash.k8s.elastic.co": f"{_ELASTIC}/logstash/logstash:{{version}}",
}
"""The image of each kind without ``spec.image``, by fields of its spec. Its operator may use another registry."""
RUNTIME_EXPRESSIONS = ("argoproj.io", "tekton.dev")
"""Groups whose objects may have expressions in place of names, which their controllers replace at run time."""

PATTERNS = ("kyverno.io", "policies.kyverno.io")
"""Groups whose objects have patterns in place of names, such as ``*:latest``."""


class ResourcePaths:
    """The paths of each kind: the known ones, and those of the user.

    Args:
        extra: The option ``extra_paths``: a list of paths for each kind, with or without its group.

    Raises:
        InputError: The option has an invalid path, or a value that is not a list of paths.
    """

    def __init__(self, extra: Mapping[str, Any] | None = None) -> None:
        self._paths: dict[str, tuple[FieldPath, ...]] = {
            kind: tuple(parse_field_path(path, kind) for path in paths) for kind, paths in KNOWN_PATHS.items()
        }
        for kind, paths in (extra or {}).items():
            where = f"extra_paths of {kind!s:.100}"
            listed = [paths] if isinstance(paths, str) else paths
            if not isinstance(listed, list) or not all(isinstance(path, str) for path in listed):
                raise InputError(f"{where} is not a list of paths", "Write for example: Prometheus: [spec.image]")
            added = tuple(parse_field_path(path, where) for path in listed)
            self._paths[kind] = (*self._paths.get(kind, ()), *added)

    def texts(self, item: Mapping[str, Any], kind: str) -> Iterator[tuple[str, str]]:
        """Yield the names at the paths of an object's kind, each with its path."""
        for key in (kind, f"{kind}.{group_of(item)}"):
            for path in self._paths.get(key, ()):
                for where, value in path.values(item):
                    if isinstance(value, str) and value.strip():
                        yield where, value


def default_image(item: Mapping[str, Any], kind: str) -> str | None:
    """Return the image that an operator runs for a resource which states only a version; None for other objects."""
    pattern, spec = DEFAULT_IMAGES.get(f"{kind}.{group_of(item)}"), json_object(item.get("spec"))
    if pattern is None or spec.get("image"):
        return None
    fields = {name: text for name, text in spec.items() if isinstance(text, str)}
    return pattern.format_map({"type": "", "version": "", **fields})


def group_of(item: Mapping[str, Any]) -> str:
    """Return the API group of an object; empty for the core group."""
    version = item.get("apiVersion")
    group, slash, _version = version.partition("/") if isinstance(version, str) else ("", "", "")
    return group if slash else ""
