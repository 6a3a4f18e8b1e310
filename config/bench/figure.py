"""One line of a bench: a figure, its unit, and the baseline of the same run that it is held against."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. `baseline` and `ratio` (value / baseline) are None where there is nothing to compare with."""

    bench: str
    figure: str
    value: float
    unit: str
    baseline: float | None = None
    runs: int = 1

    @property
    def ratio(self) -> float | None:
        """Return value / baseline."""
        return round(self.value / self.baseline, 3) if self.baseline else None

    def as_json(self) -> dict[str, Any]:
        """Return the object that `bench --json` prints: bench, figure, value, unit, baseline, ratio, runs."""
        found = asdict(self)
        runs = found.pop("runs")
        return {**found, "ratio": self.ratio, "runs": runs}

    def as_line(self) -> str:
        """Return the line for people."""
        against = f"  {self.ratio:g} of {self.baseline:g} {self.unit}" if self.baseline else ""
        return f"{self.bench:<10} {self.figure:<44} {self.value:>12g} {self.unit}{against}"
