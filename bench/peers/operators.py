# SPDX-License-Identifier: Apache-2.0
"""The rows of run.py: shapes, inputs, the result in float64, operations and bytes.

A new row is a line of all_rows(); a new recurrence is a line of RECURRENCES, its call in
recurrences.cpp, and, where a peer has it, a line of that peer's table; a new scan is a line of
SCANS, its call in scans.cpp, and likewise.
"""
from __future__ import annotations

import dataclasses
import math

import numpy as np

# Of a result, relative to the largest element compared, as in support/data.hpp.
TOLERANCE = 5e-5
BF16_TOLERANCE = 8e-3  # of an output of bf16

# Of queries and output, and of keys and values: in the order of peer_types of call.hpp.
TYPES = ("f32", "bf16", "f32_over_bf16", "f32_over_i8")


@dataclasses.dataclass(frozen=True)
class Row:
    """One shape of one operator. T queries, S keys; H and HK their heads; K and V channels.

    Scans have H heads or channels, a state of K numbers (or K taps) for each of V channels of them.
    Only softmax attention has element types other than f32.
    """
    group: str
    operator: str
    T: int
    H: int
    K: int
    V: int
    S: int
    HK: int
    causal: bool = False
    types: str = "f32"

    @property
    def name(self):
        parts = [self.operator, f"T:{self.T}"]
        if self.group == "softmax":
            parts += [f"S:{self.S}", f"H:{self.H}", f"HK:{self.HK}", f"D:{self.K}",
                      f"causal:{int(self.causal)}"]
        elif self.group == "scans":
            parts += [f"{letter}:{n}" for letter, n in
                      zip(SCANS[self.operator].letters, (self.H, self.V, self.K)) if letter]
        else:
            parts += [f"H:{self.H}", f"K:{self.K}", f"V:{self.V}"]
        return "/".join([*parts, self.types])

    @property
    def scale(self):
        return 1.0 if self.operator == "rwkv7" else self.K ** -0.5

    @property
    def output_type(self):
        """bf16 is the upper half of an f32, in a uint16: NumPy has no such numbers."""
        return np.uint16 if self.types == "bf16" else np.float32

    @property
    def tolerance(self):
        return BF16_TOLERANCE if self.types == "bf16" else TOLERANCE


@dataclasses.dataclass(frozen=True)
class Recurrence:
    """S_t from S_(t-1): a decay, none, of each head or of each key channel; what is removed.

    removal: none; "delta": what k reads; "general": what kk reads before the decay, at rates a.
    """
    decay: str
    removal: str

    @property
    def gates(self):
        """The inputs behind q, k and v, in the order of seqmix's arguments."""
        names = [] if self.decay == "none" else ["g"]
        return names + {"none": [], "delta": ["beta"], "general": ["kk", "a"]}[self.removal]

    @property
    def operations(self):
        """For each element of the state and token: the recurrent form's, a multiply-add is 2."""
        return (4 + (self.decay != "none") + {"none": 0, "delta": 2, "general": 4}[self.removal])


RECURRENCES = {
    "linear_attention": Recurrence("none", "none"),
    "gated_linear_attention": Recurrence("key", "none"),
    "gated_delta_rule": Recurrence("head", "delta"),
    "kda": Recurrence("key", "delta"),
    "rwkv7": Recurrence("key", "general"),
}


@dataclasses.dataclass(frozen=True)
class Scan:
    """Arguments in seqmix's order, what H, V and K are called in names, and operations for each
    element of the state (or tap) and token."""
    arguments: list
    letters: tuple
    operations: int


SCANS = {
    "causal_conv1d": Scan(["x", "weight"], ("D", None, "W"), 2),
    "selective_scan": Scan(["x", "dt", "a", "B", "C"], ("D", None, "N"), 5),
    "ssd": Scan(["x", "dt", "a", "B", "C"], ("H", "P", "N"), 5),
}


def arguments(row):
    """The names of the inputs in the order of seqmix's arguments."""
    if row.group == "scans":
        return SCANS[row.operator].arguments
    if row.group == "recurrences":
        return ["q", "k", "v", *RECURRENCES[row.operator].gates]
    return ["q", "k", "v", *(["k_scale", "v_scale"] if row.types == "f32_over_i8" else [])]


def scan(operator, t, h, k, v=1):
    return Row("scans", operator, T=t, S=t, H=h, HK=h, K=k, V=v)


def recurrence(operator, t, h, d):
    return Row("recurrences", operator, T=t, S=t, H=h, HK=h, K=d, V=d)


def softmax(t, s, h, hk, d, causal, types="f32"):
    return Row("softmax", "softmax_attention", T=t, S=s, H=h, HK=hk, K=d, V=d, causal=causal,
               types=types)


