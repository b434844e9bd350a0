# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the options that say which cluster and as whom."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that speaks to a cluster; the names are those of kubernetes.core."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of the kubeconfig to use, on the host that runs the module. Several paths can be joined with C(:), as in
        the environment variable E(KUBECONFIG); the first one that sets a value decides.
      - The content of a kubeconfig is accepted too, as a dictionary or as text, for example from the lookup
        P(ansible.builtin.file#lookup), which decrypts a file that is encrypted by Ansible Vault. Its tokens, passwords
        and keys, and the arguments and environment variables of credential plugins, are hidden in everything that the
        module returns or logs.
      - Without it, and without O(context) or O(host), the service account is used when the module runs in a Pod, and
        else E(KUBECONFIG) or C(~/.kube/config).
      - Can also be set with E(K8S_AUTH_KUBECONFIG).
    type: raw
  context:
    description:
      - The kubeconfig's context to use instead of its current one.
      - Can also be set with E(K8S_AUTH_CONTEXT).
    type: str
  host:
    description:
      - URL of the API server, with its base path where it has one, such as V(https://rancher.example.com/k8s/clusters/c-1).
      - Together with O(api_key), or O(username) and O(password), or O(client_cert) and O(client_key), it needs no
        kubeconfig. Alone it takes the place of the kubeconfig's server.
      - Can also be set with E(K8S_AUTH_HOST).
    type: str
  api_key:
    description:
      - Bearer token to authenticate with. It takes the place of every credential in the kubeconfig.
      - Can also be set with E(K8S_AUTH_API_KEY).
    type: str
  username:
    description:
      - User name for HTTP basic authentication, where something in front of the API server takes it; Kubernetes itself
        no longer does.
      - Can also be set with E(K8S_AUTH_USERNAME).
    type: str
  password:
    description:
      - Password for O(username).
      - Can also be set with E(K8S_AUTH_PASSWORD).
    type: str
  client_cert:
    description:
      - Path of a PEM file with the client certificate to authenticate with. It takes the place of every credential in
        the kubeconfig.
      - Can also be set with E(K8S_AUTH_CLIENT_CERT) or E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description:
      - Path of a PEM file with the private key of O(client_cert), not encrypted.
      - Can also be set with E(K8S_AUTH_CLIENT_KEY) or E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  ca_cert:
    description:
      - Path of a PEM file with the certificate authorities that may have signed the API server's certificate.
      - Without it the kubeconfig's are trusted, or the system's when it has none.
      - Can also be set with E(K8S_AUTH_CA_CERT) or E(K8S_AUTH_SSL_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  validate_certs:
    description:
      - Whether the API server's certificate is checked. Without the check anyone on the way can read the credentials
        and change what is delivered, so the module warns.
      - Without it the kubeconfig decides, and else the certificate is checked.
      - Can also be set with E(K8S_AUTH_VALIDATE_CERTS) or E(K8S_AUTH_VERIFY_SSL).
    type: bool
    aliases: [verify_ssl]
  tls_server_name:
    description:
      - The name to expect in the API server's certificate, where it is not the host of its URL.
      - Can also be set with E(K8S_AUTH_TLS_SERVER_NAME).
    type: str
  proxy:
    description:
      - URL of the HTTP or SOCKS proxy between here and the API server, such as V(http://proxy.example.com:3128).
      - Without it the C(proxy-url) of the kubeconfig is used. The usual environment variables, such as E(HTTPS_PROXY),
        are not read.
      - Can also be set with E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description:
      - Comma-separated hosts, domains, addresses and CIDR ranges that are reached without the proxy.
      - Can also be set with E(K8S_AUTH_NO_PROXY).
    type: str
  proxy_headers:
    description:
      - What to tell the proxy about us.
    type: dict
    suboptions:
      proxy_basic_auth:
        description:
          - User name and password for the proxy, separated by a colon.
          - Can also be set with E(K8S_AUTH_PROXY_HEADERS_PROXY_BASIC_AUTH).
        type: str
      basic_auth:
        description:
          - User name and password for the header C(authorization) to the proxy, separated by a colon.
          - Can also be set with E(K8S_AUTH_PROXY_HEADERS_BASIC_AUTH).
        type: str
      user_agent:
        description:
          - How to call ourselves to the proxy.
          - Can also be set with E(K8S_AUTH_PROXY_HEADERS_USER_AGENT).
        type: str
  persist_config:
    description:
      - Whether a token that was refreshed on the way is written back to the kubeconfig file.
      - Can also be set with E(K8S_AUTH_PERSIST_CONFIG).
    type: bool
  impersonate_user:
    description:
      - The user to act as. It replaces C(as) in the kubeconfig's user.
      - Can also be set with E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description:
      - The groups to act as a member of, together with O(impersonate_user) or C(as) in the kubeconfig's user. They
        replace C(as-groups) there.
      - Can also be set with E(K8S_AUTH_IMPERSONATE_GROUPS), separated by commas.
    type: list
    elements: str
notes:
  - As in C(kubectl), C(as), C(as-groups), C(as-uid) and C(as-user-extra) of the kubeconfig's user impersonate another
    user.
  - Exec plugins, token files and other credentials that end while the module works are renewed on the way.
  - Only the options above and the kubeconfig decide about TLS, proxies and credentials. C(REQUESTS_CA_BUNDLE),
    C(HTTPS_PROXY), C(~/.netrc) and their like have no say.
"""
