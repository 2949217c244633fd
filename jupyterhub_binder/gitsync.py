"""Keeps a folder of a person's home in step with a git repository: fetches, merges, moves in.

Runs inside the person's server as `content` does, which owns when and for which folder:
standard library and git only, Python 3.8 and later. What the person wrote always stays. Trees
are merged beside the folder and whole files are moved into it, by a plan that is written down
first: a start that is cut off anywhere is finished by the next one.
"""

# It runs under any image's Python: os.path is there already.
# ruff: noqa: PTH102, PTH103, PTH104, PTH105, PTH106, PTH108, PTH112, PTH113, PTH114
# ruff: noqa: PTH115, PTH118, PTH120, PTH122, PTH123, B905, FURB188, UP031

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

OURS = os.path.join(".git", "jupyterhub-binder")
"""Our place in a repository: what was brought last, and the plan of a merge under way."""

NOTES = "jupyterhub-binder-notes.txt"
"""The file of the folder that says what was kept aside."""

FETCHED = "refs/jupyterhub-binder/fetched"
IDENTITY = ("jupyterhub-binder", "jupyterhub-binder@localhost")
GITLINK = "160000"
REGULAR = ("100644", "100755")
STALE_SECONDS = 600
"""An index.lock as old as this belongs to nobody any more."""

MARK = "jupyterhub-binder\n"
"""What a lock of ours says; it is linked into place, so that it never says less."""

MOST_MERGED_BYTES = 32 * 2**20
"""A file larger than this is merged as a whole."""

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_UNDER_WAY = {
    "MERGE_HEAD": "git merge --abort",
    "CHERRY_PICK_HEAD": "git cherry-pick --abort",
    "REVERT_HEAD": "git revert --abort",
    "BISECT_LOG": "git bisect reset",
    "rebase-merge": "git rebase --abort",
    "rebase-apply": "git rebase --abort",
}
"""Git's signs of work that is half done, and what gives it up."""

_SETTINGS = (
    *("core.hooksPath=" + os.devnull, "core.fsmonitor=false", "core.askPass=", "core.pager=cat"),
    *("core.quotePath=false", "core.splitIndex=false", "core.sparseCheckout=false"),
    *("core.bigFileThreshold=32m", "credential.helper=", "commit.gpgSign=false"),
    *("submodule.recurse=false", "fetch.recurseSubmodules=false", "transfer.bundleURI=false"),
    *("protocol.allow=never", "protocol.ext.allow=never", "http.lowSpeedLimit=500"),
    *("http.lowSpeedTime=15", "gc.auto=0", "maintenance.auto=false", "safe.directory=*"),
)


class NotInStep(Exception):
    """The folder was left as it is; the text says why and what to do, for the person."""


class Failed(Exception):
    """A git command failed; the text is what it said."""


