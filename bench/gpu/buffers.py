# SPDX-License-Identifier: Apache-2.0
"""The tensors of a row."""
import math

import work
from library import call_of

MOST_SETS = 64


def alibi_slopes(heads):
    """The published ones."""
    power = 2 ** int(math.log2(heads))
    return [2.0 ** (-8 * (h + 1) / power) if h < power else
            2.0 ** (-4 * (2 * (h - power) + 1) / power) for h in range(heads)]


def sets_of(case, l2_bytes):
    """So many that successive calls touch more than twice the L2."""
    if case["group"] == "launch":
        return 1
    return min(max(2, math.ceil(2 * l2_bytes / work.tensor_bytes(case)) + 1), MOST_SETS)


class Buffers:
    """One set of a row's tensors, [B, T, H, D] (packed: B = 1), and what the two sides call with.

    Both sides read the same memory: PyTorch through transposed views, [B, H, T, D].
    """

    def __init__(self, torch, case, generator):
        device = generator.device
        packed = "lengths" in case
        batch = 1 if packed else case["B"]
        dtype = {"bf16": torch.bfloat16, "f16": torch.float16}[case["dtype"]]
        def noise(tokens, heads, dim):
            return torch.randn(batch, tokens, heads, dim, device=device, dtype=dtype,
                               generator=generator)
        self.q = noise(case["T"], case["H"], case["D"])
        self.k = noise(case["S"], case["HK"], case["D"])
        self.v = noise(case["S"], case["HK"], case["V"])
        self.o = torch.empty(batch, case["T"], case["H"], case["V"], device=device, dtype=dtype)
        self.lse = torch.empty(batch, case["H"], case["T"], device=device, dtype=torch.float32)
        self.heads_first = [x.transpose(1, 2) for x in (self.q, self.k, self.v)]

        call = self.call = call_of(case)
        for name in "qkvo":
            tensor = getattr(self, name)
            setattr(call, name, tensor.data_ptr())
            for axis, stride in enumerate(tensor.stride()):
                getattr(call, name + "_strides")[axis] = stride
        if device.type == "cuda":
            call.ordinal = torch.cuda.current_device()
            call.stream = torch.cuda.current_stream().cuda_stream
        self.slopes = self.logits = None
        if case["alibi"]:
            self.slopes = torch.tensor(alibi_slopes(case["H"]), device=device)
            call.alibi_slopes = self.slopes.data_ptr()
        if case["sink_logits"]:
            # About the log-sum-exp of thousands of such scores, so that they are felt.
            self.logits = torch.linspace(6, 10, case["H"], device=device)
            call.sink_logits = self.logits.data_ptr()
        if case["group"] == "decode":
            self.lengths = torch.full((case["B"],), case["S"], device=device, dtype=torch.int32)
            call.lengths = self.lengths.data_ptr()
        # For packed calls, PyTorch's too: those of its packed operator also take equal lengths.
        lengths = case.get("lengths", [case["T"]] * case["B"])
        starts = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
        self.offsets = torch.tensor(starts, device=device, dtype=torch.int32)
        if packed:
            call.q_offsets = call.k_offsets = self.offsets.data_ptr()
            self.parts = [[x[:, :, at:at + n] for x in self.heads_first]
                          for at, n in zip(starts, lengths)]
