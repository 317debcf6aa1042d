"""A small HTTP server for files, with ranges or without, that can be made to fail."""

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Served:
    """What the server holds, what it was asked, and how it behaves."""

    def __init__(self):
        self.files = {}
        self.asked = []
        self.tags = {}
        self.ranges = True
        self.faults = []
        """What befalls the next requests: a status, or "drop" for half an answer."""
        self.login = ""
        self.moved = {}
        """Path → where it points instead."""
        self.url = ""

    def requests(self, name=""):
        return [(path, span) for path, span, _ in self.asked if name in path]


def handler(served):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def log_message(self, *args):
            pass

        def do_GET(self):
            self.answer()

        def answer(self):
            path, span = self.path.partition("?")[0], self.headers.get("Range", "")
            served.asked.append((self.path, span, self.headers.get("Authorization", "")))
            fault = served.faults.pop(0) if served.faults else None
            if isinstance(fault, int):
                self.send_error(fault)
                return
            if path in served.moved:
                self.send_response(302)
                self.send_header("Location", served.moved[path])
                self.end_headers()
                return
            if served.login and self.headers.get("Authorization") != served.login:
                self.send_error(401)
                return
            if path not in served.files:
                self.send_error(404)
                return
            blob = served.files[path]
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", span) if served.ranges else None
            start, end = (int(match[1]), min(int(match[2]) + 1, len(blob))) if match else (0, len(blob))
            if match and start >= len(blob):
                self.send_error(416)
                return
            self.send_response(206 if match else 200)
            if match:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(blob)}")
            self.send_header("Content-Length", str(end - start))
            if path in served.tags:
                self.send_header("ETag", served.tags[path])
            self.end_headers()
            self.wfile.write(blob[start : start + (end - start) // 2 if fault == "drop" else end])

    return Handler


@contextmanager
def serving():
    served = Served()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(served)) as server:
        served.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
