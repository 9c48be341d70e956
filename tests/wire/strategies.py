"""Hypothesis strategies for every valid packet, output and record."""

from collections.abc import Callable
from math import gcd
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cortexwire.types import Rate
from cortexwire.wire import (
    EVENT_DTYPE,
    MARKER_DTYPE,
    Clock,
    Clocks,
    Columns,
    Descriptor,
    Electrode,
    Executor,
    Kind,
    Layout,
    OutFlag,
    OutKind,
    Output,
    Packet,
    PacketFlag,
    Times,
    Validity,
)

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
sample_indices = st.integers(0, 2**62)
scales = st.floats(min_value=0.0, exclude_min=True, allow_nan=False, allow_infinity=False)
names = st.text(max_size=8)
float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
float32_or_nan = st.one_of(float32, st.just(float("nan")))


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    num, den = draw(st.integers(1, 2**32 - 1)), draw(st.integers(1, 2**32 - 1))
    return Rate(num // gcd(num, den), den // gcd(num, den))


@st.composite
def times(draw: st.DrawFn) -> tuple[int, Clock]:
    clock = draw(st.sampled_from(Clock))
    return (draw(i64) if clock else 0), clock


@st.composite
def descriptors(draw: st.DrawFn, n_channels: int | None = None) -> Descriptor:
    size = draw(st.integers(0, 4)) if n_channels is None else draw(st.sampled_from([0, n_channels]))
    ids = draw(st.lists(names, min_size=size, max_size=size, unique=True))
    return Descriptor(
        source=draw(names),
        electrodes=tuple(Electrode(id_, draw(names)) for id_ in ids),
        uv_per_bit=draw(scales),
        reference=draw(names),
        columns=tuple(draw(st.lists(names, max_size=3, unique=True))),
    )


def _wideband(draw: st.DrawFn, n_channels: int, n_samples: int) -> tuple[int, Any]:
    shape = (n_samples, n_channels)
    dtype, elements = draw(st.sampled_from([(np.int16, None), (np.float32, float32)]))
    return n_samples, draw(hnp.arrays(dtype, shape, elements=elements))


def _events(draw: st.DrawFn, n_channels: int, n_samples: int) -> tuple[int, Any]:
    rows = st.tuples(st.integers(0, n_samples - 1), st.integers(0, n_channels - 1), u16)
    return n_samples, np.array(draw(st.lists(rows, max_size=6)), EVENT_DTYPE)


def _counts(draw: st.DrawFn, n_channels: int, n_samples: int) -> tuple[int, Any]:
    return n_samples, draw(hnp.arrays(np.uint16, n_channels))


def _markers(draw: st.DrawFn, n_channels: int, n_samples: int) -> tuple[int, Any]:
    rows = st.tuples(st.integers(0, n_samples - 1), u32, st.floats(allow_infinity=False))
    markers = np.array(draw(st.lists(rows, max_size=4)), MARKER_DTYPE)
    return draw(st.sampled_from([0, n_samples])), markers


def _columns(draw: st.DrawFn, n_channels: int, n_samples: int) -> tuple[int, Any]:
    n_rows = draw(st.integers(0, 4))
    offsets = draw(hnp.arrays(np.uint32, n_rows, elements=u32))
    values = draw(hnp.arrays(np.float32, (n_rows, n_channels), elements=float32_or_nan))
    return 0, Columns(offsets, values)


def _descriptor(draw: st.DrawFn, n_channels: int, n_samples: int) -> tuple[int, Any]:
    return 0, draw(descriptors(n_channels))


def _end(draw: st.DrawFn, n_channels: int, n_samples: int) -> tuple[int, Any]:
    return 0, None


_PAYLOADS: dict[Kind, Callable[[st.DrawFn, int, int], tuple[int, Any]]] = {
    Kind.WIDEBAND: _wideband,
    Kind.EVENTS: _events,
    Kind.COUNTS: _counts,
    Kind.MARKERS: _markers,
    Kind.COLUMNS: _columns,
    Kind.DESCRIPTOR: _descriptor,
    Kind.END: _end,
}


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    kind, n_channels = draw(st.sampled_from(Kind)), draw(st.integers(1, 5))
    n_samples, data = _PAYLOADS[kind](draw, n_channels, draw(st.integers(1, 5)))
    acquired, sent = draw(times()), draw(times())
    return Packet(
        kind=kind,
        epoch=draw(u64),
        sequence=draw(u64),
        sample_index=draw(sample_indices),
        n_samples=n_samples,
        n_channels=n_channels,
        rate=draw(rates()),
        uv_per_bit=draw(scales),
        descriptor_hash=data.hash if isinstance(data, Descriptor) else draw(u64),
        source=draw(u16),
        flags=draw(st.sampled_from([0, int(PacketFlag.PAYLOAD_CRC)])),
        acquired_ns=acquired[0],
        acquired_clock=acquired[1],
        sent_ns=sent[0],
        sent_clock=sent[1],
        data=data,
        layout=draw(st.sampled_from(Layout)) if kind == Kind.WIDEBAND else Layout.TIME_MAJOR,
    )


tensors = st.sampled_from(["<i2", "<f4", "<u2", "<i8", "<f8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, max_side=3))
)
tensor_names = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=24)


@st.composite
def outputs(draw: st.DrawFn) -> Output:
    stamps = [draw(times()) for _ in range(6)]
    return Output(
        kind=draw(st.sampled_from(OutKind)),
        epoch=draw(u64),
        bin=draw(i64),
        end_sample=draw(i64),
        validity=draw(st.sampled_from(Validity)),
        flags=draw(st.sampled_from(OutFlag) | st.integers(0, 2**15 - 1).map(OutFlag)),
        valid_for_ms=draw(st.floats(0, 2**20, width=32)),
        observed_fraction=draw(st.floats(0, 1, width=32)),
        source=draw(u16),
        executor=draw(st.sampled_from(Executor)),
        bundle_hash=draw(u64),
        overlay_hash=draw(u64),
        restart=draw(u32),
        missing_samples=draw(u32),
        times=Times._make(ns for ns, _ in stamps),
        clocks=Clocks._make(clock for _, clock in stamps),
        tensors=draw(st.dictionaries(tensor_names, tensors, max_size=4)),
    )