class Git:
    """Git commands on one folder: none runs a hook, asks a question or outlives its time."""

    def __init__(self, folder, *, url="", seconds=20.0, most_bytes=0, env=None):
        self.folder = folder
        self.dir = os.path.join(folder, ".git")
        self.url = url
        self.most_bytes = most_bytes
        self._deadline = time.monotonic() + seconds
        self._env = environment(os.environ if env is None else env, url)

    def path(self, *names):
        """Return the path of one of our own files in the repository."""
        return os.path.join(self.folder, OURS, *names)

    def run(self, *args, stdin=b"", index=None, limited=False):
        """Return what a command printed, as bytes. Raises Failed, or NotInStep out of time.

        `limited` holds every file that it writes to `most_bytes`.
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
            raise NotInStep("the environment has no git, which this needs") from None
        out, error = self._wait(child, stdin)
        if child.returncode:
            said = error.decode("utf-8", "replace").strip()
            if limited and (child.returncode == -signal.SIGXFSZ or "signal 25" in said):
                raise NotInStep("the repository is larger than this hub brings")
            raise Failed(said or "git %s failed" % args[0])
        return out

    def _wait(self, child, stdin):
        try:
            return child.communicate(stdin, timeout=max(0.1, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise NotInStep(
                "the repository's host, or your home, was too slow for a start to wait"
            ) from None
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.communicate()

    def _limit(self):
        import resource

        if self.most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.most_bytes, self.most_bytes))

    def text(self, *args, **kwargs):
        """Return what a command printed, as a stripped text."""
        return os.fsdecode(self.run(*args, **kwargs)).strip()

    def ask(self, *args, **kwargs):
        """Return what a command printed; '' if it failed."""
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
        """Return the NUL-ended words that a command printed."""
        return [os.fsdecode(word) for word in self.run(*args, **kwargs).split(b"\0") if word]


def environment(env, url):
    """Return the variables of git: what an administrator says of hosts stays, no more."""
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


# --- The first time ----------------------------------------------------------------------------


def clone(folder, *, url, ref, seconds, most_bytes, env=None):
    """Bring a repository into a new, empty folder; return its commit. Raises NotInStep."""
    git = Git(folder, url=url, seconds=seconds, most_bytes=most_bytes, env=env)
    with explained():
        begin(git)
        upstream, branch = fetch(git, ref, "--depth=1")
        git.run("update-ref", "refs/heads/" + branch, upstream)
        git.run("symbolic-ref", "HEAD", "refs/heads/" + branch)
        git.run("read-tree", upstream)
        git.run("checkout-index", "--all", "--force", "--quiet", limited=True)
        git.run("update-index", "-q", "--refresh")
        settle(git, upstream, branch)
    return upstream


def begin(git):
    """Make the repository of a folder."""
    git.run("init", "--quiet", "--template=")
    os.makedirs(git.path(), exist_ok=True)
    git.run("config", "remote.origin.url", git.url)
    git.run("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")


@contextlib.contextmanager
def explained():
    """Turn what git says into words for a person."""
    try:
        yield
    except Failed as error:
        raise NotInStep(why(str(error))) from None


def why(said):
    """Return the reason that is in what git said."""
    last = [line for line in said.splitlines() if line.strip()] or ["git failed"]
    for words, reason in _REASONS:
        if words in said:
            return reason
    return "git says: %s" % last[-1][:300]


_REASONS = (
    ("No space left", "your home is full. Delete something and start the server again"),
    ("quota exceeded", "your home is full. Delete something and start the server again"),
    ("Could not resolve host", "the repository's host cannot be reached from your server"),
    ("Failed to connect", "the repository's host cannot be reached from your server"),
    ("Couldn't connect", "the repository's host cannot be reached from your server"),
    ("unable to access", "the repository's host did not give it"),
    ("Authentication failed", "the repository is not there, or is private"),
    ("could not read Username", "the repository is not there, or is private"),
    ("not found", "the repository is not there, or is private"),
    ("Permission denied", "a file of the folder cannot be read or written"),
)


# --- Upstream --------------------------------------------------------------------------------------


def fetch(git, ref, *options):
    """Fetch what a ref is now; return its commit, and the branch that follows it here."""
    sha, full, branch = find(git, ref)
    if sha == git.ask("rev-parse", "--verify", "--quiet", FETCHED + "^{commit}"):
        return sha, branch
    arguments = ("--quiet", "--no-tags", "--no-recurse-submodules", *options, "--", git.url)
    git.run("fetch", *arguments, "+%s:%s" % (full or sha, FETCHED), limited=True)
    return git.text("rev-parse", "--verify", FETCHED + "^{commit}"), branch


def find(git, ref):
    """Return a ref's commit (or tag), its full name, and its branch; asks the host."""
    if _SHA.fullmatch(ref):
        return ref, "", "main"
    if not ref or ref.startswith("-") or re.search(r"[\x00-\x20~^:?*\[\\]|\.\.", ref):
        raise NotInStep("%r is not the name of a branch or a tag" % ref)
    names = ("refs/heads/" + ref, "refs/tags/" + ref)
    out = git.text("ls-remote", "--symref", "--", git.url, "HEAD", *names)
    found = {}
    for line in out.splitlines():
        value, _, name = line.partition("\t")
        key = name + "@" if value.startswith("ref: ") else name
        found[key] = value[5:] if value.startswith("ref: ") else value
    if ref in ("HEAD", "@") and "HEAD" in found:
        head = found.get("HEAD@", "HEAD")
        return found["HEAD"], head, branch_of(head)
    for name in names:
        if name in found:
            return found[name], name, branch_of(name)
    raise NotInStep("the repository has no branch or tag %r any more" % ref)


