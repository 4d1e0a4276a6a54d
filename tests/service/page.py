"""A page that follows flags with the official web provider: in Node, or in a browser, if there is one on PATH."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any

from tests.service.segment_node import install

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent / "ofrep_web"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--remote-debugging-port=0",
    # Otherwise it asks its maker for updates and lists: nothing in a test leaves this machine.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)
PATIENCE = 60.0
Steps = Queue[dict[str, Any]]


def browser() -> str | None:
    """The program of a browser without a window; None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextlib.contextmanager
def in_node(order: dict[str, Any]) -> Iterator[Steps]:
    """The page's steps, as it takes them."""
    node, _ = install.programs()[0]
    order = order | {"modules": str(install.folder_of("ofrep_web") / "node_modules")}
    command = [node, "--experimental-eventsource", "--no-warnings", str(HERE / "node.mjs"), json.dumps(order)]
    steps: Steps = Queue()
    with _running(subprocess.Popen(command, stdout=subprocess.PIPE)) as process:

        def listen() -> None:
            for line in process.stdout or ():
                steps.put(json.loads(line))

        with _beside(listen):
            yield steps
            process.kill()


@contextlib.contextmanager
def in_browser(order: dict[str, Any]) -> Iterator[Steps]:
    """The same in a real one, from a server of another origin than the service's."""
    steps: Steps = Queue()
    handler = partial(_Page, order, steps, directory=str(install.folder_of("ofrep_web")))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with _beside(server.serve_forever), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser() or "", *OPTIONS, f"--user-data-dir={profile}", f"http://127.0.0.1:{server.server_port}/"]
        with _running(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)):
            yield steps
        server.shutdown()
        server.server_close()


class _Page(SimpleHTTPRequestHandler):
    """The page, its modules, what it is to do, and where it tells what it did."""

    def __init__(self, order: dict[str, Any], steps: Steps, *given: Any, **named: Any) -> None:
        self.order, self.steps = order, steps
        super().__init__(*given, **named)

    def do_GET(self) -> None:
        files = {"/": HERE / "page.html", "/follow.mjs": HERE / "follow.mjs"}
        if self.path == "/order":
            self._answer("application/json", json.dumps(self.order).encode())
        elif (file := files.get(self.path)) is not None:
            self._answer("text/html" if file.suffix == ".html" else "text/javascript", file.read_bytes())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.steps.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer("text/plain", b"")

    def log_message(self, *said: Any) -> None:
        pass

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def _running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def _beside(work: Any) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)
