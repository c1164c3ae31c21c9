"""A Hub of one process: the few routes that uploading and downloading a model need."""

import base64
import contextlib
import hashlib
import http.server
import json
import threading

COMMIT = "0123456789" * 4


class _Handler(http.server.BaseHTTPRequestHandler):
    files: dict
    asked: list

    @property
    def _address(self):
        return f"http://{self.headers['Host']}"

    def do_HEAD(self):
        self._resolve(with_content=False)

    def do_GET(self):
        self._resolve(with_content=True)

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            name = json.loads(content)
            self._answer({"url": f"{self._address}/{name['organization']}/{name['name']}"})
        elif "/preupload/" in self.path:
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(content)["files"]
            ]
            self._answer({"files": modes})
        elif "/commit/" in self.path:
            name = "/".join(self.path.split("/")[3:5])
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    file = line["value"]
                    self.files[name, file["path"]] = base64.b64decode(file["content"])
            self._answer(
                {"commitUrl": f"{self._address}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
            )
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        else:
            self.send_error(404)

    def log_message(self, *arguments):
        self.asked.append(f"{self.command} {self.path}")

    def _resolve(self, with_content):
        user, repository, _, revision, *path = self.path.strip("/").split("/")
        name = f"{user}/{repository}"
        if self.path.startswith("/api/"):
            return self.send_error(404)
        if all(name != of for of, _ in self.files):
            return self._missing("RepoNotFound")
        if revision not in ("main", COMMIT):
            return self._missing("RevisionNotFound")
        content = self.files.get((name, "/".join(path)))
        if content is None:
            return self._missing("EntryNotFound")
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_content:
            self.wfile.write(content)
        return None

    def _missing(self, what):
        self.send_response(404)
        self.send_header("X-Error-Code", what)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, value):
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def hub(files):
    """A Hub with files, bytes by (repository, path); yields its address and what it is asked."""
    asked = []
    handler = type("Handler", (_Handler,), {"files": files, "asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
