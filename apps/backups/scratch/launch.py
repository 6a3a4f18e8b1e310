"""Starts one program in a jail, as a script of its own: `python -I -S launch.py SPEC`, no Mainstay code, no secrets.

SPEC is JSON: parent (process id that must live), namespaces, uid, gid (null: keep), root (empty folder to mount on),
binds [[source, writable]], hidden (paths that must not open in the jail), argv, env, cwd.

The order matters: namespaces, a root file system that holds only what is needed, no capability, no new privilege, then
a real attempt to open what must stay hidden, and only then the program. The outer process dies with the worker, the
inner one (process 1 of its own namespace) with the outer one, and with it everything that it started.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
from typing import Any, NoReturn

NOT_HIDDEN, NOT_JAILED, PARENT_GONE = 97, 98, 99

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_RELATIME, _NOATIME, _NODIRATIME, _DETACH = 1 << 21, 1024, 2048, 2
_PDEATHSIG, _NO_NEW_PRIVS, _CAPBSET_DROP, _DUMPABLE = 1, 38, 24, 4
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_libc = ctypes.CDLL(None, use_errno=True)


def _end(code: int, text: str) -> NoReturn:
    os.write(2, f"mainstay-jail: {text}\n".encode(errors="replace"))
    os._exit(code)


def _call(result: int, what: str) -> None:
    if result != 0:
        _end(NOT_JAILED, f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None)
    _call(result, f"mount {target}")


def _die_with_parent() -> None:
    _call(_libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    os.write(handle, text.encode())
    os.close(handle)


def _unshare(*, own_user: bool) -> None:
    uid, gid = os.getuid(), os.getgid()
    flags = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET | (_NEWUSER if own_user else 0)
    _call(_libc.unshare(ctypes.c_int(flags)), "unshare")
    if own_user:
        # One unprivileged id, mapped on itself: inside it is not root, so that exec leaves it without any capability.
        with contextlib.suppress(FileNotFoundError):
            _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")


def _kept_flags(path: str) -> int:
    """Return the mount flags that a user namespace may not take away."""
    flags = os.statvfs(path).f_flag
    pairs = ((2, _NOSUID), (4, _NODEV), (8, _NOEXEC), (1024, _NOATIME), (2048, _NODIRATIME), (4096, _RELATIME))
    return sum(mount for stat, mount in pairs if flags & stat)


def _bind(source: str, root: str, *, writable: bool) -> None:
    target = root + source
    if os.path.isdir(source):  # noqa: PTH112 this script starts in milliseconds because it imports little
        os.makedirs(target, mode=0o755, exist_ok=True)  # noqa: PTH103
    else:
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)  # noqa: PTH103, PTH120
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o644))
    _mount(source, target, "", _BIND | _REC)
    if not writable:
        _mount("", target, "", _BIND | _REMOUNT | _RDONLY | _NOSUID | _kept_flags(target))


def _new_root(root: str, binds: list[list[Any]], uid: int, gid: int) -> None:
    """Make a root file system that holds only what is named, and let go of the old one."""
    _mount("none", "/", "", _REC | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=1m")
    os.umask(0o022)
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(name):  # noqa: PTH114
            os.symlink(os.readlink(name), root + name)  # noqa: PTH115, PTH211
        elif os.path.isdir(name):  # noqa: PTH112
            _bind(name, root, writable=False)
    for name in ("/usr", "/etc/ld.so.cache"):
        if os.path.exists(name):  # noqa: PTH110
            _bind(name, root, writable=False)
    for name in ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"):
        _bind(name, root, writable=True)
    for name in ("/dev/shm", "/tmp"):  # noqa: S108 folders of the jail's own
        os.makedirs(root + name, exist_ok=True)  # noqa: PTH103
        _mount("tmpfs", root + name, "tmpfs", _NOSUID | _NODEV, "mode=1777,size=1g")
    os.makedirs(root + "/etc", exist_ok=True)  # noqa: PTH103
    for name, line in (("passwd", f"scratch:x:{uid}:{gid}::/tmp:/bin/false\n"), ("group", f"scratch:x:{gid}:\n")):
        handle = os.open(f"{root}/etc/{name}", os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(handle, line.encode())
        os.close(handle)
    for source, writable in binds:
        _bind(source, root, writable=bool(writable))
    os.chdir(root)
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        _end(NOT_JAILED, f"no pivot_root known for {os.uname().machine}")
    _call(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    _call(_libc.umount2(b".", _DETACH), "umount the old root")
    os.chdir("/")


def _drop(uid: int | None, gid: int | None) -> None:
    for capability in range(64):
        if _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # past the last one, or already without the right to: exec as another id clears them all the same
    if uid is not None and gid is not None:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    _call(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse_if_open(hidden: list[str]) -> None:
    for path in hidden:
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        os.close(handle)
        _end(NOT_HIDDEN, f"{path} can be read in the jail")


def _inside(spec: dict[str, Any], life: int) -> NoReturn:
    own_user = spec["uid"] is None
    if spec["namespaces"]:
        uid, gid = (os.getuid(), os.getgid()) if own_user else (spec["uid"], spec["gid"])
        _new_root(spec["root"], spec["binds"], uid, gid)
    _drop(spec["uid"], spec["gid"])
    if os.geteuid() == 0:
        _end(NOT_JAILED, "still root")
    _refuse_if_open(spec["hidden"])
    _die_with_parent()  # after the change of id, which clears it
    if select.select([life], [], [], 0)[0]:
        _end(PARENT_GONE, "the worker is gone")
    os.close(life)
    os.chdir(spec["cwd"])
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 an argument list, never a shell
    except OSError as error:
        _end(NOT_JAILED, f"{spec['argv'][0]}: {error.strerror}")


def main() -> NoReturn:
    """Jail and run; the exit code is the program's, or 128 and its signal."""
    spec = json.loads(sys.argv[1])
    os.closerange(3, 4096)
    os.setsid()
    _die_with_parent()
    if os.getppid() != spec["parent"]:
        _end(PARENT_GONE, "the worker is gone")
    if spec["namespaces"]:
        _unshare(own_user=spec["uid"] is None)
    life, mine = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(mine)
        try:
            _inside(spec, life)
        except Exception as error:  # noqa: BLE001 whatever it is, the program must not start outside its jail
            _end(NOT_JAILED, f"{type(error).__name__}: {error}")
    os.close(life)
    for caught in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(caught, lambda sent, _: os.kill(child, sent))
    os.close(0)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(null, number)  # the outer process must not keep the reader of a pipe waiting
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
