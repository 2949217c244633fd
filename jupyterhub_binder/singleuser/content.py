"""Copies a repository's files into a person's home, then executes the server's command.

If the environment is a folder whose repository has a `start` script, the script executes it.

Runs as that person, with Python 3.8 or later and its standard library. No error stops the start. It
writes only into folders that it made, and updates these only if asked. The hub passes this file's
text, so images need not contain it.

    python -I content.py --from IMAGE/repo --to FOLDER --origin URL --ref SHA -- COMMAND...
"""

# This runs under any image's Python, before every start. os.path is already loaded.
# ruff: noqa: PTH101, PTH103, PTH104, PTH105, PTH108, PTH110, PTH111, PTH112
# ruff: noqa: PTH109, PTH113, PTH118, PTH119, PTH123, PTH208, UP017, UP031

from __future__ import annotations

import argparse
import base64
import contextlib
import datetime
import errno
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from urllib.parse import quote

from jupyterhub_binder.singleuser import gitsync
from jupyterhub_binder.utils import trees

STATE = os.path.join(".local", "share", "jupyterhub-binder")
"""Records folders and their origins."""

RECEIPT = "JUPYTERHUB_BINDER_RECEIPT"
"""The packed receipt, then the path of its file."""

MAX_NAMES = 99
"""For `name-2`, `name-3`, …."""

SERVER_LOG = ".jupyter-server-log.txt"
"""What repo2docker's entrypoint writes beside the repository's files."""

LOCK_SECONDS = 86400
"""The overall time limit ends first."""

ON_THE_WAY = "The repository's files are still being copied. They will appear in the folder %s."

NO_FILES = (
    "the environment's image has none outside the home folder. Ask an administrator: builds need "
    "repo2docker's option --target-repo-dir"
)

REASONS = {
    errno.ENOSPC: "your home folder is full. Delete some files and start the server again",
    errno.EDQUOT: "your home folder is full. Delete some files and start the server again",
    errno.EFBIG: "a file is too large for your home folder",
    errno.EROFS: "your home folder is not writable",
    errno.EACCES: "your home folder is not writable",
    errno.EPERM: "your home folder is not writable",
}


class Skipped(Exception):
    """Nothing was copied; the text says why."""


def main(argv=None):
    """Bring the files and execute the command."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    env = dict(os.environ)
    folder = prepare(arguments, env)
    command = with_root(arguments.command)
    enter(home_of(env))
    env = activate(sys.prefix, env)
    script = find_start(arguments.start)
    if script:
        start_with(
            script,
            folder,
            command,
            dict(env, REPO_DIR=folder or os.path.join(arguments.start, "repo")),
        )
    try:
        os.execvpe(command[0], command, env)  # noqa: S606 - becoming the command is the point
    except FileNotFoundError:
        sys.exit("jupyterhub-binder: %s: not found" % command[0])


def activate(environment, env):
    """Return the variables of an environment with conda packages, by its own script.

    The script runs what packages have for this, with the person's rights. If it fails, the server
    starts without it.
    """
    script = os.path.join(environment, "binder", "activate.sh")
    if not os.path.isfile(script):
        return env
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    show = [os.path.join(environment, "bin", "python"), "-I", "-c", _SHOW]
    try:
        done = subprocess.run(
            [shell, script, *show], env=env, stdout=subprocess.PIPE, check=True, timeout=60
        )
        return json.loads(done.stdout.decode())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        why = "jupyterhub-binder: the environment can't be activated (%s)" % error
        print(why, file=sys.stderr, flush=True)  # noqa: T201
        return env


_SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def find_start(environment):
    """Return the path of an environment's start script, or ''."""
    try:
        with open(os.path.join(environment, "binder", "image.json"), encoding="utf-8") as file:
            path = json.load(file).get("start")
    except (OSError, ValueError):
        return ""
    return os.path.join(environment, "repo", path) if path else ""


def start_with(script, folder, command, env):
    """Execute a start script as repo2docker does, in the repository's folder.

    It gets the server's command as its arguments, and must execute it. The server itself starts in
    the home. Returns only if the script can't be executed.
    """
    home = os.getcwd()
    back = ["/bin/sh", "-c", 'cd -- "$0" && exec "$@"', home]
    try:
        if os.path.isdir(folder):  # not while the files are still being copied
            os.chdir(folder)
        os.execve(script, [script, *back, *command], env)  # noqa: S606
    except OSError as error:
        why = "jupyterhub-binder: the repository's start script can't run (%s)" % error.strerror
        print(why, file=sys.stderr, flush=True)  # noqa: T201
    os.chdir(home)


