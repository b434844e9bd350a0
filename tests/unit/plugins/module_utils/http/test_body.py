# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small bodies are read as they were sent, within limits for their size and their time."""

from __future__ import annotations

import gzip
import io
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import UnreadableResponseError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http import slow_peer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.body import (
    MAXIMUM_ERROR_BODY,
    in_memory,
    read_body,
    read_text,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.network_errors import NETWORK_ERRORS, NetworkError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.response import CompleteResponse, ResponseReader
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.slow_peer import (
    Pace,
    PacedReader,
    SlowPeerError,
)
from hypothesis import given
from hypothesis import strategies as st

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TRAILER = CHUNK + b"0\r\n"


class Pieces:
    """A socket that receives prepared pieces, and then the end of the stream."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def recv_into(self, buffer: memoryview) -> int:
        while self._pieces and not self._pieces[0]:
            self._pieces.pop(0)
        if not self._pieces:
            return 0
        count = min(len(buffer), len(self._pieces[0]))
        buffer[:count] = self._pieces[0][:count]
        self._pieces[0] = self._pieces[0][count:]
        return count

    def makefile(self, _mode: str, buffering: int) -> io.BytesIO:
        assert buffering == 0
        return io.BytesIO()


def response_from(sock: Any) -> Any:
    """Return the response that arrives on a socket, with its body unread."""
    reader = ResponseReader(PacedReader(sock, Pace("sent", 60.0, 0)))
    original = CompleteResponse(reader, False)
    original.begin()
    return urllib3.HTTPResponse(
        original,
        dict(original.getheaders()),
        original.status,
        preload_content=False,
        decode_content=False,
        original_response=original,
        enforce_content_length=True,
    )


def in_chunks(body: bytes, size: int) -> bytes:
    """Return a body in the transfer coding "chunked" (RFC 9112, section 7.1)."""
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@given(data=st.data())
def test_body_is_complete_or_an_error_for_any_pieces_and_any_end(data: st.DataObject) -> None:
    body = data.draw(st.binary(max_size=300))
    chunk = data.draw(st.one_of(st.none(), st.integers(1, 100)))
    limit = data.draw(st.integers(0, 400))
    if chunk is None:
        header, sent = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body
    else:
        header, sent = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", in_chunks(body, chunk)
    end = data.draw(st.one_of(st.just(len(sent)), st.integers(0, len(sent))))
    cuts = sorted(data.draw(st.lists(st.integers(0, end), max_size=20)))
    pieces = [sent[start:stop] for start, stop in zip([0, *cuts], [*cuts, end])]
    raw = response_from(Pieces([header, *pieces]))

    try:
        content = read_body(raw, limit, "the registry")
    except NETWORK_ERRORS:
        assert end < len(sent)
        return

    assert content == body[: limit + 1]
    # Only the beginning of an incomplete body was read. The line after the last chunk may be missing.
    assert end >= len(sent) - 2 * (chunk is not None) or len(content) == limit + 1


@pytest.mark.parametrize("cut", [b"0", b"00", b"00a"])
def test_chunk_whose_size_is_cut_is_not_the_last(cut: bytes) -> None:
    with pytest.raises(NETWORK_ERRORS):
        read_body(response_from(Pieces([CHUNK, b"3\r\nabc\r\n", cut])), 100, "the registry")


def compressed(content: bytes = b"{}", status: int = 200) -> Any:
    """Return a response whose body is compressed."""
    headers = {"Content-Encoding": "gzip"}
    return urllib3.HTTPResponse(io.BytesIO(gzip.compress(content)), headers, status, preload_content=False)


def test_compressed_body_is_rejected() -> None:
    with pytest.raises(UnreadableResponseError, match=r"^the registry returned a compressed response \(gzip\)"):
        read_body(compressed(), 100, "the registry")


def test_compressed_text_is_empty() -> None:
    assert read_text(compressed(b"x" * (64 << 20), 500)) == b""


def test_long_text_is_truncated() -> None:
    source = io.BytesIO(bytes(1 << 20))

    assert len(read_text(urllib3.HTTPResponse(source, preload_content=False))) == MAXIMUM_ERROR_BODY
    assert source.closed


@pytest.mark.parametrize(
    "sent",
    [
        [b"HTTP/1.1 413 Too Large\r\nContent-Length: 100\r\n\r\n", b"too large"],
        [b"HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n", b"9\r\ntoo large\r\n"],
    ],
    ids=["length", "chunked"],
)
def test_text_of_interrupted_body_is_used(sent: list[bytes]) -> None:
    assert read_text(response_from(Pieces(sent))) == b"too large"


def test_response_in_memory_has_headers_except_those_of_the_body() -> None:
    response = in_memory(compressed(), b"text")

    assert (dict(response.headers), response.status, response.data) == ({}, 200, b"text")


@pytest.fixture
def dripping() -> Iterator[Any]:
    """A socket that receives a part of a response, and then a byte every 10 milliseconds."""
    client, server = socket.socketpair()
    ended = threading.Event()
    begin: list[bytes] = []

    def drip() -> None:
        try:
            server.sendall(begin[0])
            while not ended.wait(0.01):
                server.sendall(b"1")
        except OSError:
            return

    thread = threading.Thread(target=drip)

    def start(part: bytes) -> socket.socket:
        begin.append(part)
        thread.start()
        return client

    yield start
    ended.set()
    thread.join()
    client.close()
    server.close()


@pytest.mark.parametrize("part", [LENGTH, CHUNK, TRAILER], ids=["body", "size of chunk", "trailer"])
def test_slow_body_ends_after_its_time(dripping: Any, part: bytes) -> None:
    raw = response_from(dripping(part))
    begin = time.monotonic()

    with pytest.raises(NETWORK_ERRORS) as caught:
        read_body(raw, 1 << 20, "the registry", seconds=0.2)

    explained = NetworkError(caught.value).slow_peer("the registry")
    assert str(explained).startswith("the registry sent no complete response within 0 seconds. ")
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("part", [b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nX: "], ids=["status", "header"])
def test_slow_header_ends_after_its_time(dripping: Any, part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_peer, "HEADER_SECONDS", 0.2)

    with pytest.raises(SlowPeerError, match="no complete response"):
        response_from(dripping(part))


def test_interim_responses_end_after_time_of_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_peer, "HEADER_SECONDS", 0.2)
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000

    class Endless(Pieces):
        def recv_into(self, buffer: memoryview) -> int:
            self._pieces.append(interim)
            return super().recv_into(buffer)

    with pytest.raises(SlowPeerError, match="no complete response"):
        response_from(Endless([]))
