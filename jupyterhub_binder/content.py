"""Brings a repository's files into a person's home, then becomes the command that follows.

Runs inside the person's server, as that person, before anything else: standard library only,
Python 3.8 and later, and nothing that goes wrong here stops the start. It never writes into a
folder that it did not make; into one that it did, only what `gitsync` finds to be new, and only
where that was asked for. The hub's side hands over this file's own text (`spawner`), so an
image need not have it.

    python -I content.py --from IMAGE/repo --to FOLDER --origin URL --ref SHA -- COMMAND...
"""

# It runs under any image's Python, and before every start: os.path is there already.
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH105, PTH108, PTH110, PTH111, PTH112
# ruff: noqa: PTH109, PTH113, PTH115, PTH118, PTH119, PTH123, PTH208, PTH211, UP017, UP031

from __future__ import annotations

import argparse
import contextlib
import datetime
import errno
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from urllib.parse import quote

from jupyterhub_binder import gitsync

STATE = os.path.join(".local", "share", "jupyterhub-binder")
"""The folder of the home that remembers which folders came from where."""

MOST_NAMES = 99
"""How many folders `name`, `name-2`, … are tried."""

LOCK_SECONDS = 86400
"""How long to wait for another server of the same person: the limit of it all comes first."""

ON_THE_WAY = "The repository's files are still on their way: they will be in the folder %s."

REASONS = {
    errno.ENOSPC: "your home is full. Delete something and start the server again",
    errno.EDQUOT: "your home is full. Delete something and start the server again",
    errno.EFBIG: "a file is larger than your home takes",
    errno.EROFS: "your home cannot be written to",
    errno.EACCES: "your home cannot be written to",
    errno.EPERM: "your home cannot be written to",
}


class Skipped(Exception):
    """The files were not brought; the text says why, for the person."""


def main(argv=None):
    """Bring the files, then become the command. Does not return unless the command is missing."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    env = dict(os.environ)
    prepare(arguments, env)
    command = with_root(arguments.command)
    enter(home_of(env))
    os.execvpe(command[0], command, env)  # noqa: S606 - becoming the command is the point


def parse(argv):
    """Return the arguments; what follows ``--`` is the command."""
    parser = argparse.ArgumentParser(prog="jupyterhub-binder-content")
    parser.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        help="the image's checkout; the first that is there counts",
    )
    parser.add_argument("--to", default="", help="name of the folder in the home")
    parser.add_argument("--mode", default="copy", choices=("copy", "sync", "leave"))
    parser.add_argument("--origin", default="", help="where the files come from")
    parser.add_argument("--ref", default="", help="which commit they are")
    parser.add_argument("--url", default="", help="where git fetches them; none: not at all")
    parser.add_argument("--follow", default="HEAD", help="the branch, tag or commit to fetch")
    parser.add_argument("--seconds", type=float, default=20, help="for which the start waits")
    parser.add_argument("--most-seconds", type=float, default=3600, help="for which it may go on")
    parser.add_argument("--most-bytes", type=int, default=2**31, help="of a file that is fetched")
    parser.add_argument("--path", default="", help="what to open, relative to the folder")
    parser.add_argument("--address", default="", help="what of the server opens it; none: a folder")
    parser.add_argument("--query", default="", help="what follows the path in the address")
    parser.add_argument("command", nargs="+")
    return parser.parse_args(argv)


def prepare(arguments, env):
    """Bring the files and set what the command needs to open there. Never raises."""
    home = home_of(env)
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


def bring_in_time(arguments, home, env):
    """Return the folder of the files, '' for none; what takes longer goes on beside the server."""
    work = gitsync.Meanwhile(
        lambda late: bring_all(arguments, home, env, late),
        seconds=arguments.seconds,
        most_seconds=arguments.most_seconds,
        afterwards=lambda result: finish(arguments, home, *result),
        otherwise=(not_copied("what brings them has ended"), ""),
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
    """Bring the files; return what the person should know, and the folder, '' for none."""
    notice, folder = "", ""
    try:
        folder = bring(
            find_source(arguments.sources, home, env),
            home,
            arguments.to,
            origin=arguments.origin,
            ref=arguments.ref,
            fetch=fetcher(arguments) if arguments.url else None,
        )
        if arguments.mode == "sync":
            notice = keep_in_step(home, folder, arguments, late)
    except (Skipped, gitsync.NotInStep) as error:
        notice = not_copied(error)
    except Exception as error:  # noqa: BLE001 - the server starts whatever happens here
        notice = not_copied(explain(error))
    return notice, folder


def not_copied(why):
    """Return what the person should know where there are no files."""
    return "The repository's files were not copied: %s." % why


def find_brought(arguments, home):
    """Return the folder of files that an earlier start has brought, '' for none."""
    home = os.path.realpath(home)
    name = find_own(home, read_known(home), arguments.to, arguments.origin)
    return os.path.join(home, name) if name else ""


def fetcher(arguments):
    """Return what brings the files by git into an empty folder, and returns their commit."""
    return lambda folder: gitsync.clone(folder, ref=arguments.follow, **limits(arguments))


def limits(arguments):
    """Return what holds for every use of git."""
    return {
        "url": arguments.url,
        "seconds": arguments.most_seconds,
        "most_bytes": arguments.most_bytes,
    }


def home_of(env):
    """Return the person's home."""
    return env.get("HOME") or os.path.expanduser("~")