def parse(argv):
    """Parse what precedes ``--`` and the command."""
    parser = argparse.ArgumentParser(prog="jupyterhub-binder-content")
    parser.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        help="a checkout in the image; the first that exists is used",
    )
    parser.add_argument("--to", default="", help="the folder in the home directory")
    parser.add_argument("--mode", default="copy", choices=("copy", "sync", "leave"))
    parser.add_argument("--origin", default="", help="where the files come from")
    parser.add_argument("--ref", default="", help="the commit of the files")
    parser.add_argument("--url", default="", help="the URL for git; empty: don't fetch")
    parser.add_argument("--follow", default="HEAD", help="the branch, tag or commit to fetch")
    parser.add_argument("--seconds", type=float, default=20, help="how long the start waits")
    parser.add_argument("--max-seconds", type=float, default=3600, help="time limit")
    parser.add_argument("--max-bytes", type=int, default=2**31, help="maximum size of a file")
    parser.add_argument("--start", default="", help="the environment whose start script runs")
    parser.add_argument("--path", default="", help="what to open, relative to the folder")
    parser.add_argument("--address", default="", help="the server address that opens it")
    parser.add_argument("--query", default="", help="the rest of the address after the path")
    parser.add_argument("command", nargs="+")
    return parser.parse_args(argv)


def prepare(arguments, env):
    """Bring the files; return their folder or ''. Never raises."""
    home, folder = home_of(env), ""
    with contextlib.suppress(OSError, ValueError, zlib.error):
        write_receipt(arguments, home, env)
    if arguments.address:
        set_address(env, arguments, quote(arguments.path))
    if arguments.mode != "leave" and arguments.to:
        try:
            folder = bring_in_time(arguments, home, env)
            if folder:
                open_in(env, home, folder, arguments)
        except Exception as error:  # noqa: BLE001 - the server starts whatever happens here
            conclude(arguments, home, not_copied(explain(error)), env)
    else:
        tell(home, "", env)
    with contextlib.suppress(OSError):
        make_room(home, env)
    return folder


def bring_in_time(arguments, home, env):
    """Return the folder or ''; slow work continues beside the server."""
    work = gitsync.Meanwhile(
        lambda late: bring_all(arguments, home, env, late),
        seconds=arguments.seconds,
        max_seconds=arguments.max_seconds,
        afterwards=lambda result: finish(arguments, home, *result),
        otherwise=(not_copied("the process that copies them ended"), ""),
    )
    result = work.wait()
    if result is None:
        folder = find_brought(arguments, home)
        say_on_the_way(arguments, home, folder, env)
        result = work.leave()
        if result is None:
            return folder
    notice, folder = result
    conclude(arguments, home, notice, env)
    return folder


def bring_all(arguments, home, env, late):
    """Return a notice and the folder or ''."""
    notice, folder = "", ""
    try:
        folder = bring(
            find_source(arguments.sources, home, env),
            home,
            arguments.to,
            origin=arguments.origin,
            ref=arguments.ref,
            follow=arguments.follow,
            fetch=fetcher(arguments) if arguments.url else None,
        )
        if arguments.mode == "sync":
            notice = keep_in_step(home, folder, arguments, late)
        else:
            notice = compare_refs(home, folder, arguments)
    except (Skipped, gitsync.NotInStep) as error:
        notice = not_copied(error)
    except Exception as error:  # noqa: BLE001 - the server starts whatever happens here
        notice = not_copied(explain(error))
    return notice, folder


def not_copied(why):
    """Return a notice."""
    return "The repository's files were not copied: %s." % why


def find_brought(arguments, home):
    """Return an earlier start's folder, or ''."""
    home = os.path.realpath(home)
    name = find_own(home, read_known(home), arguments.to, arguments.origin)
    return os.path.join(home, name) if name else ""


def fetcher(arguments):
    """Return the `fetch` for `bring`: of the built commit if the host serves it."""

    def fetch(folder):
        if arguments.mode == "copy" and arguments.ref:
            with contextlib.suppress(gitsync.NotInStep):
                return gitsync.clone(folder, ref=arguments.ref, **limits(arguments))
        return gitsync.clone(folder, ref=arguments.follow, **limits(arguments))

    return fetch


