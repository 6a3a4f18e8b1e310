"""Every setting, every kind of trouble and every command has its heading in the docs."""

import importlib
import re
from pathlib import Path

from apps.alerts.problem import Problem
from config.bench import BENCHES
from config.command.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
READ = re.compile(r'(?:env(?:\.\w+)?|flag|secret|environ\.get)\(\s*"([A-Z][A-Z0-9_]+)"|environ\["([A-Z][A-Z0-9_]+)"\]')
NOT_OURS = {"PATH", "DJANGO_SETTINGS_MODULE"}


def headings(name: str) -> set[str]:
    """Return the headings of a document, without their backticks."""
    lines = (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines()
    return {line.lstrip("#").strip().strip("`") for line in lines if line.startswith("##")}


def settings_read() -> set[str]:
    """Return every name that is read from the environment."""
    found = set()
    for folder in ("apps", "config"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= {first or second for first, second in READ.findall(path.read_text(encoding="utf-8"))}
    return found - NOT_OURS


def problems() -> set[str]:
    """Return the code of every declared kind of trouble."""
    found = set()
    for path in (ROOT / "apps").glob("*/problems.py"):
        module = importlib.import_module(f"apps.{path.parent.name}.problems")
        found |= {value.code for value in vars(module).values() if isinstance(value, Problem)}
    return found


def test_every_setting_has_its_heading() -> None:
    assert settings_read() - headings("settings.md") == set()


def test_no_heading_names_a_setting_that_is_gone() -> None:
    said = {name for name in headings("settings.md") if re.fullmatch(r"[A-Z][A-Z0-9_]+", name)}
    assert said - settings_read() == {"MAINSTAY_PYTHON", "PIP_INDEX_URL"}  # read by the shell and by pip


def test_every_kind_of_trouble_has_its_heading() -> None:
    assert len(problems()) > 10
    assert problems() - headings("problems.md") == set()


def test_no_heading_names_a_trouble_that_is_gone() -> None:
    assert {name for name in headings("problems.md") if "." in name} - problems() == set()


def test_every_command_and_every_bench_is_documented() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert {name for name in COMMANDS if f"## ./mainstay {name}" not in text} == set()
    assert {name for name in BENCHES if f"`{name}`" not in text} == set()


def test_the_map_of_the_architecture_names_every_file() -> None:
    said = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Where what is")[2]
    rooms = dict(zip(*[iter(re.split(r"^\*\*(\w+)\*\*", said, flags=re.MULTILINE)[1:])] * 2, strict=True))
    missing = []
    for room, text in rooms.items():
        folder = ROOT / ("config" if room == "config" else f"apps/{room}")
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).parts
            if path.name in {"__init__.py", "apps.py"} or parts[0] in {"migrations", "management", "templatetags"}:
                continue
            if room == "config" and parts[0] in {"bench", "command"}:
                continue
            if f"`{path.stem}`" not in text:
                missing.append(f"{room}: {path.stem}")
    assert missing == []
    assert set(rooms) == {"config", *(each.name for each in (ROOT / "apps").iterdir() if (each / "apps.py").exists())}
