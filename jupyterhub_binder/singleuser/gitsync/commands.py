"""Runs Git on a person's folder, and explains its errors."""

# This runs under any image's Python, which has already loaded os.path.
# ruff: noqa: PTH118, UP031

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time

OURS = os.path.join(".git", "jupyterhub-binder")
"""Our folder in a repository."""

IDENTITY = ("jupyterhub-binder", "jupyterhub-binder@localhost")
SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

_SETTINGS = (
    *("core.hooksPath=" + os.devnull, "core.fsmonitor=false", "core.askPass=", "core.pager=cat"),
    *("core.quotePath=false", "core.splitIndex=false", "core.sparseCheckout=false"),
    *("core.bigFileThreshold=32m", "credential.helper=", "commit.gpgSign=false"),
    *("submodule.recurse=false", "fetch.recurseSubmodules=false", "transfer.bundleURI=false"),
    *("protocol.allow=never", "protocol.ext.allow=never", "http.lowSpeedLimit=500"),
    *("http.lowSpeedTime=15", "gc.auto=0", "maintenance.auto=false", "safe.directory=*"),
)


class NotInStep(Exception):
    """The folder is unchanged; the text says why and what to do."""


class Failed(Exception):
    """Git failed with this output."""


class HomeGit:
    """Runs Git without hooks, prompts, other hosts or exceeding the time limit."""

    def __init__(self, folder, *, url="", seconds=20.0, max_bytes=0, env=None):
        self.folder = folder
        self.dir = os.path.join(folder, ".git")
        self.url = url
        self.max_bytes = max_bytes
        self._deadline = time.monotonic() + seconds
        self._env = environment(os.environ if env is None else env, url)

    def path(self, *names):
        """Return one of our own files."""
        return os.path.join(self.folder, OURS, *names)

    def run(self, *args, stdin=b"", index=None, limited=False):
        """Return the output. Raises Failed, or NotInStep on a time-out.

        `limited` limits each file to `max_bytes`.
        """
        env = dict(self._env, GIT_DIR=self.dir, GIT_WORK_TREE=self.folder)
        if index:
            env["GIT_INDEX_FILE"] = self.path(index)
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        try:
            child = subprocess.Popen(
                ["git", *settings, *args],
                cwd=self.folder,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=self._limit if limited else None,
            )
        except FileNotFoundError:
            raise NotInStep("the environment does not have git") from None
        out, error = self._wait(child, stdin)
        if child.returncode:
            said = error.decode("utf-8", "replace").strip()
            if limited and (child.returncode == -signal.SIGXFSZ or "signal 25" in said):
                raise NotInStep("the repository is larger than the limit of this hub")
            raise Failed(said or "git %s failed" % args[0])
        return out

    def _wait(self, child, stdin):
        try:
            return child.communicate(stdin, timeout=max(0.1, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise NotInStep("the repository's host or your home folder was too slow") from None
        finally:
            if child.returncode is None:
                end(child)

    def _limit(self):
        import resource

        if self.max_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.max_bytes, self.max_bytes))

    def text(self, *args, **kwargs):
        """Return stripped text."""
        return os.fsdecode(self.run(*args, **kwargs)).strip()

    def ask(self, *args, **kwargs):
        """Return '' if it failed."""
        try:
            return self.text(*args, **kwargs)
        except Failed:
            return ""

    def holds(self, *args):
        """Say whether a command succeeds."""
        try:
            self.run(*args)
        except Failed:
            return False
        return True

    def words(self, *args, **kwargs):
        """Return NUL-ended words."""
        return [os.fsdecode(word) for word in self.run(*args, **kwargs).split(b"\0") if word]


def end(child):
    """End a command: SIGTERM first, so that Git removes partial files."""
    for sign, seconds in ((signal.SIGTERM, 2), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=seconds)
            return


def environment(env, url):
    """Keep only the administrator's settings for hosts."""
    kept = {
        name: value
        for name, value in env.items()
        if not name.startswith("GIT_") or name.startswith(("GIT_SSL_", "GIT_CONFIG_"))
    }
    kept.pop("SSH_ASKPASS", None)
    name, mail = IDENTITY
    scheme = url.partition("://")[0]
    return dict(
        kept,
        LC_ALL="C",
        GIT_TERMINAL_PROMPT="0",
        GIT_ALLOW_PROTOCOL=scheme if scheme in ("https", "http", "file") else "none",
        GIT_AUTHOR_NAME=name,
        GIT_AUTHOR_EMAIL=mail,
        GIT_COMMITTER_NAME=name,
        GIT_COMMITTER_EMAIL=mail,
    )


@contextlib.contextmanager
def explained():
    """Explain Git's errors."""
    try:
        yield
    except Failed as error:
        raise NotInStep(why(str(error))) from None


def why(said):
    """Return the reason in Git's output."""
    last = [line for line in said.splitlines() if line.strip()] or ["git failed"]
    for words, reason in _REASONS:
        if words in said:
            return reason
    return "git says: %s" % last[-1][:300]


_REASONS = (
    ("No space left", "your home folder is full. Delete some files and start the server again"),
    ("quota exceeded", "your home folder is full. Delete some files and start the server again"),
    ("Could not resolve host", "your server can't reach the repository's host"),
    ("Failed to connect", "your server can't reach the repository's host"),
    ("Couldn't connect", "your server can't reach the repository's host"),
    ("unable to access", "the repository's host refused it"),
    ("Authentication failed", "the repository does not exist or is private"),
    ("could not read Username", "the repository does not exist or is private"),
    ("not found", "the repository does not exist or is private"),
    ("Permission denied", "a file in the folder can't be read or written"),
)