def branch_of(name):
    """Return the branch that follows a full ref."""
    return name[len("refs/heads/") :] if name.startswith("refs/heads/") else "main"


# --- Every other time ----------------------------------------------------------------------------


def sync(folder, *, url, ref, base="", seconds, most_bytes, env=None, now=None):
    """Bring upstream's changes into a folder that was brought earlier.

    `base` is the commit that it was brought at, where the folder itself does not remember.
    Returns the commit that it is in step with, and what the person should know, as sentences.
    Raises NotInStep, with the folder as it was.
    """
    git = Git(folder, url=url, seconds=seconds, most_bytes=most_bytes, env=env)
    stamp = time.strftime("%Y%m%d%H%M%S", now or time.localtime())
    with explained():
        state = adopt(git, ref, base)
        check(git, state)
        with held(git):
            heal(git)
            upstream, branch = fetch(git, ref)
            plan = prepare(git, state, upstream, branch, stamp)
            notes = carry_out(git, plan) if plan else []
        if not plan:
            settle(git, upstream, state["branch"], branch)
    if notes:
        write_notes(git, notes)
    return upstream, notes


def read_json(path):
    """Return a file's JSON object; {} for none."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path, value):
    """Write a file whole or not at all."""
    beside = path + ".new"
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def settle(git, upstream, branch, theirs=""):
    """Remember what the folder is in step with, for us and for the person's own git."""
    write_json(git.path("state.json"), {"upstream": upstream, "branch": branch})
    git.run("update-ref", "refs/remotes/origin/" + (theirs or branch), upstream)


def adopt(git, ref, base):
    """Return what the folder remembers; one that was copied once is made ready to be merged."""
    if os.path.lexists(git.dir) and (os.path.islink(git.dir) or not os.path.isdir(git.dir)):
        raise NotInStep("its .git is not a folder, so somebody else takes care of it")
    known = read_json(git.path("state.json"))
    if known.get("branch"):
        return known
    head = git.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not head:
        return adopt_files(git, ref, base)
    os.makedirs(git.path(), exist_ok=True)
    branch = git.ask("symbolic-ref", "--short", "--quiet", "HEAD")
    if not branch:
        branch = attach(git, head, base)
    there = base and git.holds("merge-base", "--is-ancestor", base, head)
    state = {"upstream": base if there else "", "branch": branch}
    write_json(git.path("state.json"), state)
    return state


def attach(git, head, base):
    """Put a copy that is on no branch, as images have it, on one; return its name."""
    if head != base:
        raise NotInStep("it is on no branch. In a terminal there: git switch -c NAME")
    for branch in ("main", "main-binder"):
        if git.ask("rev-parse", "--verify", "--quiet", "refs/heads/" + branch) in ("", head):
            git.run("update-ref", "refs/heads/" + branch, head)
            git.run("symbolic-ref", "HEAD", "refs/heads/" + branch)
            return branch
    raise NotInStep("it is on no branch. In a terminal there: git switch -c NAME")