def enter(home):
    """Go home from an image's own working folder: what is written there is lost."""
    with contextlib.suppress(OSError):
        if not contains(os.path.realpath(home), os.getcwd()):
            os.chdir(home)


def with_root(command):
    """Return the command, allowed to run as root where it is root's."""
    name = os.path.basename(command[0])
    if os.geteuid() != 0 or "--allow-root" in command or not name.startswith("jupyter"):
        return list(command)
    return [*command, "--allow-root"]


# --- Bringing the files ------------------------------------------------------------------------


def find_source(sources, home, env):
    """Return the first folder that is there; ``$REPO_DIR`` is the image's variable. Maybe ''.

    The home itself, and what holds it, is none: a volume hides what an image had there.
    """
    for source in sources:
        path = env.get("REPO_DIR", "") if source == "$REPO_DIR" else source
        if path and os.path.isdir(path) and not contains(os.path.realpath(path), home):
            return path
    return ""


def contains(folder, path):
    """Say whether a path is a folder, or in it."""
    return os.path.commonpath([folder, os.path.realpath(path)]) == folder


def bring(source, home, name, *, origin="", ref="", fetch=None):
    """Return the folder of the home that holds the repository's files; bring them if need be.

    They are copied from the source; without one, `fetch` brings them into an empty folder and
    returns their commit. Raises Skipped, gitsync.NotInStep or OSError when there are none.
    """
    if not is_plain(name):
        raise Skipped("%r is not a name for a folder" % name)
    home = os.path.realpath(home)
    with lock(home, name):
        chosen = find_own(home, read_known(home), name, origin)
        if chosen:
            return os.path.join(home, chosen)
        if not os.path.isdir(source) and not fetch:
            raise Skipped("the environment holds no files")
        chosen = find_free(home, name)
        remember(home, chosen, origin, ref)
        if os.path.isdir(source):
            place(lambda beside: copy_tree(source, beside), home, name, chosen)
        else:
            fetched = place(fetch, home, name, chosen)
            remember(home, chosen, origin, fetched)
    return os.path.join(home, chosen)


def keep_in_step(home, folder, arguments, late):
    """Bring what is new in the repository into a folder; return what the person should know."""
    name = os.path.basename(folder)
    if not arguments.url:
        return "%s is not kept in step: it does not come from a git repository." % name
    try:
        with lock(home, arguments.to):
            base = read_known(home).get(name, {}).get("ref", "")
            commit, notes = gitsync.sync(
                folder, ref=arguments.follow, base=base, late=late, **limits(arguments)
            )
            if commit != base:
                remember(home, name, arguments.origin, commit)
    except (Skipped, gitsync.NotInStep) as error:
        return "%s was not brought up to date: %s." % (name, error)
    except Exception as error:  # noqa: BLE001 - what is there is opened whatever happens here
        return "%s was not brought up to date: %s." % (name, explain(error))
    for note in notes:
        print("jupyterhub-binder: " + note, file=sys.stderr, flush=True)  # noqa: T201
    return notes and "%s was brought up to date; see %s in it." % (name, gitsync.NOTES)


