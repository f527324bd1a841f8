"""A coordinator and its artifact store on one loopback port: a release row and a bundle."""

import hashlib
import io
import json
import tarfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from provider.update.release import fetch_latest
from provider.upstream import Upstream

MARK = "darkbloom-bundle.json"
ENTRY = "bin/darkbloom"


def make_bundle(files=None):
    """Build an archive; `files` are bytes by path, by default a complete bundle."""
    files = {MARK: b"{}", ENTRY: b"#!/bin/sh\necho new\n"} if files is None else files
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class ReleasePeer:
    """`row` None is a 404; `bundle` is what the store serves, `signature` what lies beside it."""

    def __init__(self):
        self.url = ""
        self.bundle = make_bundle()
        self.row = None
        self.status = 200
        self.signature = b""
        self.asked = []

    def release(self, version="0.2.0", entry=b"#!/bin/sh\necho new\n", **changes):
        self.row = {
            "version": version,
            "platform": "linux-x86_64",
            "url": f"{self.url}/bundle.tar.gz",
            "bundle_hash": hashlib.sha256(self.bundle).hexdigest(),
            "binary_hash": hashlib.sha256(entry).hexdigest(),
            **changes,
        }
        return self.row


def latest(peer):
    """Ask for the newest release."""
    with Upstream(peer.url) as upstream:
        return fetch_latest(upstream, "linux-x86_64")


@contextmanager
def release_peer():
    """Serve for the length of the block."""
    peer = ReleasePeer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            peer.asked.append(self.path)
            if self.path.startswith("/v1/releases/latest"):
                status = peer.status if peer.row is not None else 404
                body = json.dumps(peer.row or {"error": {"message": "no active release"}}).encode()
            elif self.path.endswith(".sig"):
                status, body = (200, peer.signature) if peer.signature else (404, b"")
            else:
                status, body = 200, peer.bundle
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_what):
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
