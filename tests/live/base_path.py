# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An API server below a base path, as on management platforms: a small proxy before the real API server."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cluster import layout
from cluster.certificates import CA, Pair


@contextmanager
def base_path(prefix: str) -> Iterator[str]:
    """Provide an API server below a path until the end of the block; all requests are the administrator's.

    Args:
        prefix: The path, with a leading slash.

    Yields:
        The URL of the API server.
    """
    admin = Pair("admin")
    context = ssl.create_default_context(cafile=str(CA.certificate))
    context.load_cert_chain(str(admin.certificate), str(admin.key))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            assert self.path.startswith(f"{prefix}/"), self.path
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            del self.headers["Authorization"]
            server = http.client.HTTPSConnection("127.0.0.1", layout.API_PORT, context=context)
            server.request(self.command, self.path[len(prefix) :], body, dict(self.headers))
            response = server.getresponse()
            content = response.read()
            self.send_response(response.status)
            for name, value in response.getheaders():
                # Like these platforms, do not rewrite the API server's addresses, whose paths are without the prefix.
                if name.lower() not in ("content-length", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", response.headers.get("Content-Length") or str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            server.close()

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _forward  # noqa: N815 (names of http.server)

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}{prefix}"
        finally:
            server.shutdown()
            thread.join()