def limits(arguments):
    """Return Git's limits."""
    return {
        "url": arguments.url,
        "seconds": arguments.max_seconds,
        "max_bytes": arguments.max_bytes,
    }


def home_of(env):
    """Return the person's home."""
    return env.get("HOME") or os.path.expanduser("~")


def enter(home):
    """Leave the image's folder, where files would be lost."""
    with contextlib.suppress(OSError):
        if not contains(os.path.realpath(home), os.getcwd()):
            os.chdir(home)


def with_root(command):
    """Add ``--allow-root`` if needed."""
    name = os.path.basename(command[0])
    if os.geteuid() != 0 or "--allow-root" in command or not name.startswith("jupyter"):
        return list(command)
    return [*command, "--allow-root"]


# --- Bringing the files ------------------------------------------------------------------------


def find_source(sources, home, env):
    """Return the first existing folder, or ''.

    Skips the home and its parents: a volume hides what the image had there.
    """
    for source in sources:
        path = env.get("REPO_DIR", "") if source == "$REPO_DIR" else source
        if path and os.path.isdir(path) and not contains(os.path.realpath(path), home):
            return path
    return ""


def contains(folder, path):
    """Test if a path is inside a folder."""
    return os.path.commonpath([folder, os.path.realpath(path)]) == folder


def bring(source, home, name, *, origin="", ref="", follow="", fetch=None):
    """Return the repository's folder; make it if needed.

    Without a source, `fetch` fills an empty folder and returns the commit. Raises Skipped,
    gitsync.NotInStep or OSError.
    """
    if not is_plain(name):
        raise Skipped("%r is not a valid folder name" % name)
    home = os.path.realpath(home)
    with lock(home, name):
        chosen = find_own(home, read_known(home), name, origin)
        if chosen:
            return os.path.join(home, chosen)
        if not os.path.isdir(source) and not fetch:
            raise Skipped(NO_FILES)
        chosen = find_free(home, name)
        remember(home, chosen, origin, ref, follow)
        if os.path.isdir(source):
            place(lambda beside: copy_tree(source, beside), home, name, chosen)
        else:
            fetched = place(fetch, home, name, chosen)
            remember(home, chosen, origin, fetched, follow)
    return os.path.join(home, chosen)


def keep_in_step(home, folder, arguments, late):
    """Sync a folder; return a notice."""
    name = os.path.basename(folder)
    if not arguments.url:
        return "%s is not kept up to date because it does not come from a Git repository." % name
    try:
        with lock(home, arguments.to):
            base = read_known(home).get(name, {}).get("ref", "")
            commit, notes = gitsync.sync(
                folder, ref=arguments.follow, base=base, late=late, **limits(arguments)
            )
            if commit != base:
                remember(home, name, arguments.origin, commit, arguments.follow)
    except (Skipped, gitsync.NotInStep) as error:
        return "%s was not updated: %s." % (name, error)
    except Exception as error:  # noqa: BLE001 - what is there is opened whatever happens here
        return "%s was not updated: %s." % (name, explain(error))
    for note in notes:
        print("jupyterhub-binder: " + note, file=sys.stderr, flush=True)  # noqa: T201
    return notes and "%s was updated. See %s in it." % (name, gitsync.NOTES)


def compare_refs(home, folder, arguments):
    """Return a notice if the folder has the files of another branch or tag."""
    name = os.path.basename(folder)
    entry = read_known(home).get(name, {})
    follow = entry.get("follow", arguments.follow)
    if follow == arguments.follow or entry.get("ref") == arguments.ref:
        return ""
    return (
        "%s has the files of %s, which were copied earlier. To get those of %s, rename the folder "
        "and start the server again."
    ) % (name, name_ref(follow), name_ref(arguments.follow))


def name_ref(ref):
    """Say which ref it is."""
    return "the default branch" if ref == "HEAD" else ref


def is_plain(name):
    """Accept a visible folder directly in the home."""
    return (
        bool(name)
        and len(os.fsencode(name)) <= 200
        and not name.startswith((".", "-", "~"))
        and not any(c in "/\\" or ord(c) < 32 for c in name)
    )


def names(name):
    """Yield names to try."""
    yield name
    for number in range(2, MAX_NAMES + 1):
        yield "%s-%d" % (name, number)


def find_own(home, known, name, origin):
    """Return this origin's folder, if any."""
    for candidate in names(name):
        entry = known.get(candidate)
        mine = isinstance(entry, dict) and entry.get("origin") == origin
        if mine and os.path.isdir(os.path.join(home, candidate)):
            return candidate
    return None


