"""Every file says what it is for, stays short, and lies where the card says; nothing names a machine."""

import re
import secrets
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 400
LONGER: dict[str, str] = {  # path -> why it may be longer
    "apps/servers/gate/gate.py": "an admin reads and installs one file; its own test holds it to 900 lines",
}

TOP = {
    ".ci", ".dockerignore", ".gitignore", "CHANGELOG.md", "Dockerfile", "README.md", "apps", "config",
    "docker-compose.yml", "docs", "mainstay", "manage.py", "pyproject.toml", "requirements.lock", "requirements.txt",
    "static", "templates", "tests",
}  # fmt: skip


def tracked() -> list[Path]:
    """Return every file that git knows or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


FILES = tracked()
WRITTEN = [path for path in FILES if path.suffix == ".py" and "migrations" not in path.parts]


def shown(path: Path) -> str:
    """Return a path as it is written in git."""
    return path.relative_to(ROOT).as_posix()


def test_the_top_level_is_as_the_card_says() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in FILES}
    assert found == TOP, f"too many: {sorted(found - TOP)}; missing: {sorted(TOP - found)}"


def test_no_file_is_longer_than_it_should_be() -> None:
    lines = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in WRITTEN}
    assert {name: count for name, count in lines.items() if count > LONGEST and name not in LONGER} == {}
    assert [name for name in LONGER if lines.get(name, 0) <= LONGEST] == []


def test_every_python_file_opens_with_a_sentence_on_what_it_is_for() -> None:
    silent = []
    for path in WRITTEN:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#!")]
        empty = path.name == "__init__.py" and not lines
        if not empty and not re.match(r'"""\S+( \S+){2,}', lines[0] if lines else ""):
            silent.append(shown(path))
    assert silent == []


def test_there_is_no_drawer_for_everything() -> None:
    names = {"utils.py", "helpers.py", "misc.py", "common.py", "utils", "helpers"}
    assert [shown(path) for path in FILES if names & {path.name, *path.parent.parts[len(ROOT.parts) :]}] == []


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in FILES if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")}
    assert [shown(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_our_rooms_do_not_shadow_the_standard_library() -> None:
    assert len(secrets.token_hex(8)) == 16
    assert secrets.__file__ is not None
    assert not Path(secrets.__file__).is_relative_to(ROOT / "apps")


# These speak of the servers that are looked after, where root and people have homes.
OF_SERVERS = ("apps/servers/", "apps/access/", "tests/access/", "tests/servers/", "tests/servers_room/", "tests/fleet/")


def test_nothing_names_a_machine_or_a_registry() -> None:
    paths = (r"/wor[k]/(main|shared|\.library)", r"/roo[t]/", r"/hom[e]/\w+")  # the brackets keep this line out
    always = [paths[0], r"--(extra-)?inde[x]-url", r"fil[e]:///opt"]
    ours, any_machine = re.compile("|".join(always)), re.compile("|".join([*paths, *always]))
    found = []
    for path in FILES:
        if path.suffix in {".woff2", ".png", ".ico"}:
            continue
        forbidden = ours if shown(path).startswith(OF_SERVERS) else any_machine
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if forbidden.search(line):
                found.append(f"{shown(path)}:{number}")
    assert found == []


def test_ci_runs_the_readmes_own_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "set -euo pipefail" in script
    for command in ("./mainstay check", "./mainstay test"):
        assert command in script
        assert command in readme
    assert "./mainstay up" in readme
