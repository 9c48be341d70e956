"""Samples by absolute index: the rig is made in fixed blocks of 10 ms, from which any stretch is cut.

This is what makes packets of any size equal: nothing is ever generated per packet. A block depends on the
settings and its index only; going forwards is cheap, going back costs the spikes (not the noise) from the
start of the run again.
"""

import numpy as np
from numpy.typing import NDArray

from cortexwire.clients.simulator.faults import artefact_row, rails
from cortexwire.clients.simulator.kinematics import Reaches
from cortexwire.clients.simulator.noise import (
    BANK_RMS,
    BLOCKS_PER_HOP,
    SHARED_SAMPLES,
    TRACE_SAMPLES,
    TRACES,
    Schedule,
    Segment,
    fades,
    private_bank,
    shared_bank,
)
from cortexwire.clients.simulator.render import add_spikes, render
from cortexwire.clients.simulator.settings import SimulatorSettings
from cortexwire.clients.simulator.spikes import SpikeTrains
from cortexwire.clients.simulator.subject import LFP_SOURCES, Subject

# Relative height and phase of the mains harmonics 1, 2, 3, 5, 7 (hum is rich in odd ones).
_HARMONICS = ((1, 1.0, 0.3), (2, 0.15, 1.1), (3, 0.3, 2.0), (5, 0.1, 0.7), (7, 0.05, 2.6))
_PRIVATE, _SHARED = 0, 1


class BlockSource:
    """The samples of a run.

    Args:
        settings: Settings of the rig.
        subject: The array that is recorded from.
        reaches: The movement that drives it.
    """

    def __init__(self, settings: SimulatorSettings, subject: Subject, reaches: Reaches) -> None:
        s = settings
        thermal_uv = s.thermal_uv if s.thermal else 0.0
        pink_uv = s.pink_uv if s.pink else 0.0
        private_uv = float(np.hypot(thermal_uv, pink_uv))
        self._settings = s
        self._subject = subject
        self._spikes = SpikeTrains(s, subject, reaches)
        self._block = s.block_samples
        self._bank = (
            private_bank(s.seed, s.rate_hz, thermal_uv, pink_uv) if private_uv else np.zeros((1, 2 * TRACES), np.int16)
        )
        self._gain = subject.noise_gain * np.float32(private_uv / BANK_RMS / s.uv_per_bit)
        self._traces = shared_bank(s.seed, s.rate_hz, LFP_SOURCES)
        self._scale = np.array(
            [s.common_mode_uv * s.common_mode] + [s.lfp_uv * s.lfp / np.sqrt(LFP_SOURCES)] * LFP_SOURCES
        ).astype(np.float32)[:, None] / np.float32(s.uv_per_bit)
        self._private = Schedule(s.seed, -(-s.channels // TRACES), TRACE_SAMPLES, TRACES, _PRIVATE)
        self._common = Schedule(s.seed, 1, SHARED_SAMPLES, 1, _SHARED)
        self._hop = -1
        self._segments: tuple[Segment, Segment, Segment, Segment]
        self._rows = np.zeros((3 + LFP_SOURCES, self._block), np.float32)
        self._previous = (-1, np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._held = np.zeros((self._block, s.channels), np.int16)
        self._held_index = -1

    def read(self, start: int, stop: int) -> NDArray[np.int16]:
        """Give samples `[start, stop)`, int16 `(stop - start, n_channels)`, a fresh array.

        Raises:
            ValueError: The range is not `0 <= start <= stop`.
        """
        if not 0 <= start <= stop:
            raise ValueError(f"expected 0 <= start <= stop, got {start} and {stop}")
        out = np.empty((stop - start, self._settings.channels), np.int16)
        at = start
        while at < stop:
            index, skip = divmod(at, self._block)
            take = min(self._block - skip, stop - at)
            if take == self._block:
                self._fill(index, out[at - start : at - start + take])
            else:
                if index != self._held_index:
                    self._fill(index, self._held)
                    self._held_index = index
                out[at - start : at - start + take] = self._held[skip : skip + take]
            at += take
        return out

    def _fill(self, index: int, out: NDArray[np.int16]) -> None:
        start = index * self._block
        self._move_to_hop(index // BLOCKS_PER_HOP)
        rising, falling, _, _ = self._segments
        fade_in, fade_out = fades(index, self._block)
        self._fill_rows(index, fade_in, fade_out)
        render(
            out,
            self._bank,
            (rising.shift + start) % TRACE_SAMPLES,
            rising.turn,
            (falling.shift + start) % TRACE_SAMPLES,
            falling.turn,
            fade_in,
            fade_out,
            self._gain,
            self._rows,
            self._subject.mixing,
        )
        self._add_spikes(index, out)
        for stay in rails(self._settings, start, start + self._block):
            out[stay.start - start : stay.stop - start, self._subject.railing] = stay.value

    def _move_to_hop(self, hop: int) -> None:
        if hop != self._hop:
            self._hop = hop
            self._segments = (
                self._private.segment(hop + 1),
                self._private.segment(hop),
                self._common.segment(hop + 1),
                self._common.segment(hop),
            )

    def _fill_rows(self, index: int, fade_in: NDArray[np.float32], fade_out: NDArray[np.float32]) -> None:
        """Fill the shared rows in bits: common mode, line, artefact, LFP sources."""
        s = self._settings
        start = index * self._block
        at = start + np.arange(self._block)
        _, _, rising, falling = self._segments
        traces = self._traces[:, (at + rising.shift) % SHARED_SAMPLES] * fade_in
        traces += self._traces[:, (at + falling.shift) % SHARED_SAMPLES] * fade_out
        traces *= self._scale
        self._rows[0] = traces[0]
        self._rows[3:] = traces[1:]
        if s.line:
            cycles = at * (s.line_hz / s.rate_hz) % 1.0
            hum = sum(height * np.cos(2 * np.pi * (k * cycles) + phase) for k, height, phase in _HARMONICS)
            self._rows[1] = hum * (s.line_uv / s.uv_per_bit)
        artefact = artefact_row(s, start, self._block) if s.artefacts else None
        self._rows[2] = 0.0 if artefact is None else artefact / s.uv_per_bit

    def _add_spikes(self, index: int, out: NDArray[np.int16]) -> None:
        """Add the templates that start in this block, and the ends of those that started before it."""
        before, onsets, neurons = self._previous
        if before != index - 1:
            onsets, neurons = self._spikes.block(index - 1) if index else (onsets[:0], neurons[:0])
        channels, templates = self._subject.neuron_channel, self._subject.templates
        add_spikes(out, onsets - self._block, channels[neurons], neurons, templates)
        onsets, neurons = self._spikes.block(index)
        add_spikes(out, onsets, channels[neurons], neurons, templates)
        self._previous = (index, onsets, neurons)