def find_free(home, name):
    """Return the first unused name."""
    for candidate in names(name):
        if not os.path.lexists(os.path.join(home, candidate)):
            return candidate
    raise Skipped("there are too many folders with names like %r" % name)


def place(fill, home, name, chosen):
    """Fill a temporary folder, then rename it: no partial copies."""
    prefix = ".%s.copying-" % name
    for left in os.listdir(home):
        if left.startswith(prefix):  # left by an interrupted start; we hold the lock
            trees.try_to_remove(os.path.join(home, left))
    beside = tempfile.mkdtemp(prefix=prefix, dir=home)
    try:
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(beside, 0o777 & ~umask)
        result = fill(beside)
        target = os.path.join(home, chosen)
        if os.path.lexists(target):
            raise Skipped("another process created the folder %r" % chosen)
        os.rename(beside, target)
    except BaseException:
        trees.try_to_remove(beside)
        raise
    return result


def copy_tree(source, target):
    """Copy writable files."""
    umask = os.umask(0)
    os.umask(umask)

    def copy(name, folder, beside):
        trees.copy_file(name, folder, beside)
        executable = os.stat(beside).st_mode & 0o100  # noqa: PTH116
        os.chmod(beside, (0o777 if executable else 0o666) & ~umask)

    trees.copy_tree(source, target, copy=copy)
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(target, SERVER_LOG))


# --- The record ----------------------------------------------------------------------------------


def state_file(home, name):
    """Return a state file's path."""
    return os.path.join(home, STATE, name)