def all_rows():
    rows = [recurrence("gated_delta_rule", 1, 64, 128)]  # states of more than an L2
    for operator, h, d in (("gated_delta_rule", 8, 128), ("gated_delta_rule", 8, 64),
                           ("kda", 8, 128), ("kda", 8, 64),
                           ("gated_linear_attention", 32, 64), ("rwkv7", 32, 64),
                           ("linear_attention", 8, 128)):
        rows += [recurrence(operator, t, h, d) for t in (256, 64, 1)]
    rows.append(scan("causal_conv1d", 512, 3328, 4))
    rows.append(scan("selective_scan", 256, 1024, 16))
    rows.append(scan("ssd", 256, 48, 128, 64))
    for d in (64, 128):
        for t, h in ((128, 8), (512, 8), (2048, 8), (8192, 1)):
            rows += [softmax(t, t, h, h, d, causal, types) for causal in (False, True)
                     for types in (TYPES if t == 2048 else TYPES[:2])]
    rows.append(softmax(1, 16384, 32, 8, 128, False))
    return rows


def smoke_rows():
    rows = [recurrence(operator, 40, 2, 64) for operator in RECURRENCES]
    rows += [scan("causal_conv1d", 40, 50, 4), scan("selective_scan", 40, 50, 16),
             scan("ssd", 40, 2, 16, 8)]
    return rows + [softmax(70, 70, 2, 1, 32, True, types) for types in TYPES]


# ---- element types ----

def to_bf16(x):
    """The nearest, halves to even; a NaN stays one."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    nearest = bits + np.uint32(0x7fff) + (bits >> 16 & np.uint32(1))
    return (np.where(np.isnan(x), bits | np.uint32(0x400000), nearest) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_int8(x):
    """(q, scale) with a scale for each row, as seqmix::quantise_rows writes them."""
    scale = np.abs(x).max(axis=-1) / np.float32(127)
    divisor = np.where(scale > 0, scale, np.float32(1))[..., None]
    return np.rint(x / divisor).astype(np.int8), scale


def from_int8(q, scale):
    return q * scale[..., None]


def doubles(x):
    """Inputs as the numbers that they stand for; scales are part of what they scale."""
    def double(name, value):
        if value.dtype == np.int8:
            return from_int8(value, x[f"{name}_scale"].astype(np.float64))
        return (from_bf16(value) if value.dtype == np.uint16 else value).astype(np.float64)
    return {name: double(name, value) for name, value in x.items() if not name.endswith("_scale")}


# ---- inputs ----

def aligned(shape, dtype=np.float32):
    """An uninitialised array that starts on a cache line."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start:start + size].view(dtype).reshape(shape)


def dense(values, dtype=np.float32):
    result = aligned(values.shape, dtype)
    result[...] = values
    return result


def inputs(row):
    """name -> array: [T, heads, channels], gates [T, H] or [T, H, K], state [H, K, V]; of scans x
    [T, H, V], dt [T, H], a [H] or [H, K], B and C [T, K], state [H, K, V]; taps [H, K].

    Uniform random numbers of mean 0 and variance 1; keys have a norm of about 1, so that states
    stay bounded; removal keys have norm 1. Softmax rows round them to their types: bf16 lies in
    uint16; int8 has scales [T, heads] beside it, k_scale and v_scale.
    """
    source = np.random.default_rng(1)
    def uniform(shape, mean=0.0, deviation=1.0):
        return dense(mean + deviation * source.uniform(-3 ** 0.5, 3 ** 0.5, shape))
    if row.group == "scans":
        return scan_inputs(row, uniform)
    unit = 1.0 if row.group == "softmax" else row.K ** -0.5
    x = {"q": uniform((row.T, row.H, row.K)), "k": uniform((row.S, row.HK, row.K), 0, unit),
         "v": uniform((row.S, row.HK, row.V))}
    if row.group == "softmax":
        return of_types(row.types, x)
    form = RECURRENCES[row.operator]
    for name in form.gates:
        if name == "g":
            each = (row.K,) if form.decay == "key" else ()
            x["g"] = uniform((row.T, row.H, *each), -0.05, 0.02)
        elif name == "beta":
            x["beta"] = uniform((row.T, row.H), 0.5, 0.25)
        elif name == "kk":
            kk = uniform((row.T, row.H, row.K))
            x["kk"] = dense(kk / np.linalg.norm(kk, axis=-1, keepdims=True))
        else:
            x["a"] = uniform((row.T, row.H, row.K), 0.5, 0.25)
    x["state"] = uniform((row.H, row.K, row.V))
    return x


def of_types(types, x):
    if types == "f32":
        return x
    if types == "f32_over_i8":
        (k, k_scale), (v, v_scale) = to_int8(x["k"]), to_int8(x["v"])
        rounded = {"k": k, "v": v, "k_scale": k_scale, "v_scale": v_scale}
    else:
        rounded = {name: to_bf16(x[name]) for name in ("qkv" if types == "bf16" else "kv")}
    return {**x, **{name: dense(value, value.dtype) for name, value in rounded.items()}}