def adopt_files(git, ref, base):
    """Make a repository of files that came without one."""
    begin(git)
    upstream, branch = fetch(git, ref, "--depth=1")
    start = upstream
    if _SHA.fullmatch(base) and base != upstream:
        with contextlib.suppress(Failed):
            git.run("fetch", "--quiet", "--no-tags", "--depth=1", "--", git.url, base, limited=True)
            start = base
    git.run("update-ref", "refs/heads/" + branch, start)
    git.run("symbolic-ref", "HEAD", "refs/heads/" + branch)
    git.run("read-tree", start)
    settle(git, start, branch)
    return read_json(git.path("state.json"))


def check(git, state):
    """Raise NotInStep where the person is at work with git in the folder."""
    for name, command in _UNDER_WAY.items():
        if os.path.lexists(os.path.join(git.dir, name)):
            what = command.split()[1]
            raise NotInStep(
                "a git %s is under way there. Finish it, or give it up: %s" % (what, command)
            )
    branch = git.ask("symbolic-ref", "--short", "--quiet", "HEAD")
    if branch != state["branch"]:
        raise NotInStep(
            "it is on %s, not on the branch %r that is kept in step. In a terminal there: "
            "git switch %s"
            % (
                "the branch %r" % branch if branch else "no branch",
                state["branch"],
                state["branch"],
            )
        )


@contextlib.contextmanager
def held(git):
    """Hold git's own lock, so that nobody else's git changes the folder meanwhile."""
    lock, marked = os.path.join(git.dir, "index.lock"), git.path("lock")
    with open(marked, "w", encoding="ascii") as file:
        file.write(MARK)
    if os.path.lexists(lock) and is_stale(lock):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock)
    try:
        os.link(marked, lock)
    except FileExistsError:
        raise NotInStep(
            "git is at work there, or was cut off. Start the server again in ten minutes"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock)


def is_stale(lock):
    """Say whether a lock is one that a start of ours left, or as old as nothing takes."""
    with contextlib.suppress(OSError), open(lock, "rb") as file:
        mine = file.read(100) == MARK.encode("ascii")
        return mine or time.time() - os.fstat(file.fileno()).st_mtime > STALE_SECONDS
    return False


# --- The plan -----------------------------------------------------------------------------------


def prepare(git, state, upstream, branch, stamp):
    """Return what is to be done to the folder, with all that it needs in git; None for nothing."""
    head = git.text("rev-parse", "--verify", "HEAD^{commit}")
    theirs = read_tree(git, upstream)
    changed, gone = find_edits(git, head)
    restored = [path for path in gone if path in theirs]
    news = not git.holds("merge-base", "--is-ancestor", upstream, head)
    if not news and not restored:
        return None
    mine = snapshot(git, changed, {path: theirs.get(path) for path in gone})
    merge = Merge(git, read_tree(git, mine), theirs, stamp)
    if news:
        merge.merge(find_base(git, head, upstream, state.get("upstream", "")))
    merged = merge.write()
    commit = make_commit(git, state, head, upstream, mine, merged) if news else ""
    return {
        "head": head,
        "commit": commit,
        "mine": mine,
        "merged": merged,
        "restored": restored,
        "aside": merge.aside,
        "beside": merge.beside,
        "notes": merge.notes,
        "upstream": upstream,
        "branch": state["branch"],
        "theirs": branch,
        "stamp": stamp,
    }


def read_tree(git, tree):
    """Return a tree's files: path to (mode, object)."""
    files = {}
    for line in git.words("ls-tree", "-r", "-z", "--full-tree", tree):
        facts, _, path = line.partition("\t")
        mode, _, sha = facts.split(" ")[:3]
        files[path] = (mode, sha)
    return files


