"""The locks hold everything that Mainstay loads, with digests, and the tests' lock holds the other one whole."""

import re
import subprocess
import sys
import tempfile
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.core.starting import bare

ROOT = Path(__file__).resolve().parents[2]
LOADED = """
import sys
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, ".")
from config.command import children, prepare
prepare.load_django(Path("."))
children.load()
import config.wsgi, apps.core.build, boto3, fontTools.subset
"""


def pins(name: str) -> dict[str, int]:
    """Return every pinned package of a lock with the number of its digests."""
    blocks = re.split(r"^(?=[\w.-]+==)", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {block.split(" ")[0]: block.count("--hash=sha256:") for block in blocks}


def test_every_package_of_both_locks_has_its_digests() -> None:
    for name in ("requirements.lock", "tests/requirements.lock"):
        assert len(pins(name)) > 50
        assert [package for package, digests in pins(name).items() if not digests] == []


def test_the_tests_lock_holds_the_other_one_whole() -> None:
    assert set(pins("requirements.lock")) - set(pins("tests/requirements.lock")) == set()


def test_every_direct_requirement_is_locked() -> None:
    for folder in ("", "tests/"):
        source, lock = f"{folder}requirements.txt", f"{folder}requirements.lock"
        locked = {plain(pin.partition("==")[0]) for pin in pins(lock)}
        lines = (ROOT / source).read_text(encoding="utf-8").splitlines()
        named = {plain(re.split(r"[\[=;<>~ ]", line)[0]) for line in lines if line and not line.startswith("#")}
        assert named - locked == set()


def test_mainstay_loads_with_nothing_but_what_its_lock_holds() -> None:
    """A package that only the tests bring would be missing on a fresh machine, and no other test would notice."""
    locked = {plain(pin.partition("==")[0]) for pin in pins("requirements.lock")}
    absent = [
        module
        for module, owners in packages_distributions().items()
        if not {plain(name) for name in owners} & (locked | {"mainstay"}) and module.isidentifier()
    ]
    assert "pytest" in absent
    with tempfile.TemporaryDirectory() as data:
        done = subprocess.run(
            [sys.executable, "-c", LOADED, *absent],
            cwd=ROOT, env=bare(MAINSTAY_DATA=data), capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr


def plain(name: str) -> str:
    """Return a package's name in one spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()
