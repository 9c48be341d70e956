"""The ledger: what was done to the streams, class by class, and what each counter of packets has to read for it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

REASONS: Final = ("length", "magic", "version", "checksum", "kind", "field", "value", "payload")


@dataclass
class Ledger:
    """Entries of an injection.

    Attributes:
        injected: How many faults of each class.
        deltas: By class, what its faults add to each counter.
    """

    injected: Counter[str] = field(default_factory=Counter)
    deltas: dict[str, Counter[str]] = field(default_factory=dict)

    def enter(self, fault: str, times: int = 1, **counters: int) -> None:
        """Enter a fault, and what one of it adds to counters (or takes from them)."""
        self.injected[fault] += times
        account = self.deltas.setdefault(fault, Counter())
        for name, change in counters.items():
            account[name] += times * change

    def total(self) -> Counter[str]:
        """The sum of all entries, by counter."""
        total: Counter[str] = Counter()
        for account in self.deltas.values():
            for name, change in account.items():
                total[name] += change
        return total
