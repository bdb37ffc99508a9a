# SPDX-License-Identifier: Apache-2.0
"""A matrix product of OpenBLAS as one more ceiling beside the probes: what people take for the
speed of a machine. Found as a shared library; Debian has it in libopenblas0-pthread."""
import ctypes
import ctypes.util
import time

import numpy as np

import libraries
import operators

ROW_MAJOR, PLAIN = 101, 111  # CblasRowMajor, CblasNoTrans


class Sgemm:
    """C = A B of square matrices in float."""

    def __init__(self, path=None, size=2048):
        if path is None:
            name = ctypes.util.find_library("openblas")
            if name is None:
                raise OSError("libopenblas is not installed (Debian: libopenblas0-pthread)")
            library = ctypes.CDLL(name)
        else:
            library = libraries.load(path)
        number, pointer, scalar = ctypes.c_int, ctypes.c_void_p, ctypes.c_float
        self._sgemm = libraries.function(
            library, "cblas_sgemm", None, *[number] * 6, scalar, pointer, number, pointer, number,
            scalar, pointer, number)
        self._set_threads = libraries.function(library, "openblas_set_num_threads", None, number)
        config = libraries.function(library, "openblas_get_config", ctypes.c_char_p)
        self.about = config().decode().strip()
        self.size = size
        shape = (size, size)
        source = np.random.default_rng(1)
        self.a, self.b = (operators.dense(source.uniform(-1, 1, shape)) for _ in range(2))
        self.c = operators.aligned(shape)

    def rate(self, threads):
        """FLOP/s of one product, after one that is not timed."""
        self._set_threads(threads)
        self._multiply()
        start = time.perf_counter()
        self._multiply()
        return 2 * self.size ** 3 / (time.perf_counter() - start)

    def _multiply(self):
        n = self.size
        self._sgemm(ROW_MAJOR, PLAIN, PLAIN, n, n, n, 1, self.a.ctypes.data, n, self.b.ctypes.data,
                    n, 0, self.c.ctypes.data, n)
