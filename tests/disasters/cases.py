"""Every disaster in one list: importing this fills the registry; the tests and `./mainstay bench disasters` play it."""

from tests.disasters import content, copies, databases, keys, locks, people, runs, tools
from tests.disasters.registry import CASES, Case

__all__ = ["CASES", "Case", "content", "copies", "databases", "keys", "locks", "people", "runs", "tools"]
