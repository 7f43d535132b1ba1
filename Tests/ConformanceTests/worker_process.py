"""Runs `keelson worker` as a process of its own, and the HTTP server that its jobs call."""

import http.server
import json
import queue
import signal
import subprocess
import threading

from server import BINARY

START_TIMEOUT_SECONDS = 20


class WorkerProcess:
    """One `keelson worker`; its log is a list of JSON lines."""

    def __init__(self, server, folder, *arguments, name="worker", queues="default"):
        self.folder = folder
        self.log = folder / f"{name}.log"
        command = [
            str(BINARY), "worker", "--server", server, "--name", name, "--queues", queues,
            *map(str, arguments),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True,
            )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def welcomed(self):
        """Waits until a server has welcomed it."""
        line = self.lines.get(timeout=START_TIMEOUT_SECONDS)
        assert line and "is working as" in line, (line, self.log.read_text())
        return self

    def logged(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_seconds=30):
        return self.process.wait(timeout_seconds)

    def stop(self):
        """Ends it with SIGTERM, which must give exit code 0."""
        self.terminate()
        code = self.wait()
        assert code == 0, (code, self.log.read_text()[-2000:])

    def kill(self):
        self.process.kill()
        self.process.wait(10)


class LocalServer:
    """An HTTP server on loopback. What it answers a path with is a function of its requests so far:
    a status, a body and headers, or None to say nothing until `released`."""

    def __init__(self):
        self.answers, self.requests = {}, queue.Queue()
        self.counts, self.lock = {}, threading.Lock()
        self.released = threading.Event()
        self.broken_off = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                path = self.path.split("?")[0]
                with outer.lock:
                    outer.counts[path] = outer.counts.get(path, 0) + 1
                    count = outer.counts[path]
                outer.requests.put((self.command, self.path, dict(self.headers), body))
                answer = outer.answers[path](count)
                if answer is None:
                    # Readable once the client has gone.
                    if self.connection.recv(1) == b"":
                        outer.broken_off.set()
                    self.close_connection = True
                    return
                status, body, headers = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def on(self, path, *answers):
        """Answers in this order, the last one ever after; each is a status, a body, headers."""
        def whole(status, body=b"", headers=()):
            return status, body, dict(headers)

        made = [answer and whole(*answer) for answer in answers]
        self.answers[path] = lambda count: made[min(count, len(made)) - 1]
        return self.address + path

    def close(self):
        self.server.shutdown()
        self.server.server_close()
