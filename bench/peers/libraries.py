# SPDX-License-Identifier: Apache-2.0
"""The two sides behind ctypes: seqmix (seqmix_cpu.cpp) and ggml (ggml_cpu.cpp).

A side offers(row) or has nothing like it. Its open(row, inputs, threads) gives a call, or raises
Refused; the call's plan(n) prepares blocks of n calls, block() makes one, result() is its output
[T, H, V] and state [H, K, V], finish() ends its use.
"""
import ctypes

import numpy as np

import operators


class Refused(Exception):
    """A side does not take such a shape, or failed."""


class CallFields(ctypes.Structure):
    """peer_call of call.hpp."""
    _fields_ = (
        [("operation", ctypes.c_char_p), ("inputs", ctypes.c_void_p * 8)]
        + [(name, ctypes.c_void_p) for name in ("state", "output", "final_state")]
        + [(name, ctypes.c_int64) for name in ("T", "S", "H", "HK", "K", "V")]
        + [("scale", ctypes.c_double)]
        + [(name, ctypes.c_int32) for name in ("causal", "threads", "types")]
        + [("implementation", ctypes.c_char_p)])


def fields(row, operation, inputs, state, output, final_state, threads, implementation=None):
    address = lambda array: None if array is None else array.ctypes.data
    call = CallFields(operation=operation.encode(), state=address(state), output=address(output),
                      final_state=address(final_state), scale=row.scale, causal=row.causal,
                      threads=threads, types=operators.TYPES.index(row.types),
                      implementation=implementation and implementation.encode(),
                      **{n: getattr(row, n) for n in ("T", "S", "H", "HK", "K", "V")})
    for i, array in enumerate(inputs):
        call.inputs[i] = address(array)
    return call


def poisoned(shape, dtype=np.float32):
    """So that an element that a side leaves out cannot pass for a result."""
    nan = np.full(shape, np.nan)
    return operators.dense(operators.to_bf16(nan) if dtype == np.uint16 else nan, dtype)


def load(path):
    return ctypes.CDLL(str(path.resolve()))  # a bare name would be searched for


def function(library, name, result, *arguments):
    f = getattr(library, name)
    f.restype, f.argtypes = result, list(arguments)
    return f


class Seqmix:
    name = "seqmix"

    def __init__(self, path, implementation=None):
        """implementation: what softmax rows are pinned to."""
        self.implementation = implementation
        library = load(path)
        call = ctypes.POINTER(CallFields)
        self.run = function(library, "seqmix_peer_run", ctypes.c_char_p, call, ctypes.c_int64)
        self.explain = function(library, "seqmix_peer_explain", ctypes.c_char_p, call)
        self.short_probes = function(library, "seqmix_peer_short_probes", None)
        self.all_threads = function(library, "seqmix_peer_all_threads", ctypes.c_int32)()
        self._probe = function(library, "seqmix_peer_probe", ctypes.c_double, ctypes.c_char_p,
                               ctypes.c_int32)
        about = function(library, "seqmix_peer_about", ctypes.c_char_p, ctypes.c_char_p)
        self.about = {key: about(key.encode()).decode()
                      for key in ("seqmix", "isa", "compiler", "flags")}

    def probes(self, threads):
        """FLOP/s of fused multiply-adds, bytes/s of reading and of copying memory."""
        return {what: self._probe(what.encode(), threads) for what in ("fma", "read", "copy")}

    def open(self, row, x, threads):
        return SeqmixCall(self, row, x, threads)


class SeqmixCall:
    def __init__(self, side, row, x, threads):
        self.kept = [x[name] for name in operators.arguments(row)]
        self.side, self.repeats, self.state = side, 1, x.get("state")
        self.output = poisoned((row.T, row.H, row.V), row.output_type)
        self.after = None if self.state is None else poisoned(self.state.shape)
        self.call = fields(row, row.operator, self.kept, self.state, self.output, self.after,
                           threads, side.implementation if row.group == "softmax" else None)

    def plan(self, repeats):
        self.repeats = repeats

    def block(self):
        if problem := self.side.run(ctypes.byref(self.call), self.repeats):
            raise Refused(problem.decode())

    def explain(self):
        return self.side.explain(ctypes.byref(self.call)).decode()

    def result(self):
        bf16 = self.output.dtype == np.uint16
        return operators.from_bf16(self.output) if bf16 else self.output, self.after


def causal_mask(row):
    """[T, S], 0 where a key is seen, minus infinity elsewhere; two bytes each."""
    if not row.causal:
        return None
    hidden = np.arange(row.S)[None, :] > np.arange(row.T)[:, None] + (row.S - row.T)
    return operators.dense(np.where(hidden, -np.inf, 0), np.float16)


def with_zeros_before(row, x):
    """[H, K - 1 + T, 1]: a channel's tokens side by side, behind the zeros before the first."""
    tokens = np.concatenate([np.zeros((row.K - 1, row.H, 1), np.float32), x["x"]])
    return tokens.transpose(1, 0, 2)


