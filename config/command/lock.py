"""./mainstay lock: resolves requirements.txt anew into locks with hashes, with uv in a throwaway environment."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from config.command.running import ROOT
from config.command.say import Refusal, say

UV = "uv==0.13.*"
LOCKS = {
    "requirements.lock": ["requirements.txt"],
    "tests/requirements.lock": ["requirements.txt", "tests/requirements.txt"],
}
WORDS = (
    *("--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links"),
    *("--no-header", "--upgrade", "--quiet"),
)


def run(arguments: list[str]) -> int:
    """Write both locks; with a package's name only that one moves. Nothing is written when the resolver fails."""
    with tempfile.TemporaryDirectory(prefix="mainstay-lock-") as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        if subprocess.run([python, "-m", "pip", "install", "--quiet", UV], check=False).returncode:
            raise Refusal("uv could not be fetched from PyPI. The locks are as they were; check the network.")
        for name, sources in LOCKS.items():
            say(f"Resolving {' + '.join(sources)} …")
            words = [word for word in WORDS if word != "--upgrade"] if arguments else list(WORDS)
            only = [part for package in arguments for part in ("--upgrade-package", package)]
            fresh = Path(folder) / Path(name).name
            if (ROOT / name).exists():
                fresh.write_bytes((ROOT / name).read_bytes())
            command = [python, "-m", "uv", "pip", "compile", *words, *only, "-o", str(fresh), *sources]
            if subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL).returncode:
                raise Refusal("The packages could not be resolved; the lines above say why. Nothing was changed.")
            (ROOT / name).write_bytes(fresh.read_bytes())
    say(f"Locked for Python 3.11 and newer ({sys.platform} and others). ./mainstay up installs them at its next start.")
    return 0
