"""What starts a server: the shell loop that plays its power supply and firmware, with systemd or with sshd alone."""

import shlex
from collections.abc import Iterable
from pathlib import Path

REBOOT = 133  # how systemd-nspawn ends when its server asked for a reboot
# what a server without systemd is not given: it has no systemd-nspawn to keep the machine from it
KEPT_BACK = ("sys_time", "sys_module", "sys_boot", "sys_rawio", "syslog", "sys_admin", "mknod", "sys_ptrace")


def enter(groups: Iterable[Path]) -> str:
    """Return the lines that put the shell, and so all it starts, into control groups, or end it when they are gone."""
    return "".join(f"echo $$ > {shlex.quote(str(group))}/cgroup.procs || exit 1\n" for group in groups)


def with_systemd(root: Path, *, name: str, namespace: str) -> str:
    """Return the script that boots systemd in a folder again and again, until it powers off."""
    # a time namespace gives the server its own uptime, counted from its own boot
    clock = "unshare --time --boottime -$up --fork --kill-child" if Path("/proc/self/ns/time").exists() else ""
    nspawn = [
        "systemd-nspawn", "--quiet", "--boot", f"--directory={root}", f"--machine={namespace}", f"--hostname={name}",
        "--register=no", "--keep-unit", f"--network-namespace-path=/run/netns/{namespace}",
        "--capability=CAP_NET_ADMIN", "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=passive",
        "--kill-signal=SIGRTMIN+3",
    ]  # fmt: skip
    return (
        "export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_LOCK=0\n"
        "while :; do\n"
        "  read up _ < /proc/uptime; up=${up%.*}\n"
        f"  {clock} {shlex.join(nspawn)}\n"
        f'  rc=$?; echo "nspawn ended with $rc"; [ $rc = {REBOOT} ] || exit $rc\n'
        "done\n"
    )


def jailed(command: str, *more: str) -> str:
    """Return the line that goes on with a shell command in the folder it stands in, without the rights kept back."""
    lost = ",".join(f"-{right}" for right in (*KEPT_BACK, *more))
    clean = "env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    return f"exec chroot . setpriv --bounding-set {lost} {clean} /bin/sh -c {shlex.quote(command)}"


def with_sshd_alone(root: Path, *, name: str, namespace: str) -> str:
    """Return the script that runs nothing but sshd in a folder, under a shell as process 1."""
    lines = (
        "set -e; mount --make-rprivate /",
        f"mount --rbind {shlex.quote(str(root))} {shlex.quote(str(root))}; cd {shlex.quote(str(root))}",
        "mount -t proc proc proc; mount -t tmpfs -o mode=755 dev dev; mount -t tmpfs -o mode=755 run run",
        "for part in proc/sys proc/sysrq-trigger; do",
        "[ ! -e $part ] || { mount --bind $part $part; mount -o remount,ro,bind $part; }; done",
        "mkdir dev/pts run/sshd",
        "for n in null zero full random urandom tty; do touch dev/$n; mount --bind /dev/$n dev/$n; done",
        "mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts; ln -s pts/ptmx dev/ptmx",
        f"ln -s /proc/self/fd dev/fd; hostname {name}",
        jailed("/usr/sbin/sshd -D -e & wait"),
    )
    words = [
        "nsenter", f"--net=/run/netns/{namespace}", "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork",
        "--kill-child", "sh", "-c", "\n".join(lines),
    ]  # fmt: skip
    return f"exec {shlex.join(words)}\n"
