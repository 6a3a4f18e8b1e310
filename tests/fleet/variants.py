"""Servers as they are found: with Match blocks, without PAM, sudo or Python, read-only, cloned, or hours off."""

from tests.fleet.machine import FleetError
from tests.fleet.server import Server

DROP_INS = "/etc/ssh/sshd_config.d"


def drop_in(server: Server, name: str, *lines: str) -> None:
    """Put a drop-in of these lines into sshd's settings; the first of two that say the same wins, by file name."""
    server.write(f"{DROP_INS}/{name}.conf", "".join(f"{line}\n" for line in lines))
    server.reload_sshd()


def match_blocks(server: Server) -> None:
    """Give sshd the Match blocks and drop-ins of a server with a history: groups, addresses, key files of their own."""
    server.inside("groupadd --force deploy && groupadd --force sftponly")
    server.write(f"{DROP_INS}/05-first.conf", "PasswordAuthentication no\nPermitRootLogin prohibit-password\n")
    drop_in(
        server, "50-history",
        "Match Group deploy",
        "    AuthorizedKeysFile /etc/ssh/deploy/%u .ssh/authorized_keys2",
        "Match Group sftponly",
        "    ForceCommand internal-sftp",
        "    AllowTcpForwarding no",
        "Match Address 192.0.2.0/24",
        "    PubkeyAuthentication no",
        "Match all",
    )  # fmt: skip


def without_pam(server: Server) -> None:
    """Switch PAM off in sshd: an account whose password field begins with `!` is then refused even with a key."""
    drop_in(server, "01-no-pam", "UsePAM no")


def without_drop_ins(server: Server) -> None:
    """Take the Include line away, as an older or hand-written sshd_config has it: drop-ins are not read."""
    server.inside("sed -i '/^Include/d' /etc/ssh/sshd_config")
    server.reload_sshd()


def without_sudo(server: Server) -> None:
    """Remove sudo."""
    server.inside("SUDO_FORCE_REMOVE=yes dpkg --purge sudo")


def without_python(server: Server) -> None:
    """Remove every python3."""
    server.inside("rm -f /usr/bin/python3*")


def read_only(server: Server) -> None:
    """Make its disk read-only, as a kernel does after errors of the disk; the next boot ends it."""
    if server.systemd:
        server.inside("journalctl --relinquish-var && systemctl stop systemd-random-seed.service; sync")
    server.inside("mount -o remount,ro,bind /")


def twin(server: Server, of: Server) -> None:
    """Give it the host keys and the machine id of another, as a cloned image has."""
    for file in (of.root / "etc" / "ssh").glob("ssh_host_*"):
        mode = 0o644 if file.suffix == ".pub" else 0o600
        server.write(f"/etc/ssh/{file.name}", file.read_text(encoding="ascii"), mode=mode)
    server.write("/etc/machine-id", (of.root / "etc" / "machine-id").read_text(encoding="ascii"))
    server.read_host_keys()
    server.reload_sshd()


def other_host_keys(server: Server) -> None:
    """Give it new host keys, as a reinstalled server or a man in the middle has; `known_hosts` keeps the old."""
    server.inside("rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
    server.reload_sshd()


def clock_off(server: Server, seconds: int) -> None:
    """Set the clock of all that starts from now on off by so many seconds: sshd, sudo, python, date; not systemd.

    Raises FleetError when the server's own `date` does not show it.
    """
    found = server.inside("ls /usr/lib/*/faketime/libfaketime.so.1").out.strip()
    before = int(server.inside("date +%s").out)
    server.write("/etc/faketimerc", f"{seconds:+d}\n")
    server.write("/etc/ld.so.preload", f"{found}\n")
    server.reload_sshd()
    shown = int(server.inside("date +%s").out) - before - seconds
    if not 0 <= shown < 60:
        raise FleetError(f"the clock of {server.name} is {shown} s from where it was set")