def to_q8_0(x):
    """Blocks of 32 numbers as ggml's: an f16 that 32 int8 are multiplied by, 34 bytes in all."""
    x = x.reshape(*x.shape[:-1], -1, 32)
    scale = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    q = np.rint(x / np.where(scale > 0, scale, np.float32(1))).astype(np.int8)
    blocks = np.concatenate([scale.astype(np.float16).view(np.uint8), q.view(np.uint8)], axis=-1)
    return blocks.reshape(*x.shape[:-2], -1)


def of_cache(x, name):
    """Keys or values; int8 of a token and head in ggml's blocks, the nearest that it has."""
    array = x[name]
    if array.dtype != np.int8:
        return array
    return to_q8_0(operators.from_int8(array, x[f"{name}_scale"]))


# operator -> ggml's: name, inputs in the order of its arguments, whether its state is [H, V, K].
# What is computed here, ggml takes ready made, and it counts in seqmix's time alone.
GGML = {
    "linear_attention": (  # a decay of one: ggml has no operator without
        "gated_linear_attn", lambda row, x: [x["k"], x["v"], x["q"], np.ones_like(x["k"])], False),
    "gated_linear_attention": (
        "gated_linear_attn", lambda row, x: [x["k"], x["v"], x["q"], np.exp(x["g"])], False),
    "gated_delta_rule": (
        "gated_delta_net", lambda row, x: [x[n] for n in ("q", "k", "v", "g", "beta")], True),
    "kda": ("gated_delta_net_per_key",
            lambda row, x: [x[n] for n in ("q", "k", "v", "g", "beta")], True),
    "rwkv7": ("rwkv_wkv7", lambda row, x: [x["q"], np.exp(x["g"]), x["k"], x["v"], -x["kk"],
                                           x["kk"] * x["a"]], True),
    "causal_conv1d": (
        "ssm_conv", lambda row, x: [with_zeros_before(row, x), x["weight"]], False),
    "selective_scan": ("ssm_scan_per_state",
                       lambda row, x: [x[n] for n in ("x", "dt", "a", "B", "C")], True),
    "ssd": ("ssm_scan", lambda row, x: [x[n] for n in ("x", "dt", "a", "B", "C")], True),
    "softmax_attention": (
        "flash_attn_ext",
        lambda row, x: [x["q"], of_cache(x, "k"), of_cache(x, "v"), causal_mask(row)], False),
}

# Looser than for seqmix: ggml rounds queries to the type of the keys, and quantises to its blocks
# what has been rounded to seqmix's rows.
GGML_TOLERANCE = {"f32_over_bf16": 8e-3, "f32_over_i8": 2e-2}


class Ggml:
    name = "ggml"
    most_nodes = 1024  # of a graph

    def __init__(self, path):
        library = load(path)
        self.open_graph = function(library, "ggml_peer_open", ctypes.c_void_p,
                                   ctypes.POINTER(CallFields), ctypes.c_int64)
        self.run = function(library, "ggml_peer_run", ctypes.c_int32, ctypes.c_void_p)
        self.close = function(library, "ggml_peer_close", None, ctypes.c_void_p)
        about = function(library, "ggml_peer_about", ctypes.c_char_p, ctypes.c_char_p)
        self.about = {"ggml": f"{about(b'ggml').decode()}, {about(b'isa').decode()}"}

    def offers(self, row):
        return row.operator in GGML and row.types != "bf16"

    def open(self, row, x, threads):
        if row.K != row.V and row.group != "scans":
            raise Refused("K and V have to be equal")
        if row.operator == "rwkv7" and row.K % 64 != 0:
            raise Refused("writes past rows that are no multiple of 64")
        if row.types == "f32_over_i8" and row.K % 32 != 0:
            raise Refused("its blocks are of 32")
        return GgmlCall(self, row, x, threads)


class GgmlCall:
    def __init__(self, side, row, x, threads):
        operation, convert, self.v_first = GGML[row.operator]
        self.side, self.row, self.graph, self.label = side, row, None, operation
        self.tolerance = GGML_TOLERANCE.get(row.types)
        self.kept = [None if a is None else operators.dense(a, a.dtype) for a in convert(row, x)]
        state = x.get("state")
        if state is not None and self.v_first:
            state = state.transpose(0, 2, 1)
        self.state = None if state is None else operators.dense(state)
        rows = row.T * row.H * row.V
        self.output = poisoned((rows + (0 if state is None else state.size),))
        self.call = fields(row, operation, self.kept, self.state, self.output, None, threads)
        self.plan(1)

    def plan(self, repeats):
        self.finish()
        self.graph = self.side.open_graph(ctypes.byref(self.call), repeats)
        if not self.graph:
            raise Refused("no such operator")

    def block(self):
        if not self.side.run(self.graph):
            raise Refused("the graph was not computed")

    def finish(self):
        if self.graph:
            self.side.close(self.graph)
            self.graph = None

    def result(self):
        row = self.row
        rows = row.T * row.H * row.V
        output = self.output[:rows].reshape(row.T, row.H, row.V)
        if self.state is None:
            return output, None
        state = self.output[rows:].reshape(self.state.shape)
        return output, state.transpose(0, 2, 1) if self.v_first else state
