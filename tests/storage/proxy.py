"""A loopback HTTP proxy before the S3 server that counts, throttles, resets, stalls and refuses as
a test asks.
"""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal["", "slow down", "reset", "stall", "denied", "broken"]


@dataclass
class Request:
    """One request as the proxy saw it."""

    method: str
    path: str
    number: int
    fault: Fault = ""
    sent: int = 0  # bytes of body that went back to the client


@dataclass
class Proxy:
    """`fault(request)` says what goes wrong with a request; "" passes it on."""

    server: tuple[str, int]
    fault: Callable[[Request], Fault] = lambda request: ""
    stall_s: float = 8.0
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        proxy = self
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.body()
                with lock:
                    request = Request(self.command, self.path, len(proxy.requests))
                    proxy.requests.append(request)
                    request.fault = proxy.fault(request)
                if request.fault in _ANSWERS:
                    status, code = _ANSWERS[request.fault]
                    answer = (
                        f"<Error><Code>{code}</Code><Message>by the test</Message></Error>".encode()
                    )
                    self.answer(status, [("Content-Type", "application/xml")], answer, len(answer))
                    return
                if request.fault == "stall":
                    time.sleep(proxy.stall_s)
                    self.close_connection = True
                    return
                there = http.client.HTTPConnection(*proxy.server, timeout=30)
                try:
                    there.request(self.command, self.path, body, dict(self.headers.items()))
                    response = there.getresponse()
                    answer = response.read()
                finally:
                    there.close()
                whole = int(response.headers.get("Content-Length") or len(answer))
                headers = [
                    (k, v)
                    for k, v in response.headers.items()
                    if k not in ("Content-Length", "Transfer-Encoding", "Connection")
                ]
                request.sent = len(answer) // 2 if request.fault == "reset" else len(answer)
                self.answer(response.status, headers, answer[: request.sent], whole)
                if request.fault == "reset":
                    linger = struct.pack("ii", 1, 0)  # the kernel sends RST on close
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.wfile.flush()
                    self.connection.close()
                    self.close_connection = True

            def body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                del self.headers["Transfer-Encoding"]  # passed on in one piece
                pieces = []
                while length := int(self.rfile.readline(), 16):
                    pieces.append(self.rfile.read(length))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(pieces)

            def answer(
                self, status: int, headers: list[tuple[str, str]], body: bytes, announced: int
            ) -> None:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(announced))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # connections that this proxy broke itself

        self._http = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def sent(self, method: str = "GET", name: str = "") -> int:
        """Bytes that answers to these requests carried."""
        return sum(r.sent for r in self.requests if r.method == method and name in r.path)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


_ANSWERS = {
    "slow down": (503, "SlowDown"),
    "denied": (403, "AccessDenied"),
    "broken": (400, "BadRequest"),
}
