"""A builder's nested phases as one fraction that never goes back."""

from dataclasses import dataclass, field


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


@dataclass
class PhaseTree:
    """The phases that `IProgressMonitor` reports (NvInfer.h), and how far the outermost has come.

    A phase counts for one step of its parent while it runs. `fraction` is 0..1.
    """

    fraction: float = 0.0
    _phases: dict[str, _Phase] = field(default_factory=dict)
    _reported: float = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Note a phase that begins."""
        self._phases[name] = _Phase(parent, max(steps, 1))

    def complete(self, name: str, step: int) -> bool:
        """Note a finished step (counted from 0); return whether the fraction moved by a percent."""
        phase = self._phases.get(name)
        if phase is None:
            return False
        phase.done = min(max(phase.done, step + 1), phase.steps)
        return self._update(name)

    def finish(self, name: str) -> bool:
        """Note a phase that ends; return whether the fraction moved by a percent."""
        phase = self._phases.pop(name, None)
        if phase is None:
            return False
        if phase.parent is None:
            self.fraction = 1.0
        return self._has_moved()

    def _update(self, name: str) -> bool:
        inner = 0.0
        at: str | None = name
        seen: set[str] = set()
        while at is not None and at in self._phases and at not in seen:
            seen.add(at)
            phase = self._phases[at]
            inner = min((phase.done + (inner if at != name else 0.0)) / phase.steps, 1.0)
            at = phase.parent
        if at is None:
            self.fraction = max(self.fraction, inner)
        return self._has_moved()

    def _has_moved(self) -> bool:
        if self.fraction - self._reported < 0.01:
            return False
        self._reported = self.fraction
        return True