def load_index(git, index, tree):
    """Make an index of a tree; what git knows already of the files is taken over."""
    with contextlib.suppress(FileNotFoundError):
        copy_index(os.path.join(git.dir, "index"), git.path(index))
    try:
        git.run("read-tree", "--reset", tree, index=index)
    except Failed:  # an index that is broken, or none's
        with contextlib.suppress(FileNotFoundError):
            os.unlink(git.path(index))
        git.run("read-tree", tree, index=index)
    see_everything(git, index)
    with contextlib.suppress(Failed):
        git.run("update-index", "-q", "--refresh", index=index)


def copy_index(source, target):
    """Copy an index with its time, by which git tells which files it must read again."""
    shutil.copy2(source, target)


def see_everything(git, index):
    """Look at the files, too, that the person told git not to look at: they may be edited."""
    words = git.words("ls-files", "-v", "-z", index=index)
    hidden = [word[2:] for word in words if word[0] == "S" or word[0].islower()]
    stdin = b"".join(os.fsencode(path) + b"\0" for path in hidden)
    for option in ("--no-assume-unchanged", "--no-skip-worktree") if hidden else ():
        git.run("update-index", option, "-z", "--stdin", stdin=stdin, index=index)


def find_differences(git, index):
    """Return the paths whose files differ from an index, with git's letter for how."""
    words = git.words(
        *("diff-files", "-z", "--name-status", "--no-renames", "--ignore-submodules=all"),
        index=index,
    )
    return dict(zip(words[1::2], words[::2]))


def find_edits(git, head):
    """Return the tracked files that the person changed, and those that are gone."""
    load_index(git, "mine", head)
    found = find_differences(git, "mine")
    changed = [path for path, letter in found.items() if letter != "D"]
    return changed, [path for path, letter in found.items() if letter == "D"]


def snapshot(git, changed, replaced):
    """Return the tree of what the person has, `replaced` being put in for what is gone."""
    stdin = b"".join(os.fsencode(path) + b"\0" for path in changed)
    git.run("update-index", "--add", "-z", "--stdin", stdin=stdin, index="mine")
    update_index(git, "mine", replaced)
    return git.text("write-tree", index="mine")


def update_index(git, index, entries):
    """Set entries of an index; None removes one."""
    order = sorted(entries.items(), key=lambda item: item[1] is not None)
    lines = [
        ("%s %s\t%s\0" % (*(entry or ("0", "0" * 40)), path)).encode("utf-8", "surrogateescape")
        for path, entry in order
    ]
    if lines:
        git.run(
            *("update-index", "--replace", "-z", "--index-info"), stdin=b"".join(lines), index=index
        )


def find_base(git, head, upstream, known):
    """Return the files of the commit from which both came, as far as anybody remembers.

    Where upstream's history was rewritten, what was brought last is better than what the two
    histories still have in common: else files that nobody touched would never change again.
    """
    common = git.ask("merge-base", head, upstream)
    if known and git.holds("cat-file", "-e", known + "^{commit}"):
        if not git.holds("merge-base", "--is-ancestor", known, upstream):
            return read_tree(git, known)
        common = common or known
    return read_tree(git, common) if common else {}


def make_commit(git, state, head, upstream, mine, merged):
    """Return the commit of a merge; the person's edits get one of their own before it."""
    own = head
    if merged == git.text("rev-parse", upstream + "^{tree}"):
        rewritten = head == state.get("upstream")
        if rewritten or git.holds("merge-base", "--is-ancestor", head, upstream):
            return upstream
    if mine != git.text("rev-parse", head + "^{tree}"):
        message = "Your changes, before new ones of the repository came"
        own = git.text("commit-tree", mine, "-p", head, "-m", message)
    message = "Merge what is new in the repository; what you changed stays"
    return git.text("commit-tree", merged, "-p", own, "-p", upstream, "-m", message)


