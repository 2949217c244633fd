"""Real git repositories behind a real HTTP server on 127.0.0.1, for tests.

Owns `GitServer` (git's own `http-backend` behind `http.server`) and the handles of its
repositories. Uses the standard library and git only.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05+0000",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05+0000",
}


@dataclass(frozen=True)
class Symlink:
    """A file of a repository that is a symbolic link."""

    target: str


FileContent = str | bytes | Symlink


@dataclass
class GitRepo:
    """One repository: a work tree to change, and a git folder that the server serves."""

    name: str
    work: Path
    git_dir: Path
    url: str
    commits: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        """The sha that HEAD names."""
        return self.git("rev-parse", "HEAD")

    @property
    def file_url(self) -> str:
        """The same repository without the server."""
        return f"file://{self.git_dir}"

    def git(self, *args: str, stdin: str | None = None) -> str:
        """Run git in the work tree."""
        done = subprocess.run(
            ["git", *args], cwd=self.work, env=_ENV, input=stdin, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(
        self, files: Mapping[str, FileContent | None] | None = None, message: str = "Change"
    ) -> str:
        """Write the files (None removes one), commit everything, return the sha."""
        for path, content in (files or {}).items():
            _write(self.work / path, content)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        self.commits.append(self.head)
        return self.head

    def branch(self, name: str, at: str = "HEAD", *, switch: bool = False) -> str:
        """Make a branch; return its sha."""
        self.git("branch", "--force", name, at)
        if switch:
            self.git("switch", "--quiet", name)
        return self.git("rev-parse", f"refs/heads/{name}")

    def tag(self, name: str, at: str = "HEAD", *, annotated: bool = False) -> str:
        """Make a tag; return the sha of its commit."""
        options = ["--annotate", "--message", name] if annotated else []
        self.git("tag", *options, name, at)
        return self.git("rev-parse", f"refs/tags/{name}^{{commit}}")

    def config(self, key: str, value: str) -> None:
        """Change the served repository's configuration."""
        self.git("config", key, value)

    def add_submodule(self, path: str, url: str, sha: str) -> str:
        """Add a submodule at a commit, without fetching it; return the new commit."""
        file = self.work / ".gitmodules"
        before = file.read_text() if file.exists() else ""
        entry = f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n'
        self.commit({".gitmodules": before + entry})
        self.git("update-index", "--add", "--cacheinfo", f"160000,{sha},{path}")
        self.git("commit", "--quiet", "--message", f"Add {path}")
        return self.head


def _write(path: Path, content: FileContent | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.unlink()
    elif isinstance(content, Symlink):
        path.unlink(missing_ok=True)
        path.symlink_to(content.target)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8")
        if content.startswith("#!"):
            path.chmod(0o755)


Hook = Callable[[BaseHTTPRequestHandler], bool]


class GitServer:
    """Serves repositories at `url`; `requests` holds the request lines, `hook` may answer first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[str] = []
        self.hook: Hook | None = None
        self.old_protocol: set[str] = set()
        (root / "served").mkdir(parents=True)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @classmethod
    @contextmanager
    def running(cls, root: Path) -> Iterator[GitServer]:
        """Start a server whose repositories live in `root`; stop it at the end."""
        server = cls(root)
        server._thread.start()
        try:
            yield server
        finally:
            server._http.shutdown()
            server._http.server_close()
            server._thread.join()

    def make_repo(
        self,
        name: str,
        files: Mapping[str, FileContent] | None = None,
        *,
        any_sha: bool = True,
        filters: bool = True,
        message: str = "First commit",
    ) -> GitRepo:
        """Make a repository (``org/name``) with one commit of `files` on branch main.

        `any_sha` and `filters` say whether it serves a bare sha and partial clones, as the big
        hosts do. `files=None` leaves it without any commit.
        """
        work, git_dir = self.root / "work" / name, self.root / "served" / f"{name}.git"
        work.mkdir(parents=True)
        git_dir.parent.mkdir(parents=True, exist_ok=True)
        repo = GitRepo(name, work, git_dir, f"{self.url}/{name}.git")
        repo.git("init", "--quiet", "--initial-branch=main", f"--separate-git-dir={git_dir}")
        repo.config("uploadpack.allowAnySHA1InWant", str(any_sha).lower())
        repo.config("uploadpack.allowFilter", str(filters).lower())
        if not any_sha:  # git's protocol 2 serves any sha; only the old one obeys the setting
            self.old_protocol.add(name)
        if files is not None:
            repo.commit(files, message)
        return repo


def _handler(server: GitServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append(f"{self.command} {self.path}")
            if server.hook is None or not server.hook(self):
                name = self.path.partition(".git/")[0].strip("/")
                protocol = "" if name in server.old_protocol else self.headers.get("Git-Protocol")
                _backend(self, server.root / "served", protocol or "")

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


def _backend(handler: BaseHTTPRequestHandler, root: Path, protocol: str) -> None:
    """Answer one request with `git http-backend`, which speaks CGI."""
    path, _, query = handler.path.partition("?")
    length = int(handler.headers.get("Content-Length") or 0)
    body = handler.rfile.read(length) if length else _read_chunks(handler)
    env = _ENV | {
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": handler.command,
        "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": protocol,
    }
    done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True)
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    headers = [line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if line]
    status = next((value for name, value in headers if name == "Status"), "200 OK")
    handler.send_response(int(status.split()[0]))
    for name, value in headers:
        if name != "Status":
            handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def _read_chunks(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return b""
    parts = []
    while size := int(handler.rfile.readline(), 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(parts)
