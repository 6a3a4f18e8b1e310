"""Tests of what is built at the first start."""

from pathlib import Path

from apps.core.build import build_assets


def test_fonts_are_built_once_small_and_with_their_licences(tmp_path: Path) -> None:
    assert build_assets(tmp_path) is True
    fonts = tmp_path / "fonts"
    for name in ("geist", "geist-mono"):
        font = (fonts / f"{name}.woff2").read_bytes()
        assert font.startswith(b"wOF2")
        assert len(font) < 60_000
        assert "SIL OPEN FONT LICENSE" in (fonts / f"{name}-OFL.txt").read_text(encoding="utf-8").upper()
    assert "geist-mono.woff2" in (fonts / "fonts.css").read_text(encoding="utf-8")
    assert build_assets(tmp_path) is False


def test_a_build_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "fonts").mkdir()
    (tmp_path / "fonts.new").mkdir()
    assert build_assets(tmp_path) is True
    assert not (tmp_path / "fonts.new").exists()
