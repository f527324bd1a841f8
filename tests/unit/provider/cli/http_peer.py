"""A coordinator's door on a loopback port, served by a thread: scripted answers, and all that was asked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

Reply = tuple[int, dict[str, object]]


class HttpPeer:
    """`replies` holds the answers of each path in order, the last one for ever."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.asked: list[tuple[str, str, str, dict[str, object]]] = []
        self.url = ""

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> Reply:
        try:
            content = json.loads(body or b"{}")
        except ValueError:
            content = {"text": body.decode()}
        self.asked.append((method, path, authorization, content))
        replies = self.replies[f"{method} {path.partition('?')[0]}"]
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def count(self, method: str) -> int:
        return sum(asked[0] == method for asked in self.asked)


@contextmanager
def http_peer() -> Iterator[HttpPeer]:
    """Serve for the length of the block."""
    peer = HttpPeer()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, content = peer.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
            text = b"" if status == 204 else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _reply  # noqa: N815

        def log_message(self, *_what: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        peer.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield peer
        finally:
            server.shutdown()
            thread.join()
