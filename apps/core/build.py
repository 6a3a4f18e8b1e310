"""Builds what is not in the repository: Latin woff2 subsets of Geist and Geist Mono beside their licences."""

import shutil
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from django.conf import settings
from django.templatetags.static import static

# family on the page, package, file inside it, name of the result
_FONTS = (
    ("Geist", "fontpkg_geist", "Geist[wght].ttf", "geist"),
    ("Geist Mono", "fontpkg_geist_mono", "GeistMono[wght].ttf", "geist-mono"),
)
_RANGES = (
    "U+0020-007E,U+00A0-017F,U+02BB-02BC,U+02C6,U+02DA,U+02DC,U+1E80-1E85,U+1E9E,U+2000-206F,"
    "U+20AC,U+2122,U+2190-2193,U+2212,U+2215"
)
_FORMAT = "2"  # of what is built; a change builds again


def build_assets(target: Path) -> bool:
    """Write the woff2 fonts, fonts.css and the licences to `target`/fonts; False when they were already there.

    `target` is a folder of STATICFILES_DIRS (the data folder's `built`); run before collectstatic. Raises OSError when
    it cannot be written. Pages fall back to the system's fonts until it ran.
    """
    mark = f"{_FORMAT} " + " ".join(f"{package}={_version(package)}" for _, package, _, _ in _FONTS)
    folder = target / "fonts"
    stamp = folder / "built-from.txt"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == mark:
        return False
    fresh = target / "fonts.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    faces = []
    for family, package, source, name in _FONTS:
        root = files(package)
        _subset(Path(str(root / "files" / source)), fresh / f"{name}.woff2")
        shutil.copyfile(Path(str(root / "LICENSE")), fresh / f"{name}-OFL.txt")
        faces.append(
            f'@font-face {{ font-family: "{family}"; src: url("{name}.woff2") format("woff2"); '
            "font-weight: 100 900; font-display: swap; }\n"
        )
    opening = "/* Geist by Vercel, SIL Open Font Licence 1.1; subset by Mainstay. */\n"
    (fresh / "fonts.css").write_text(opening + "".join(faces), encoding="ascii")
    (fresh / "built-from.txt").write_text(mark, encoding="ascii")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return True


@cache
def fonts_css() -> str:
    """Return the address of the built font faces; empty when there are none, and the system's fonts serve."""
    if not (Path(settings.MAINSTAY_DATA) / "built" / "fonts" / "fonts.css").is_file():
        return ""
    try:
        return static("fonts/fonts.css")
    except ValueError:  # built, but not collected
        return ""


def _subset(source: Path, result: Path) -> None:
    from fontTools import subset  # noqa: PLC0415 a second's import that only the first start needs

    options = subset.Options(flavor="woff2", layout_features=["*"], notdef_outline=True, drop_tables=["meta"])
    font = subset.load_font(str(source), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=subset.parse_unicodes(_RANGES))
    subsetter.subset(font)
    subset.save_font(font, str(result), options)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