class Merge:
    """Merges two trees, file by file; where both changed the same, the person's stays."""

    def __init__(self, git, mine, theirs, stamp):
        self.git = git
        self.mine = mine
        self.theirs = theirs
        self.stamp = stamp
        self.changes = {}
        self.aside = []
        """Files of the person in whose place upstream has a folder."""
        self.beside = {}
        """Where upstream's version of a file goes that could not be merged."""
        self.notes = []

    def merge(self, base):
        """Find out what becomes of every file that upstream changed since `base`."""
        for path in sorted(set(base) | set(self.theirs)):
            was, new = base.get(path), self.theirs.get(path)
            if was != new and self.mine.get(path) != new:
                self._merge_one(path, was, self.mine.get(path), new)
        self._follow_renames(base)
        self._make_way()

    def _merge_one(self, path, was, have, new):
        if have == was or (have is None and new is not None):
            self.changes[path] = new
        elif have is None or new is None:
            self.notes.append("%s: the repository has it no more. Yours stays." % path)
        elif have[0] in REGULAR and new[0] in REGULAR:
            self._merge_text(path, path, was, have, new)
        elif GITLINK not in (have[0], new[0]):
            self._keep_beside(path, new)

    def _merge_text(self, path, into, was, have, new):
        sha, clean = self.merge_blobs(path, was[1] if was else None, have[1], new[1])
        mode = new[0] if was and have[0] == was[0] else have[0]
        self.changes[into] = (mode, sha)
        if not clean:
            self._keep_beside(into, new)

    def merge_blobs(self, path, was, have, new):
        """Return the object of both versions in one, and whether they did not collide."""
        if new in (was, have):
            return have, True
        if have == was:
            return new, True
        if any(self._is_large(sha) for sha in (was, have, new) if sha):
            return have, False
        with tempfile.TemporaryDirectory(dir=self.git.path()) as folder:
            files = [
                self._write(folder, name, sha)
                for name, sha in (("mine", have), ("base", was), ("theirs", new))
            ]
            try:
                self.git.run("merge-file", "-p", *files)
                clean = True
            except Failed:
                clean = False
            try:
                text = self.git.run("merge-file", "--ours", "-p", *files)
            except Failed:  # not a text
                return have, False
        if path.endswith(".ipynb") and not clean and not is_json(text):
            return have, False
        return self.git.text("hash-object", "-w", "--stdin", stdin=text), clean

    def _is_large(self, sha):
        return int(self.git.text("cat-file", "-s", sha)) > MOST_MERGED_BYTES

    def _write(self, folder, name, sha):
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(self.git.run("cat-file", "blob", sha) if sha else b"")
        return path

    def _keep_beside(self, path, entry):
        name = stamped(path, "_upstream_" + self.stamp)
        self.beside[name] = entry
        self.notes.append(
            "%s: you and the repository changed the same. Yours stays; the repository's is in %s."
            % (path, name)
        )

    def _follow_renames(self, base):
        """Let edits follow a file that upstream gave another name."""
        lost = [p for p in base if p not in self.theirs and self.mine.get(p) not in (None, base[p])]
        if not lost:
            return
        for old, new in self._renames(base).items():
            if old in lost and new not in self.mine and self.mine[old][0] in REGULAR:
                self.notes = [n for n in self.notes if not n.startswith(old + ": ")]
                self._merge_text(old, new, base[old], self.mine[old], self.theirs[new])
                self.changes[old] = None
                self.notes.append("%s: the repository calls it %s now." % (old, new))

    def _renames(self, base):
        trees = [self._tree_of(files) for files in (base, self.theirs)]
        words = self.git.words(
            "diff-tree", "-r", "-z", "-M", "--diff-filter=R", "--name-status", *trees
        )
        return dict(zip(words[1::3], words[2::3]))

    def _tree_of(self, files):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.git.path("tree"))
        update_index(self.git, "tree", files)
        return self.git.text("write-tree", "--missing-ok", index="tree")

    def _make_way(self):
        """Settle what cannot be both a file and a folder: what the person has stays."""
        final = dict(self.mine)
        for path, entry in self.changes.items():
            if entry is None:
                final.pop(path, None)
            else:
                final[path] = entry
        folders = {folder for path in final for folder in parents(path)}
        for path in sorted(path for path in final if path in folders):
            if path in self.changes:
                del self.changes[path]
                self._keep_beside(path, self.theirs[path])
            else:
                self.changes[path] = None
                self.aside.append(path)

    def write(self):
        """Return the merged tree; its index stays, as `merged`."""
        copy_index(self.git.path("mine"), self.git.path("merged"))
        update_index(self.git, "merged", self.changes)
        return self.git.text("write-tree", index="merged")