def is_plain(name):
    """Say whether a name is one visible folder's, right below the home."""
    return (
        bool(name)
        and len(os.fsencode(name)) <= 200
        and not name.startswith((".", "-", "~"))
        and not any(c in "/\\" or ord(c) < 32 for c in name)
    )


def names(name):
    """Yield the names that are tried, in their order."""
    yield name
    for number in range(2, MOST_NAMES + 1):
        yield "%s-%d" % (name, number)


def find_own(home, known, name, origin):
    """Return the folder that was copied from this origin earlier, if it is still there."""
    for candidate in names(name):
        entry = known.get(candidate)
        mine = isinstance(entry, dict) and entry.get("origin") == origin
        if mine and os.path.isdir(os.path.join(home, candidate)):
            return candidate
    return None


def find_free(home, name):
    """Return the first name that nothing in the home has."""
    for candidate in names(name):
        if not os.path.lexists(os.path.join(home, candidate)):
            return candidate
    raise Skipped("there are too many folders called %r" % name)


def place(fill, home, name, chosen):
    """Fill a folder beside, then rename it as chosen: a half copy never has the name."""
    prefix = ".%s.copying-" % name
    for left in os.listdir(home):
        if left.startswith(prefix):  # of a start that was cut off; the lock says it is nobody's
            remove(os.path.join(home, left))
    beside = tempfile.mkdtemp(prefix=prefix, dir=home)
    try:
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(beside, 0o777 & ~umask)
        result = fill(beside)
        target = os.path.join(home, chosen)
        if os.path.lexists(target):
            raise Skipped("a folder called %r appeared meanwhile" % chosen)
        os.rename(beside, target)
    except BaseException:
        remove(beside)
        raise
    return result


def copy_tree(source, target):
    """Copy folders, files and links; what the person gets is theirs to write."""
    umask = os.umask(0)
    os.umask(umask)
    for folder, folders, files in os.walk(source, onerror=fail):
        relative = os.path.relpath(folder, source)
        for name in folders + files:
            copy_entry(os.path.join(folder, name), os.path.join(target, relative, name), umask)


def fail(error):
    """Raise what os.walk would swallow."""
    raise error


def copy_entry(source, target, umask):
    """Copy one thing; sockets, pipes and devices are no part of a repository."""
    info = os.lstat(source)
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISDIR(info.st_mode):
        os.mkdir(target, 0o777)
    elif stat.S_ISREG(info.st_mode):
        shutil.copyfile(source, target)
        os.chmod(target, (0o777 if info.st_mode & 0o100 else 0o666) & ~umask)
        os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


def remove(path):
    """Remove a folder of ours, whatever is in it."""
    shutil.rmtree(path, ignore_errors=True)


# --- What is remembered ------------------------------------------------------------------------


def state_file(home, name):
    """Return the path of one of our files in the home."""
    return os.path.join(home, STATE, name)


