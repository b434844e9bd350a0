# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options for the connection to a cluster."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that connect to a cluster, with the names of kubernetes.core."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of the kubeconfig file, on the host that runs the module. Several paths can be joined with C(:), as in the
        environment variable E(KUBECONFIG); for each value, the first file that sets it takes precedence.
      - The content of a kubeconfig is accepted as well, as a dictionary or as text, for example from the lookup
        P(ansible.builtin.file#lookup), which decrypts files that are encrypted with Ansible Vault. Its tokens,
        passwords and keys, and the arguments and environment of credential plugins, are redacted in results and logs.
      - Credential plugins (C(exec)) run without a terminal and without input. They are killed after 60 seconds, for
        example if they wait for a login; the message shows their last output. Log in on the host that runs the module
        before the task.
      - If O(kubeconfig), O(context) and O(host) are unset, the module uses the service account if it runs in a Pod, and
        otherwise E(KUBECONFIG) or C(~/.kube/config).
      - Can also be set with E(K8S_AUTH_KUBECONFIG).
    type: raw
  context:
    description: Context of the kubeconfig; by default, its current one. Can also be set with E(K8S_AUTH_CONTEXT).
    type: str
  host:
    description: URL of the API server, including its base path, if any, such as
      V(https://rancher.example.com/k8s/clusters/c-1). With O(api_key), or O(username) and O(password), or
      O(client_cert) and O(client_key), no kubeconfig is needed. Without them, it overrides the server of the
      kubeconfig. Can also be set with E(K8S_AUTH_HOST).
    type: str
  api_key:
    description: Bearer token. It overrides all credentials of the kubeconfig. Can also be set with E(K8S_AUTH_API_KEY).
    type: str
  username:
    description: User name for HTTP basic authentication. Set it if a server in front of the API server accepts it;
      Kubernetes itself no longer does. Can also be set with E(K8S_AUTH_USERNAME).
    type: str
  password:
    description: Password for O(username). Can also be set with E(K8S_AUTH_PASSWORD).
    type: str
  client_cert:
    description: Path of a PEM file with the client certificate for authentication. It overrides all credentials of the
      kubeconfig. Can also be set with E(K8S_AUTH_CLIENT_CERT) or E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description: Path of a PEM file with the unencrypted private key of O(client_cert). Can also be set with
      E(K8S_AUTH_CLIENT_KEY) or E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  ca_cert:
    description: Path of a PEM file with the CA certificates to trust for the API server. The default is those of the
      kubeconfig, or the system's if it has none. Can also be set with E(K8S_AUTH_CA_CERT) or E(K8S_AUTH_SSL_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  validate_certs:
    description: Whether to verify the API server's certificate. The default is the kubeconfig's setting, and otherwise
      V(true). Without verification, an attacker on the network can read the credentials and change the images, so the
      module warns. Can also be set with E(K8S_AUTH_VALIDATE_CERTS) or E(K8S_AUTH_VERIFY_SSL).
    type: bool
    aliases: [verify_ssl]
  tls_server_name:
    description: Server name to expect in the API server's certificate. The default is C(tls-server-name) of the
      kubeconfig, or the host of the URL. Set it if that name differs. Can also be set with E(K8S_AUTH_TLS_SERVER_NAME).
    type: str
  proxy:
    description: URL of the HTTP or SOCKS proxy to the API server, such as V(http://proxy.example.com:3128). The default
      is C(proxy-url) of the kubeconfig. Can also be set with E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description: Hosts, domains, addresses and CIDR ranges that are reached without the proxy, separated by commas or
      spaces. A domain includes its subdomains, and C(*) stands for any characters. Can also be set with
      E(K8S_AUTH_NO_PROXY).
    type: str
  proxy_headers:
    description: Headers to send to the proxy.
    type: dict
    suboptions:
      proxy_basic_auth:
        description: User name and password for the proxy, separated by a colon. Can also be set with
          E(K8S_AUTH_PROXY_HEADERS_PROXY_BASIC_AUTH).
        type: str
      basic_auth:
        description: User name and password for the header C(authorization) to the proxy, separated by a colon. Can also
          be set with E(K8S_AUTH_PROXY_HEADERS_BASIC_AUTH).
        type: str
      user_agent:
        description: User agent to send to the proxy. Can also be set with E(K8S_AUTH_PROXY_HEADERS_USER_AGENT).
        type: str
  persist_config:
    description: Whether to write refreshed tokens back to the kubeconfig file. By default, they are not written. Can
      also be set with E(K8S_AUTH_PERSIST_CONFIG).
    type: bool
  impersonate_user:
    description: User to impersonate. It overrides C(as) of the kubeconfig's user. Can also be set with
      E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description: Groups to impersonate, together with O(impersonate_user) or C(as) of the kubeconfig's user. They
      override C(as-groups) of that user. Can also be set with E(K8S_AUTH_IMPERSONATE_GROUPS), separated by commas.
    type: list
    elements: str
notes:
  - As in C(kubectl), C(as), C(as-groups), C(as-uid) and C(as-user-extra) of the kubeconfig's user impersonate another
    user.
  - Credentials of exec plugins, token files and other sources that expire during the task are renewed.
  - The settings for TLS, proxies and credentials of the API server come only from the options above and the kubeconfig.
    C(REQUESTS_CA_BUNDLE), C(HTTPS_PROXY), C(~/.netrc) and similar settings have no effect.
"""