def is_json(text):
    """Say whether a notebook can still be read."""
    try:
        json.loads(text.decode("utf-8"))
    except ValueError:
        return False
    return True


def parents(path):
    """Yield the folders that a path lies in, the outermost first."""
    parts = path.split("/")
    for number in range(1, len(parts)):
        yield "/".join(parts[:number])


def stamped(path, stamp):
    """Return a path with a stamp before its extension."""
    folder, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    return os.path.join(folder, stem + stamp + extension)


# --- Carrying it out -----------------------------------------------------------------------------


def carry_out(git, plan):
    """Write the plan down, do it, and return what the person should know."""
    mover = Mover(git, plan)
    mover.prepare()
    write_json(git.path("plan.json"), plan)
    aside = mover.move()
    if plan["commit"]:
        finish(git, plan)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(git.path("plan.json"))
    return plan["notes"] + aside


def heal(git):
    """Finish what a start that was cut off began."""
    plan = read_json(git.path("plan.json"))
    if not plan:
        return
    head = git.text("rev-parse", "--verify", "HEAD^{commit}")
    if head in (plan["head"], plan["commit"]):
        load_index(git, "mine", plan["mine"])
        load_index(git, "merged", plan["merged"])
        write_notes(git, carry_out(git, plan))
    else:  # the person committed since: what is half done counts as theirs
        os.unlink(git.path("plan.json"))


def finish(git, plan):
    """Let the person's git see the merge as done."""
    ref = "refs/heads/" + plan["branch"]
    if git.text("rev-parse", "--verify", ref) != plan["commit"]:
        git.run(
            *("update-ref", "-m", "jupyterhub-binder: merge"), ref, plan["commit"], plan["head"]
        )
    with contextlib.suppress(Failed):
        git.run("update-index", "-q", "--refresh", index="merged")
    os.replace(git.path("merged"), os.path.join(git.dir, "index"))
    settle(git, plan["upstream"], plan["branch"], plan["theirs"])