def scan_inputs(row, uniform):
    """Steps of about 0.15 behind softplus, rates of about -1."""
    x = {"x": uniform((row.T, row.H, row.V))}
    if row.operator == "causal_conv1d":
        return {**x, "weight": uniform((row.H, row.K))}
    each = (row.K,) if row.operator == "selective_scan" else ()
    return {**x, "dt": uniform((row.T, row.H), -2, 0.5), "a": uniform((row.H, *each), -1, 0.3),
            "B": uniform((row.T, row.K)), "C": uniform((row.T, row.K), 0, row.K ** -0.5),
            "state": uniform((row.H, row.K, row.V))}


# ---- the result in float64 ----

@dataclasses.dataclass
class Expected:
    """Rows `where` of the output, and the state after the last token, or none."""
    where: tuple
    output: np.ndarray
    state: np.ndarray | None
    tolerance: float = TOLERANCE


def reference(row, x):
    x = doubles(x)
    by_group = {"softmax": softmax_reference, "recurrences": recurrence_reference,
                "scans": scan_reference}
    return by_group[row.group](row, x)


def scan_reference(row, x):
    """Tap by tap, or token by token."""
    if row.operator == "causal_conv1d":
        output = np.zeros((row.T, row.H, 1))
        for i in range(row.K):
            late = row.K - 1 - i
            output[late:] += x["weight"][:, i, None] * x["x"][:max(row.T - late, 0)]
        return Expected(np.s_[:], output, None)
    state = x["state"].copy()
    output = np.empty((row.T, row.H, row.V))
    steps = np.log1p(np.exp(x["dt"]))
    rates = x["a"].reshape(row.H, -1, 1)
    for t in range(row.T):
        step = steps[t][:, None, None]
        state = np.exp(step * rates) * state + step * x["B"][t][:, None] * x["x"][t][:, None, :]
        output[t] = np.einsum("hkv,k->hv", state, x["C"][t])
    return Expected(np.s_[:], output, state)


def recurrence_reference(row, x):
    """Token by token, from the equation."""
    form = RECURRENCES[row.operator]
    state = x["state"].copy()
    output = np.empty((row.T, row.H, row.V))
    read = lambda vector: (vector[:, None, :] @ state)[:, 0, :]  # [H, V]
    for t in range(row.T):
        q, k, v = x["q"][t], x["k"][t], x["v"][t]
        removed = read(x["kk"][t]) if form.removal == "general" else None
        if form.decay != "none":
            state *= np.exp(x["g"][t]).reshape(row.H, -1, 1)
        if form.removal == "delta":
            v = x["beta"][t][:, None] * (v - read(k))
        state += k[:, :, None] * v[:, None, :]
        if form.removal == "general":
            state -= (x["kk"][t] * x["a"][t])[:, :, None] * removed[:, None, :]
        output[t] = row.scale * read(q)
    return Expected(np.s_[:], output, state)


def softmax_reference(row, x):
    """Of sampled queries, all heads: first, last, and others between them."""
    queries = np.unique(np.linspace(0, row.T - 1, min(row.T, 24)).astype(int))
    output = np.empty((len(queries), row.H, row.V))
    hidden = np.arange(row.S)[None, :] > queries[:, None] + (row.S - row.T)
    for h in range(row.H):
        kv = h // (row.H // row.HK)
        scores = row.scale * x["q"][queries, h] @ x["k"][:, kv].T
        if row.causal:
            scores[hidden] = -np.inf
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        output[:, h] = scores / scores.sum(axis=-1, keepdims=True) @ x["v"][:, kv]
    return Expected(queries, output, None, row.tolerance)


def error_of(actual, expected):
    """The largest difference, relative to the largest element; infinite when one is not finite."""
    if not np.isfinite(actual).all():
        return math.inf
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def complaint(expected, output, state, tolerance=None):
    """(error, what is wrong or None) of a result [T, H, V] and a state [H, K, V]."""
    tolerance = tolerance or expected.tolerance
    error = error_of(output[expected.where], expected.output)
    if not np.isfinite(output).all():
        error = math.inf
    if expected.state is not None:
        error = max(error, error_of(state, expected.state))
    if not error <= tolerance:
        return error, (f"wrong result: off by {error:.2g} of the largest element, allowed are "
                       f"{tolerance:g}")
    return error, None


# ---- work, in the conventions of bench/README.md ----

def operations(row):
    if row.group == "softmax":
        hidden = row.T * (row.T - 1) // 2 if row.causal else 0
        return 2 * row.H * (row.T * row.S - hidden) * (row.K + row.V)
    form = (SCANS if row.group == "scans" else RECURRENCES)[row.operator]
    return form.operations * row.T * row.H * row.K * row.V


def bytes_of(row, x):
    """Every input once, every output once."""
    written = row.T * row.H * row.V * np.dtype(row.output_type).itemsize
    written += x["state"].nbytes if "state" in x else 0
    return sum(value.nbytes for value in x.values()) + written
