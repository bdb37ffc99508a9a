# SPDX-License-Identifier: Apache-2.0
"""PyTorch on the CPU. It has no operator for a recurrence, so that two ways to write one in plain
PyTorch stand for it: a loop over the tokens, and chunks in matrix products.

Tensors are head first, [H, T, channels], as these formulations like them best; the conversion is
not timed. No torch.compile.
"""
import numpy as np

import operators
import torch_scans

CHUNK = 32  # the fastest of 16, 32, 64 and 128 for most rows


def token_loop(torch, form, scale, x):
    state = x["state"].clone()
    q = x["q"] * scale
    decay = x["g"].exp() if form.decay != "none" else None
    rate = x["kk"] * x["a"] if form.removal == "general" else None
    outputs = []
    for t in range(q.shape[1]):
        k, v = x["k"][:, t, None], x["v"][:, t, None]
        if rate is not None:
            removed = x["kk"][:, t, None] @ state
        if decay is not None:
            state *= decay[:, t, :, None]
        if form.removal == "delta":
            v = x["beta"][:, t, None] * (v - k @ state)
        state.baddbmm_(k.mT, v)
        if rate is not None:
            state.baddbmm_(rate[:, t, :, None], removed, alpha=-1)
        outputs.append(q[:, t, None] @ state)
    return torch.cat(outputs, dim=1), state


def chunks(torch, form, scale, x):
    """Within a chunk of C tokens, with G the sum of g up to a token: row t of the state is
    e^(G_t) S_0 + sum over j <= t of e^(G_t - G_j) k_j v_j^T, so that products of q e^G and k e^-G
    give all outputs; what the tokens remove from each other is a triangular system.
    """
    heads, tokens, _ = x["q"].shape
    size = CHUNK if tokens % CHUNK == 0 else tokens
    q, k, v = (x[name].view(heads, tokens // size, size, -1) for name in ("q", "k", "v"))
    others = {name: x[name].view(heads, tokens // size, size, -1) for name in form.gates}
    if form.decay == "none":
        q_in, k_in, k_out, k_rest, kept = q * scale, k, k, k, None
    else:
        total = others["g"].cumsum(dim=2)
        grown, shrunk = total.exp(), (-total).exp()
        rest = (total[:, :, -1:] - total).exp()
        q_in, k_in, k_out, k_rest = q * scale * grown, k * grown, k * shrunk, k * rest
        kept = total[:, :, -1].exp()[..., None]  # [heads, chunks, K or 1, 1]
    scores = (q_in @ k_out.mT).tril()
    solved = lambda matrix, right: torch.linalg.solve_triangular(
        matrix, right, upper=False, unitriangular=True).split([k.shape[-1], v.shape[-1]], dim=-1)
    if form.removal == "delta":
        beta = others["beta"]
        read, written = solved((beta * (k_in @ k_out.mT)).tril(-1),
                               torch.cat([beta * k_in, beta * v], dim=-1))
    elif form.removal == "general":
        kk, b = others["kk"], others["kk"] * others["a"]
        kk_in, b_out, b_rest = kk * (total - others["g"]).exp(), b * shrunk, b * rest
        read, removed = solved((kk_in @ b_out.mT).tril(-1),
                               torch.cat([kk_in, (kk_in @ k_out.mT).tril(-1) @ v], dim=-1))
        removed_scores = (q_in @ b_out.mT).tril()
    state = x["state"]
    output = torch.empty_like(v)
    for i in range(q.shape[1]):
        new = v[:, i] if form.removal != "delta" else written[:, i] - read[:, i] @ state
        o = q_in[:, i] @ state + scores[:, i] @ new
        after = torch.baddbmm(state if kept is None else kept[:, i] * state, k_rest[:, i].mT, new)
        if form.removal == "general":
            gone = removed[:, i] + read[:, i] @ state
            o -= removed_scores[:, i] @ gone
            after -= b_rest[:, i].mT @ gone
        output[:, i] = o
        state = after
    return output.view(heads, tokens, -1), state


def sdpa(torch, row, x):
    """Causal masks are aligned to the first key there, which is the same with as many keys."""
    grouped = {"enable_gqa": True} if row.H != row.HK else {}  # since PyTorch 2.5
    return torch.nn.functional.scaled_dot_product_attention(
        x["q"][None], x["k"][None], x["v"][None], is_causal=row.causal, scale=row.scale,
        **grouped)[0]


def tensor(torch, array):
    """PyTorch has no tensors from NumPy's uint16, which bf16 lies in."""
    if array.dtype == np.uint16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def numbers(torch, result):
    """The way back, in f32."""
    if result.dtype == torch.bfloat16:
        return operators.from_bf16(result.view(torch.int16).numpy().view(np.uint16))
    return result.numpy()


class Torch:
    """One formulation of an operator in PyTorch."""

    def __init__(self, torch, name):
        self.torch, self.name = torch, name

    def offers(self, row):
        if row.group == "softmax":
            return self.name == "PyTorch SDPA" and "_over_" not in row.types  # all of one type
        if row.group == "scans":
            return self.name in torch_scans.FORMULATIONS[row.operator]
        return self.name == "PyTorch loop" or (self.name == "PyTorch chunks" and row.T > 1)

    def open(self, row, x, threads):
        return TorchCall(self, row, x, threads)


def sides(torch):
    return [Torch(torch, f"PyTorch {kind}") for kind in ("chunks", "loop", "SDPA", "conv1d")]


class TorchCall:
    def __init__(self, side, row, x, threads):
        torch = self.torch = side.torch
        self.threads, self.repeats = threads, 1
        self.tokens_first = row.group == "scans"
        if self.tokens_first:
            x = {name: torch.from_numpy(array) for name, array in x.items()}
            formulation = torch_scans.FORMULATIONS[row.operator][side.name]
            self.compute = lambda: formulation(torch, row, x)
            return
        heads_first = lambda array: array.reshape(*array.shape[:2], -1).swapaxes(0, 1)
        x = {name: tensor(torch, operators.dense(
                 array if name == "state" else heads_first(array), array.dtype))
             for name, array in x.items()}
        form = operators.RECURRENCES.get(row.operator)
        self.compute = {
            "PyTorch chunks": lambda: chunks(torch, form, row.scale, x),
            "PyTorch loop": lambda: token_loop(torch, form, row.scale, x),
            "PyTorch SDPA": lambda: (sdpa(torch, row, x), None)}[side.name]

    def plan(self, repeats):
        self.repeats = repeats

    def block(self):
        torch = self.torch
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        with torch.inference_mode():
            for _ in range(self.repeats):
                self.output, self.state = self.compute()

    def result(self):
        state = None if self.state is None else self.state.numpy()
        output = numbers(self.torch, self.output)
        return output if self.tokens_first else output.swapaxes(0, 1), state