class Mover:
    """Moves whole files into the folder, and what is in their way aside."""

    def __init__(self, git, plan):
        self.git = git
        self.folder = git.folder
        self.plan = plan
        self.stage = git.path("stage")
        self.mine = read_tree(git, plan["mine"])
        self.merged = read_tree(git, plan["merged"])
        self.restored = set(plan["restored"])
        self.paths = self.restored | {
            path for path in {*self.mine, *self.merged} if self._differs(path)
        }
        self.notes = []

    def _differs(self, path):
        """Say whether the plan changes a file; submodules are left out."""
        have, new = self.mine.get(path), self.merged.get(path)
        return have != new and GITLINK not in {entry[0] for entry in (have, new) if entry}

    def prepare(self):
        """Write the new files beside the folder: what fails here has changed nothing."""
        shutil.rmtree(self.stage, ignore_errors=True)
        self.bring_out("merged", [path for path in self.paths if path in self.merged])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.git.path("beside"))
        update_index(self.git, "beside", self.plan["beside"])
        self.bring_out("beside", self.plan["beside"])

    def move(self):
        """Make the folder what the plan says; return what was put aside. May be done again."""
        edited = find_differences(self.git, "mine")
        for path in sorted(self.paths - self.merged.keys(), reverse=True):
            if path not in edited:
                self.drop(path)
        for path in sorted(self.paths & self.merged.keys()):
            tracked = path in self.mine and path not in self.restored
            if not (tracked and edited.get(path, "D") != "D"):
                self.put(path, known=tracked and path not in edited)
            # Else it was changed this very moment, from another server: it stays.
        self.put_beside()
        shutil.rmtree(self.stage, ignore_errors=True)
        return self.notes

    def at(self, path):
        """Return where a path of the repository is."""
        return os.path.join(self.folder, path)

    def bring_out(self, index, paths):
        """Write files of an index to the stage, as git would to the folder."""
        prefix = os.path.join(OURS, "stage") + os.sep
        stdin = b"".join(os.fsencode(path) + b"\0" for path in paths)
        arguments = ("checkout-index", "-q", "-f", "-z", "--stdin", "--prefix=" + prefix)
        self.git.run(*arguments, stdin=stdin, index=index, limited=True)

    def drop(self, path):
        """Remove a file that upstream has no more, with folders that are empty then."""
        if path in self.plan["aside"]:
            self.put_aside(path)
            return
        os.unlink(self.at(path))
        for folder in reversed(list(parents(path))):
            try:
                os.rmdir(self.at(folder))
            except OSError:
                break

    def put(self, path, *, known):
        """Move a staged file to its place."""
        staged, full = os.path.join(self.stage, path), self.at(path)
        for folder in parents(path):
            self.make_folder(folder)
        if os.path.lexists(full) and not known:
            if same(staged, full):
                return
            self.put_aside(path)
        elif os.path.isdir(full) and not os.path.islink(full):
            self.put_aside(path)
        os.replace(staged, full)

    def make_folder(self, path):
        """Make a folder; what has its name is put aside."""
        full = self.at(path)
        if os.path.isdir(full) and not os.path.islink(full):
            return
        if os.path.lexists(full):
            self.put_aside(path)
        os.mkdir(full)

    def put_aside(self, path):
        """Give something of the person's another name."""
        if os.path.isdir(self.at(path)) and not os.path.islink(self.at(path)):
            with contextlib.suppress(OSError):
                os.rmdir(self.at(path))
                return
        name = self.free(stamped(path, "_" + self.plan["stamp"]))
        os.rename(self.at(path), self.at(name))
        self.notes.append(
            "%s: the repository has one now, too. Yours is %s from now on." % (path, name)
        )

    def put_beside(self):
        """Move upstream's versions of what could not be merged to their places."""
        for path in self.plan["beside"]:
            if not os.path.lexists(self.at(path)):
                for folder in parents(path):
                    self.make_folder(folder)
                os.replace(os.path.join(self.stage, path), self.at(path))

    def free(self, path):
        """Return a path that nothing has."""
        name, number = path, 2
        while os.path.lexists(self.at(name)):
            name, number = stamped(path, "-%d" % number), number + 1
        return name


def same(one, other):
    """Say whether two files, or two links, hold the same."""
    if os.path.islink(one) or os.path.islink(other):
        both = os.path.islink(one) and os.path.islink(other)
        return both and os.readlink(one) == os.readlink(other)
    return os.path.isfile(other) and filecmp.cmp(one, other, shallow=False)


def write_notes(git, notes):
    """Add to the folder's file of notes; git does not see it."""
    path = os.path.join(git.folder, NOTES)
    if not notes or os.path.islink(path) or git.ask("ls-files", "--", NOTES):
        return
    with open(path, "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(time.strftime("%Y-%m-%d %H:%M\n"))
        file.writelines("  %s\n" % note for note in notes)
    exclude = os.path.join(git.dir, "info", "exclude")
    os.makedirs(os.path.dirname(exclude), exist_ok=True)
    with open(exclude, "a+", encoding="utf-8", errors="surrogateescape") as file:
        file.seek(0)
        if "/" + NOTES not in file.read().splitlines():
            file.write("\n/%s\n" % NOTES)
