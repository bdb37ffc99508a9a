# SPDX-License-Identifier: Apache-2.0
"""Scans in plain PyTorch, which has no operator for them but the convolution: the loop over the
tokens that papers give as their reference, and for ssd also chunks in matrix products.

Tensors are those of operators.scan_inputs as they are, [T, ...]. No torch.compile.
"""
CHUNK = 64  # the fastest of 32, 64 and 128


def conv1d(torch, row, x):
    """The depthwise convolution, [channels, T] and zeros before the first token."""
    y = torch.nn.functional.conv1d(x["x"][:, :, 0].mT[None], x["weight"][:, None],
                                   padding=row.K - 1, groups=row.H)
    return y[0, :, :row.T].mT[..., None], None


def token_loop(torch, row, x):
    """All decays and writes at once, [T, H, K, V], then token by token."""
    step = torch.nn.functional.softplus(x["dt"])
    decay = (step[..., None] * x["a"].view(row.H, -1)).exp()[..., None]
    write = (step[:, :, None, None] * x["B"][:, None, :, None]) * x["x"][:, :, None]
    state, outputs = x["state"], []
    for t in range(row.T):
        state = decay[t] * state + write[t]
        outputs.append(torch.einsum("hkv,k->hv", state, x["C"][t]))
    return torch.stack(outputs), state


def ssd_chunks(torch, row, x):
    """Within a chunk, with G the sum of dt a up to a token, the outputs are
    (C B^T, times e^(G_t - G_j) below the diagonal) dt x + e^(G_t) C S_0."""
    size = CHUNK if row.T % CHUNK == 0 else row.T
    step = torch.nn.functional.softplus(x["dt"])                                 # [T, H]
    cut = lambda tensor: tensor.view(row.T // size, size, *tensor.shape[1:])
    total = cut(step * x["a"]).cumsum(dim=1).transpose(1, 2)                     # [chunks, H, C]
    written = cut(step[..., None] * x["x"]).transpose(1, 2)                      # [chunks, H, C, V]
    b, c = cut(x["B"])[:, None], cut(x["C"])[:, None]                            # [chunks, 1, C, K]
    above = torch.ones(size, size, dtype=torch.bool).triu(1)
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(above, float("-inf")).exp()
    within = ((c @ b.mT) * decay) @ written
    rest = (total[..., -1:] - total).exp()[..., None]
    added = b.mT @ (rest * written)                                              # [chunks, H, K, V]
    kept, grown = total[..., -1].exp()[..., None, None], total.exp()[..., None]
    state, before = x["state"], []
    for i in range(len(added)):
        before.append(state)
        state = kept[i] * state + added[i]
    output = within + grown * (c @ torch.stack(before))
    return output.transpose(1, 2).reshape(row.T, row.H, row.V), state


FORMULATIONS = {
    "causal_conv1d": {"PyTorch conv1d": conv1d},
    "selective_scan": {"PyTorch loop": token_loop},
    "ssd": {"PyTorch loop": token_loop, "PyTorch chunks": ssd_chunks},
}
