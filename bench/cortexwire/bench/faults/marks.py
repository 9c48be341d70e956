"""Which bins must be marked, and how, by the definition alone: a mask over the samples of a stream.

A sample is *missing* where it never came, *settling* where fewer than `settling` samples came in one stretch before
it, and *observed* otherwise. A bin is valid where all of its samples are observed, partial where at least half are,
stale otherwise. From this follow the history and warm-up flags, and every counter of samples and bins.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from cortexwire.types import Rate
from cortexwire.wire import Validity

Range = tuple[int, int]


@dataclass(frozen=True)
class BinRules:
    """What decides the marks.

    Attributes:
        rate: Sample rate.
        bin_ms: Width of a bin.
        settling: Samples that count as unobserved at the beginning of each stretch.
        reset: Samples of a gap from which on the decoder is reset and bins are skipped.
        memory: Bins that an output depends on, its own included.
        warm_up: Outputs after a reset that are no commands.
    """

    rate: Rate
    bin_ms: float
    settling: int
    reset: int
    memory: int
    warm_up: int

    def edge(self, k: int) -> int:
        """First sample of bin `k`."""
        return int(k * Fraction(str(self.bin_ms)) * self.rate.fraction / 1000)

    def bin_of(self, sample: int) -> int:
        """The bin that holds a sample."""
        k = int(sample / (Fraction(str(self.bin_ms)) * self.rate.fraction / 1000))
        while self.edge(k + 1) <= sample:
            k += 1
        return k


@dataclass(frozen=True)
class ExpectedBin:
    """What a decoded output has to say of its bin."""

    index: int
    validity: Validity
    observed_fraction: float
    missing: int
    history: bool
    warming: bool

    @property
    def whole(self) -> bool:
        """Whether every sample was observed."""
        return self.validity is Validity.VALID

    @property
    def comparable(self) -> bool:
        """Whether all of the decoder's input is that of the undisturbed stream."""
        return self.whole and not self.history and not self.warming


@dataclass(frozen=True)
class Expected:
    """All decoded bins of one stream, and what the stream adds to the counters of samples and bins."""

    bins: tuple[ExpectedBin, ...]
    counters: Counter[str]


def expected_bins(came: Sequence[Range], rules: BinRules) -> Expected:
    """Work out the bins of a stream of which the samples `came` were used.

    Args:
        came: Half-open ranges, ascending and disjoint; neighbours may touch.
        rules: What decides the marks.
    """
    stretches = _joined(came)
    first, last = stretches[0][0], stretches[-1][1]
    present = np.zeros(last - first, np.bool_)
    observed = np.zeros(last - first, np.bool_)
    for start, stop in stretches:
        present[start - first : stop - first] = True
        observed[start - first + rules.settling : stop - first] = True
    counters: Counter[str] = Counter(gaps=0, missing_samples=0, settling_samples=0)
    skipped: set[int] = set()
    behind_resets: set[int] = set()
    for (_, before), (behind, _) in pairwise(stretches):
        counters["gaps"] += 1
        counters["missing_samples"] += behind - before
        if behind - before >= rules.reset:
            counters["resets"] += 1
            skipped |= set(range(rules.bin_of(before) + 1, rules.bin_of(behind)))
            behind_resets.add(rules.bin_of(behind))
    bins = []
    tainted, warming = 0, rules.warm_up
    for k in range(rules.bin_of(first), rules.bin_of(last)):
        if k in skipped:
            continue
        if k in behind_resets:
            tainted, warming = 0, rules.warm_up
        start, stop = rules.edge(k), rules.edge(k + 1)
        inside = slice(max(start - first, 0), stop - first)
        n, n_present = stop - start, int(present[inside].sum())
        n_observed = int(observed[inside].sum())
        validity = Validity.VALID if n_observed == n else Validity.PARTIAL if 2 * n_observed >= n else Validity.STALE
        made = ExpectedBin(k, validity, n_observed / n, n - n_present, tainted > 0, warming > 0)
        bins.append(made)
        tainted = rules.memory - 1 if validity is not Validity.VALID else max(0, tainted - 1)
        warming = max(0, warming - 1)
        counters["decoded_bins"] += 1
        counters["partial_bins"] += validity is Validity.PARTIAL
        counters["stale_bins"] += validity is Validity.STALE
        counters["safe_bins"] += validity is Validity.STALE or made.warming
        counters["settling_samples"] += n_present - n_observed
    counters["skipped_bins"] = len(skipped)
    return Expected(tuple(bins), counters)


def _joined(ranges: Sequence[Range]) -> list[Range]:
    joined: list[Range] = []
    for start, stop in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((start, stop))
    return joined
