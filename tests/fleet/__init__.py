"""Real Debian servers for the tests: systemd, sshd, sudo, apt, each with its own address, disk and boots."""
