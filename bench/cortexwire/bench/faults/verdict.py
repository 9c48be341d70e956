"""The verdict on a run: the ledger against the engine's counters, and every bin against the undisturbed run."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from cortexwire.bench.faults.marks import Expected, ExpectedBin
from cortexwire.wire import OutFlag, OutKind, Output, Validity, decode_output, strip_times

MOST_TOLD: Final = 20
"""Differences of a run that are told in words; all are counted."""

Key = tuple[int, int]
"""Epoch and restart of a stream."""
OF_ARTEFACTS: Final = frozenset({"partial_bins", "stale_bins", "safe_bins", "artefact_samples", "railing_samples"})
"""Counters that depend on what the signal holds, where a rig has artefacts of its own."""


@dataclass
class Verdict:
    """What was compared, and what differed.

    Attributes:
        differences: Each in words; the first `MOST_TOLD`.
        n_differences: How many there were.
        bins: Decoded bins.
        marked: Bins that are not valid.
        unmarked: Valid bins, whose counts were compared with the undisturbed run's.
        identical: Those of them that share all of the decoder's input, and were compared byte for byte.
        commands: Outputs that were commands.
    """

    differences: list[str] = field(default_factory=list)
    n_differences: int = 0
    bins: int = 0
    marked: int = 0
    unmarked: int = 0
    identical: int = 0
    commands: int = 0

    @property
    def passed(self) -> bool:
        """Whether nothing differed, and there was something to compare."""
        return not self.n_differences and self.identical > 0

    def say(self, difference: str) -> None:
        """Note a difference."""
        self.n_differences += 1
        if len(self.differences) < MOST_TOLD:
            self.differences.append(difference)

    def figures(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "passed": self.passed,
            "bins": self.bins,
            "marked": self.marked,
            "unmarked": self.unmarked,
            "identical": self.identical,
            "commands": self.commands,
            "n_differences": self.n_differences,
            "differences": self.differences,
        }


def judge(
    disturbed: Iterable[bytes],
    undisturbed: Iterable[bytes],
    expected: Mapping[Key, Expected],
    counted: Mapping[str, int],
    ledger: Mapping[str, int],
    *,
    artefacts: bool = False,
) -> Verdict:
    """Compare a disturbed run with what must follow from its faults, and with the undisturbed run.

    Args:
        disturbed: Its output frames.
        undisturbed: Output frames of the same streams without faults.
        expected: The bins of each stream.
        counted: The pipeline's counters at the end.
        ledger: What they must read; those that are absent must read 0.
        artefacts: The rig has artefacts of its own, which mark bins too. Where no fault touches a bin, its marks must
            then be those of the undisturbed run; counters of them are not compared.
    """
    verdict = Verdict()
    left_out = OF_ARTEFACTS if artefacts else frozenset()
    for name, count in counted.items():
        if count != ledger.get(name, 0) and name not in left_out:
            verdict.say(f"counter {name}: expected {ledger.get(name, 0)}, got {count}")
    for name in ledger.keys() - counted.keys():
        verdict.say(f"counter {name}: expected {ledger[name]}, and there is none")
    came, commands = _decoded(disturbed)
    whole, _ = _decoded(undisturbed)
    verdict.commands = sum(commands.values())
    for where, times in commands.items():
        if times > 1:
            verdict.say(f"bin {where}: expected at most one command, got {times}")
    wanted = [(*key, made.index) for key, stream in expected.items() for made in stream.bins]
    if list(came) != wanted:
        missing, more = sorted(set(wanted) - set(came)), sorted(set(came) - set(wanted))
        verdict.say(f"decoded bins: {len(missing)} missing {missing[:5]}, {len(more)} more {more[:5]}, or disordered")
    for (epoch, restart), stream in expected.items():
        for made in stream.bins:
            place = epoch, restart, made.index
            if place in came:
                marks = _marks_with_artefacts if artefacts else _marks
                _judge_bin(place, made, came[place], whole.get(place), marks, verdict)
    return verdict


def _decoded(frames: Iterable[bytes]) -> tuple[dict[tuple[int, int, int], bytes], Counter[tuple[int, int, int]]]:
    """Decoded frames by (epoch, restart, bin), and how often each bin was given a command."""
    decoded: dict[tuple[int, int, int], bytes] = {}
    commands: Counter[tuple[int, int, int]] = Counter()
    for frame in frames:
        output = decode_output(frame)
        place = output.epoch, output.restart, output.bin
        if output.kind is OutKind.DECODED:
            # A bin that comes twice is put under a place of its own, which no comparison expects.
            decoded[place if place not in decoded else (*place[:2], -1 - output.bin)] = frame
        commands[place] += OutFlag.COMMAND in output.flags
    return decoded, commands


Mark = tuple[str, Any, Any]
"""What is compared, what it must be, and what it is."""


def _judge_bin(
    place: tuple[int, int, int],
    made: ExpectedBin,
    frame: bytes,
    whole: bytes | None,
    marks: Callable[[ExpectedBin, Output, Output | None], Sequence[Mark]],
    verdict: Verdict,
) -> None:
    output = decode_output(frame)
    undisturbed = None if whole is None else decode_output(whole)
    verdict.bins += 1
    for what, wanted, got in marks(made, output, undisturbed):
        if wanted != got:
            verdict.say(f"bin {place}: {what}: expected {wanted}, got {got}")
    if not made.whole:
        verdict.marked += 1
        return
    verdict.unmarked += 1
    if whole is None or undisturbed is None:
        verdict.say(f"bin {place}: the undisturbed run has none")
        return
    if not np.array_equal(output.tensors["counts"], undisturbed.tensors["counts"]):
        verdict.say(f"bin {place}: counts differ from the undisturbed run's")
    if made.comparable:
        verdict.identical += 1
        if strip_times(frame) != strip_times(whole):
            verdict.say(f"bin {place}: bytes differ from the undisturbed run's")


def _marks(made: ExpectedBin, output: Output, _whole: Output | None) -> Sequence[Mark]:
    return (
        ("validity", made.validity.name, output.validity.name),
        ("observed fraction", float(np.float32(made.observed_fraction)), output.observed_fraction),
        ("missing samples", made.missing, output.missing_samples),
        ("history", made.history, OutFlag.HISTORY in output.flags),
        ("warming", made.warming, OutFlag.WARMING in output.flags),
        ("unobserved", not made.whole, OutFlag.UNOBSERVED in output.flags),
    )


def _marks_with_artefacts(made: ExpectedBin, output: Output, whole: Output | None) -> Sequence[Mark]:
    touched: tuple[Mark, ...] = (
        ("missing samples", made.missing, output.missing_samples),
        ("warming", made.warming, OutFlag.WARMING in output.flags),
        ("unobserved", output.validity is not Validity.VALID, OutFlag.UNOBSERVED in output.flags),
    )
    if not made.whole or whole is None:
        most = float(np.float32(made.observed_fraction))
        return (*touched, ("observed fraction", min(most, output.observed_fraction), output.observed_fraction))
    return (*touched, ("observed fraction", whole.observed_fraction, output.observed_fraction))