def read_known(home):
    """Return folder name to origin."""
    try:
        with open(state_file(home, "content.json"), encoding="utf-8") as file:
            folders = json.load(file)["folders"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return folders if isinstance(folders, dict) else {}


def remember(home, name, origin, ref, follow):
    """Record a folder before it exists; otherwise each start would copy again."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    with lock(home):
        folders = dict(read_known(home))
        folders[name] = {"origin": origin, "ref": ref, "follow": follow, "copied": now}
        write_known(home, folders)


def write_known(home, folders):
    """Write the record atomically."""
    path = state_file(home, "content.json")
    beside = "%s.%d" % (path, os.getpid())
    try:
        with open(beside, "w", encoding="utf-8") as file:
            json.dump({"version": 1, "folders": folders}, file, indent=2)
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


@contextlib.contextmanager
def lock(home, name=""):
    """Lock a name or the record, if the file system can."""
    os.makedirs(os.path.join(home, STATE), mode=0o700, exist_ok=True)
    file = "content.%s.lock" % name if name else "content.lock"
    with open(state_file(home, file), "a") as file:
        wait_for_lock(file.fileno())
        yield


def wait_for_lock(descriptor):
    """Raise Skipped on a time-out."""
    try:
        import fcntl
    except ImportError:
        return
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Skipped("another of your servers is still copying files") from None
            time.sleep(0.1)
        except OSError:
            return
        else:
            return


# --- What the command is told --------------------------------------------------------------------


def open_in(env, home, folder, arguments):
    """Make the server open the folder or file."""
    root = os.path.realpath(os.path.expanduser(env.get("JUPYTERHUB_ROOT_DIR") or home))
    if os.path.commonpath([root, folder]) != root:
        root = os.path.realpath(home)
    env["JUPYTERHUB_ROOT_DIR"] = root
    opened = within(folder, arguments.path)
    place = quote(os.path.relpath(opened or folder, root).replace(os.sep, "/"))
    if arguments.address:
        if opened:
            set_address(env, arguments, place)
        return
    before = env.get("JUPYTERHUB_DEFAULT_URL", "")
    if before in ("", "/") or before.rstrip("/") == "/lab" or before.startswith("/lab/"):
        env["JUPYTERHUB_DEFAULT_URL"] = "/lab/tree/" + place
    elif before.rstrip("/") == "/tree":
        env["JUPYTERHUB_DEFAULT_URL"] = "/tree/" + place
    # An administrator set another address for another application. It stays.


def set_address(env, arguments, place):
    """Set the server's default URL."""
    env["JUPYTERHUB_DEFAULT_URL"] = arguments.address + place + arguments.query


def within(folder, path):
    """Return a full path, or None if missing or outside."""
    full = os.path.normpath(os.path.join(folder, path.lstrip("/")))
    if not path or not full.startswith(folder + os.sep) or not os.path.exists(full):
        return None
    return full


def say_on_the_way(arguments, home, folder, env):
    """Tell the person that copying continues."""
    name = os.path.basename(folder) or arguments.to
    if folder:
        tell(home, "Updates of %s are still being fetched." % name, env)
        return
    tell(home, ON_THE_WAY % name, env)
    take_back(missing_note(arguments, home), not_copied(NO_FILES))
    put(waiting_note(arguments, home), ON_THE_WAY % name)


def waiting_note(arguments, home):
    """Return the note's path."""
    return os.path.join(home, "%s is on its way.txt" % arguments.to)


def missing_note(arguments, home):
    """Return the path of the note about files that no image has."""
    return os.path.join(home, "%s is missing.txt" % arguments.to)


def conclude(arguments, home, notice, env):
    """Report during the start."""
    take_back(waiting_note(arguments, home), ON_THE_WAY % arguments.to)
    if notice == not_copied(NO_FILES):
        put(missing_note(arguments, home), notice)
    else:
        take_back(missing_note(arguments, home), not_copied(NO_FILES))
    tell(home, notice, env)


def put(note, text):
    """Leave a note in the home, unless there is one."""
    with contextlib.suppress(OSError), open(note, "x") as file:
        file.write(text + "\n")


def take_back(note, text):
    """Remove a note that nobody has changed."""
    with contextlib.suppress(OSError, ValueError):
        if os.path.isfile(note):  # opening a pipe would block forever
            with open(note, encoding="utf-8") as file:
                ours = file.read(1000) == text + "\n"
            if ours:
                os.unlink(note)


def finish(arguments, home, notice, folder):
    """Report after the start."""
    conclude(arguments, home, notice, {})
    if folder and not notice:
        text = "jupyterhub-binder: the files in %s are complete." % os.path.basename(folder)
        print(gitsync.readable(text), file=sys.stderr, flush=True)  # noqa: T201


def explain(error):
    """Return a reason without paths."""
    if isinstance(error, OSError):
        return REASONS.get(error.errno or 0) or (error.strerror or "a file could not be read")
    return "%s: %s" % (type(error).__name__, error)


def tell(home, notice, env):
    """Report in the log, the environment and a file."""
    path = state_file(home, "notice.txt")
    notice = gitsync.readable(notice or "")
    env.pop("JUPYTERHUB_BINDER_NOTICE", None)
    if notice:
        env["JUPYTERHUB_BINDER_NOTICE"] = notice
        print("jupyterhub-binder: " + notice, file=sys.stderr, flush=True)  # noqa: T201
    with contextlib.suppress(OSError):
        if os.path.lexists(path):  # maybe a link or a pipe; write a regular file
            os.unlink(path)
        if notice:
            with open(path, "x", encoding="utf-8", errors="surrogateescape") as file:
                file.write(notice + "\n")


def write_receipt(arguments, home, env):
    """Write the receipt of the environment beside the record, and name the file.

    Not into the repository's folder: a folder ``.binder`` there would replace its configuration.
    """
    packed = env.pop(RECEIPT, "")
    if not packed or not is_plain(arguments.to):
        return
    folder = os.path.join(home, STATE, "environments", arguments.to)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, "environment.json")
    beside = "%s.%d" % (path, os.getpid())
    with open(beside, "xb") as file:
        file.write(zlib.decompress(base64.b64decode(packed)))
    os.replace(beside, path)
    env[RECEIPT] = path


def make_room(home, env):
    """Let Jupyter write elsewhere if the home is read-only or full."""
    if can_write(home):
        return
    room = tempfile.mkdtemp(prefix="jupyterhub-binder-")
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        env.setdefault(name, os.path.join(room, name.lower()))
    env.setdefault("JUPYTERLAB_SETTINGS_DIR", os.path.join(room, "lab-settings"))
    env.setdefault("JUPYTERLAB_WORKSPACES_DIR", os.path.join(room, "lab-workspaces"))
    note = "The home folder is not writable. Settings of this session are not saved."
    env.setdefault("JUPYTERHUB_BINDER_NOTICE", note)
    print("jupyterhub-binder: " + note, file=sys.stderr, flush=True)  # noqa: T201


def can_write(home):
    """Test the home and Jupyter's folders."""
    for folder in (home, os.path.join(home, ".local", "share", "jupyter")):
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"\0" * 65536)
        except OSError:
            return False
    return True


if __name__ == "__main__":
    main()
