"""python -m tests.fleet sweep [PLACE] | purge: end what a killed test process left, or remove the bases as well."""

import sys

from tests.fleet.fleet import purge, sweep


def main(words: list[str]) -> int:
    """Do what the first word says."""
    match words:
        case ["sweep"]:
            sweep()
        case ["sweep", place]:
            sweep(wait_for=int(place))
        case ["purge"]:
            purge()
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
