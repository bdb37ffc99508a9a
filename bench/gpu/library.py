# SPDX-License-Identifier: Apache-2.0
"""seqmix behind ctypes: seqmix_gpu.cpp and functors.cu."""
import ctypes
import subprocess

import folders

FUNCTORS = ("none", "softcap", "fast_softcap", "sparse", "causal")  # seqmix_gpu_functor of seqmix_gpu.hpp


class Failed(Exception):
    """The library refuses a call, or cannot be had."""


class Call(ctypes.Structure):
    """seqmix_gpu_call of seqmix_gpu.hpp."""
    _fields_ = (
        [(name, ctypes.c_void_p)
         for name in ("q", "k", "v", "o", "lse", "lengths", "q_offsets", "k_offsets",
                      "sink_logits", "alibi_slopes")]
        + [(name, ctypes.c_int64) for name in ("B", "T", "S", "H", "HK", "D", "V")]
        + [(name + "_strides", ctypes.c_int64 * 4) for name in "qkvo"]
        + [(name, ctypes.c_int64) for name in ("max_q", "max_k", "window_left", "sink_tokens")]
        + [("softcap", ctypes.c_double)]
        + [(name, ctypes.c_int32) for name in ("bf16", "causal", "functor", "ordinal")]
        + [("stream", ctypes.c_void_p)])


def call_of(case):
    """A call without its tensors."""
    call = Call(bf16=case["dtype"] == "bf16", causal=case["causal"],
                functor=FUNCTORS.index(case["functor"]), softcap=case["softcap"],
                window_left=case["window"] - 1 if case["window"] else -1,
                sink_tokens=case["sinks"],
                **{name: case[name] for name in ("B", "T", "S", "H", "HK", "D", "V")})
    if "lengths" in case:
        call.max_q = call.max_k = max(case["lengths"])
    return call


class Library:
    def __init__(self, path):
        try:
            library = ctypes.CDLL(str(path.resolve()))  # a bare name would be searched for
            self._attention = library.seqmix_gpu_attention
            self._explain = library.seqmix_gpu_explain
            bytes_of_call, version = library.seqmix_gpu_call_bytes, library.seqmix_gpu_version
        except (OSError, AttributeError) as e:
            raise Failed(str(e)) from e
        self._attention.argtypes = [ctypes.POINTER(Call), ctypes.c_int64]
        self._attention.restype = self._explain.restype = version.restype = ctypes.c_char_p
        self._explain.argtypes = [ctypes.POINTER(Call)]
        bytes_of_call.restype = ctypes.c_int64
        if bytes_of_call() != ctypes.sizeof(Call):
            raise Failed(f"{path}: built from another version of bench/gpu")
        self.version = version().decode()

    def attention(self, call, repeats=1):
        """Queues the call. `call` may be what ctypes.byref gave, which saves time."""
        if problem := self._attention(call, repeats):
            raise Failed(problem.decode())

    def explain(self, call):
        return self._explain(ctypes.byref(call)).decode()


def build():
    folder = folders.ROOT / "build" / "gpu_bench"
    commands = [
        ["cmake", "-S", folders.ROOT, "-B", folder, "-DCMAKE_BUILD_TYPE=Release",
         "-DSEQMIX_ENABLE_CUDA=ON", "-DSEQMIX_BUILD_TESTS=OFF", "-DSEQMIX_BUILD_EXAMPLES=OFF",
         "-DSEQMIX_BUILD_BENCH=ON"],
        ["cmake", "--build", folder, "--parallel", "--target", "seqmix_gpu_bench"]]
    for command in commands:
        try:
            code = subprocess.run([str(part) for part in command]).returncode
        except OSError as e:
            raise Failed(f"cmake: {e.strerror}") from e
        if code != 0:
            raise Failed("the build failed; --library takes a library that was built elsewhere")
    return folder / "bench" / "gpu" / "libseqmix_gpu_bench.so"
