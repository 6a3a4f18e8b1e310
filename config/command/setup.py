"""Makes .venv with the locked packages, heals a set-up that was interrupted, and hands over. Standard library only."""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
# These commands need tests/requirements.lock, which holds requirements.lock whole; benches run against tests/servers.
NEEDS_TESTS = {"test", "check", "bench"}
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")


class Refusal(Exception):  # noqa: N818 it is an answer to a person, not a fault
    """Something that a person must mend: one sentence on what happened, what was not harmed and what to do."""


def main(arguments: list[str]) -> int:
    """Set up what the command needs, then become it. Returns only with a refusal's exit code."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    lock = ROOT / ("tests/requirements.lock" if command in NEEDS_TESTS else "requirements.lock")
    try:
        if command != "" and not ready(lock):
            set_up(lock)
    except Refusal as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. The next start goes on from here.\n")
        return 130
    python = str(PYTHON) if PYTHON.exists() else sys.executable
    return become(python, arguments)


def become(python: str, arguments: list[str]) -> NoReturn:
    """Replace this process by the command itself, in the environment that was made."""
    os.execv(python, [python, str(Path(__file__).parent / "__main__.py"), *arguments])  # noqa: S606 no shell is meant


def stamp(lock: Path) -> Path:
    """Return the file that remembers which lock was installed whole."""
    return VENV / f".installed-{'tests' if lock.parent.name == 'tests' else 'mainstay'}"


def digest(lock: Path) -> str:
    """Return what the stamp must say: the lock's digest and the Python it was installed for."""
    return f"{hashlib.sha256(lock.read_bytes()).hexdigest()} {sys.version_info[0]}.{sys.version_info[1]}"


def ready(lock: Path) -> bool:
    """Return whether the lock was installed to the end, alone or as part of the tests' lock."""
    if not PYTHON.exists():
        return False
    try:
        return stamp(lock).read_text(encoding="ascii") == digest(lock)
    except OSError:
        return False


def set_up(lock: Path) -> None:
    """Make the environment and install the lock; a second one that starts meanwhile waits for the first."""
    if not lock.exists():
        raise Refusal(f"{lock} is not here, and this command needs it: an image has no tests. Run it in a clone.")
    with (ROOT / "mainstay").open("rb") as door:
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another start is setting Mainstay up; waiting for it …")
            fcntl.flock(door, fcntl.LOCK_EX)
        if ready(lock):
            return
        if not works():
            make_environment()
        install(lock)
        for held in {lock, ROOT / "requirements.lock"}:  # the tests' lock holds the other whole
            stamp(held).write_text(digest(held), encoding="ascii")


def works() -> bool:
    """Return whether .venv holds a Python of this version with a pip that answers."""
    if not PYTHON.exists():
        return False
    ask = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    return subprocess.run([PYTHON, "-c", ask], capture_output=True, check=False).returncode == 0


def make_environment() -> None:
    """Make .venv anew. Raises Refusal with the package's name where the venv module is missing and cannot be had."""
    say(f"Making .venv with Python {sys.version_info[0]}.{sys.version_info[1]} …")
    if not has_venv():
        install_venv_module()
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        lines = (made.stdout + made.stderr).strip().splitlines() or ["no reason given"]
        raise Refusal(f"The environment {VENV} could not be made ({lines[-1].strip()}). Mend that and start again.")


def has_venv() -> bool:
    """Return whether this Python can make an environment with pip in it (Debian ships both apart)."""
    specs = [importlib.util.find_spec(name) for name in ("venv", "ensurepip")]
    return all(spec is not None and spec.origin is not None for spec in specs)


def install_venv_module() -> None:
    """Install the venv module as root on Debian and Ubuntu; else name the package."""
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    named = f"Python's venv module is missing: run  apt-get install {package}  as root, and start again."
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Refusal(f"{named} Nothing was changed.")
    say(f"Installing {package} …")
    calm = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", package]):
        done = subprocess.run(["apt-get", *words], env=calm, capture_output=True, text=True, check=False)  # noqa: S607
    importlib.invalidate_caches()
    if done.returncode or not has_venv():
        reason = next((line for line in done.stderr.splitlines() if line.startswith("E:")), "it is still missing")
        raise Refusal(f"{package} could not be installed ({reason.removeprefix('E: ')}). {named}")


def install(lock: Path) -> None:
    """Install a lock with hashes, telling where it stands. Raises Refusal when packages cannot be had."""
    total = len(re.findall(r"^\S+==", lock.read_text(encoding="utf-8"), re.MULTILINE))
    say(f"Fetching {total} packages, each checked against its digest in {lock.relative_to(ROOT)} …")
    words = ["install", "--require-hashes", "--only-binary=:all:", "--retries", "2", "--timeout", "20", "-r", str(lock)]
    errors: list[str] = []
    seen = 0
    with subprocess.Popen(
        [PYTHON, *PIP, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    ) as pip:
        for line in pip.stdout or ():
            if line.startswith(("Collecting ", "Requirement already satisfied: ")):
                seen += 1
                if seen % 15 == 0:
                    name = line.removeprefix("Requirement already satisfied: ").partition("=")[0].split()[-1]
                    say(f"  {seen} of {total}: {name}")
            elif line.startswith("Installing collected"):
                say("  installing …")
            elif line.startswith(("ERROR: ", "WARNING: Retrying")):
                errors.append(line.strip())
    if pip.returncode:
        raise Refusal(said(errors))


def said(errors: list[str]) -> str:
    """Return one sentence on why pip failed, from its own lines."""
    text = "\n".join(errors)
    after = "Nothing else was changed; the next start goes on from here."
    if "DO NOT MATCH THE HASHES" in text or "THESE PACKAGES DO NOT" in text:
        return f"A package is not the one that was locked (its digest differs), so it was not installed. {after}"
    if "No space left" in text:
        return f"The packages could not be installed: the disk under {ROOT} is full. Make room and start again. {after}"
    if "Retrying" in text or "Could not find a version" in text or "No matching distribution" in text:
        return (
            "The packages could not be fetched: the package index does not answer or lacks one of them. Check the "
            f"network, or name your index in PIP_INDEX_URL, and start again. {after}"
        )
    reason = errors[-1].removeprefix("ERROR: ") if errors else "pip gave no reason"
    return f"The packages could not be installed ({reason}). {after}"


def say(text: str) -> None:
    """Write one line of progress; to the error console, because a command's own output may be JSON."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