def read_known(home):
    """Return what is remembered: a folder's name to where it came from."""
    try:
        with open(state_file(home, "content.json"), encoding="utf-8") as file:
            folders = json.load(file)["folders"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return folders if isinstance(folders, dict) else {}


def remember(home, name, origin, ref):
    """Note where a folder comes from, before it is there: else each start would copy anew."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    with lock(home):
        folders = dict(read_known(home))
        folders[name] = {"origin": origin, "ref": ref, "copied": now}
        write_known(home, folders)


def write_known(home, folders):
    """Keep what is remembered, whole or not at all."""
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
    """Let one server of a person bring a folder at a time; without a name, change what is known.

    A file system without locks goes without.
    """
    os.makedirs(os.path.join(home, STATE), mode=0o700, exist_ok=True)
    file = "content.%s.lock" % name if name else "content.lock"
    with open(state_file(home, file), "a") as file:
        wait_for_lock(file.fileno())
        yield


def wait_for_lock(descriptor):
    """Take the lock, or raise Skipped when another server holds it for too long."""
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
                raise Skipped("another server of yours is still copying files") from None
            time.sleep(0.1)
        except OSError:
            return
        else:
            return


# --- What the command is told --------------------------------------------------------------------


def open_in(env, home, folder, arguments):
    """Let the server open the folder, or the file in it that was asked for."""
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
    # Any other address is an administrator's wish for another application: it stays.


def set_address(env, arguments, place):
    """Let the server open an address of its own, of a file or of none."""
    env["JUPYTERHUB_DEFAULT_URL"] = arguments.address + place + arguments.query


def within(folder, path):
    """Return the full path of a file of the folder, or None when it is not there or not in it."""
    full = os.path.normpath(os.path.join(folder, path.lstrip("/")))
    if not path or not full.startswith(folder + os.sep) or not os.path.exists(full):
        return None
    return full


def say_on_the_way(arguments, home, folder, env):
    """Tell the person that files are still on their way, in the home too if it has none yet."""
    name = os.path.basename(folder) or arguments.to
    if folder:
        tell(home, "What is new in %s is still on its way." % name, env)
        return
    tell(home, ON_THE_WAY % name, env)
    with contextlib.suppress(OSError), open(waiting_note(arguments, home), "x") as file:
        file.write(ON_THE_WAY % name + "\n")


def waiting_note(arguments, home):
    """Return the path of the note that stands where the files will be."""
    return os.path.join(home, "%s is on its way.txt" % arguments.to)


def conclude(arguments, home, notice, env):
    """Say what became of the files; nothing is on its way any more."""
    note = waiting_note(arguments, home)
    with contextlib.suppress(OSError, ValueError):
        if os.path.isfile(note):  # opening a pipe would wait for ever
            with open(note, encoding="utf-8") as file:
                ours = file.read(1000) == ON_THE_WAY % arguments.to + "\n"
            if ours:
                os.unlink(note)
    tell(home, notice, env)


def finish(arguments, home, notice, folder):
    """Say what became of the files after the start, in the log and in the home."""
    conclude(arguments, home, notice, {})
    if folder and not notice:
        text = "jupyterhub-binder: the files of %s are in place." % os.path.basename(folder)
        print(gitsync.readable(text), file=sys.stderr, flush=True)  # noqa: T201


def explain(error):
    """Return a reason for people: no paths, no traceback."""
    if isinstance(error, OSError):
        return REASONS.get(error.errno or 0) or (error.strerror or "a file could not be read")
    return "%s: %s" % (type(error).__name__, error)


def tell(home, notice, env):
    """Say in the log, in the environment and, where that works, in a file what went wrong."""
    path = state_file(home, "notice.txt")
    notice = gitsync.readable(notice or "")
    env.pop("JUPYTERHUB_BINDER_NOTICE", None)
    if notice:
        env["JUPYTERHUB_BINDER_NOTICE"] = notice
        print("jupyterhub-binder: " + notice, file=sys.stderr, flush=True)  # noqa: T201
    with contextlib.suppress(OSError):
        if os.path.lexists(path):  # maybe a link, or a pipe: what is written is a file of ours
            os.unlink(path)
        if notice:
            with open(path, "x", encoding="utf-8", errors="surrogateescape") as file:
                file.write(notice + "\n")


def make_room(home, env):
    """Give Jupyter a place of its own for what it must write when the home takes nothing."""
    if can_write(home):
        return
    room = tempfile.mkdtemp(prefix="jupyterhub-binder-")
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        env.setdefault(name, os.path.join(room, name.lower()))
    env.setdefault("JUPYTERLAB_SETTINGS_DIR", os.path.join(room, "lab-settings"))
    env.setdefault("JUPYTERLAB_WORKSPACES_DIR", os.path.join(room, "lab-workspaces"))
    note = "The home cannot be written to: settings of this session are not kept."
    env.setdefault("JUPYTERHUB_BINDER_NOTICE", note)
    print("jupyterhub-binder: " + note, file=sys.stderr, flush=True)  # noqa: T201


def can_write(home):
    """Say whether a small file can be written into the home and its Jupyter folders."""
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
