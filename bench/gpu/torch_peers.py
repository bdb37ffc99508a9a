# SPDX-License-Identifier: Apache-2.0
"""PyTorch on a GPU: SDPA by cuDNN and by FlashAttention 2, varlen_attn, FlexAttention."""
import contextlib
import inspect
from typing import Callable, NamedTuple

NAMES = ("cudnn", "flash", "flex", "varlen_attn", "default")


class Peer(NamedTuple):
    where: Callable   # -> the context in which it runs
    call: Callable    # buffers -> result
    shaped: Callable  # result -> [B, T, H, V]


def sdpa(torch, case, name):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    attention = torch.nn.functional.scaled_dot_product_attention
    options = {"is_causal": case["causal"]}
    if case["HK"] != case["H"]:
        options["enable_gqa"] = True
    backends = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
    where = contextlib.nullcontext if name == "default" else lambda: sdpa_kernel(backends[name])
    if "lengths" in case:
        return Peer(where, lambda b: [attention(*part, **options) for part in b.parts],
                    lambda out: torch.cat(out, dim=2).transpose(1, 2))
    return Peer(where, lambda b: attention(*b.heads_first, **options),
                lambda out: out.transpose(1, 2))


def varlen(torch, case):
    from torch.nn.attention.varlen import varlen_attn  # since PyTorch 2.10
    options = {}
    if case["window"]:
        options["window_size"] = (case["window"] - 1, 0)
    elif case["causal"]:
        takes = inspect.signature(varlen_attn).parameters
        options = {"is_causal": True} if "is_causal" in takes else {"window_size": (-1, 0)}
    longest = max(case.get("lengths", [case["T"]]))
    def call(b):
        q, k, v = (x.flatten(0, 1) for x in (b.q, b.k, b.v))
        return varlen_attn(q, k, v, b.offsets, b.offsets, longest, longest, **options)
    batch = 1 if "lengths" in case else case["B"]
    return Peer(contextlib.nullcontext, call, lambda out: out.unflatten(0, (batch, case["T"])))


def score_mod(torch, case, slopes):
    """What changes the scores, or none."""
    cap, off = case["softcap"], case["S"] - case["T"]
    if cap:
        return lambda score, b, h, i, j: cap * torch.tanh(score / cap)
    if slopes is not None:
        return lambda score, b, h, i, j: score - slopes[h] * (i + off - j).abs()
    return None


def mask_mod(case):
    """Which keys are seen, or none when all are."""
    window, sinks, off = case["window"], case["sinks"], case["S"] - case["T"]
    if window and sinks:
        return lambda b, h, i, j: (j <= i + off) & ((j > i + off - window) | (j < sinks))
    if window:
        return lambda b, h, i, j: (j <= i + off) & (j > i + off - window)
    return (lambda b, h, i, j: j <= i + off) if case["causal"] else None


def flex(torch, case, buffers):
    """Compiled anew for each row, so that none of them meets the limit of recompilations, behind
    which PyTorch goes on without compiling."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    torch.compiler.reset()
    compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True)
    options = {"score_mod": score_mod(torch, case, buffers.slopes)}
    if mask := mask_mod(case):
        options["block_mask"] = create_block_mask(mask, None, None, case["T"], case["S"],
                                                  device=buffers.q.device.type)
    if case["HK"] != case["H"]:
        options["enable_gqa"] = True
    return Peer(contextlib.nullcontext, lambda b: compiled(*b.heads_first, **options),
                lambda out: out.transpose(1, 2))


def open_peer(torch, case, name, buffers):
    if name == "flex":
        return flex(torch, case, buffers)
    return varlen(torch, case) if name == "varlen_attn" else sdpa(torch, case, name)


def title(case, name):
    """How pages call it: SDPA takes packed sequences one by one."""
    return f"{name}, one by one" if "lengths" in case and name != "varlen_attn" else name


def refusal(error, notes):
    """Why a peer does not take a call: PyTorch says so in warnings."""
    texts = [str(note.message) for note in notes] + [str(error)]
    texts = [text.split(" (Triggered")[0].strip().splitlines()[0] for text in texts if text.strip()]
    told = [t for t in texts if not t.endswith("because:") and "No available kernel" not in t
            and "runtime disabled" not in t]
    return " ".join(dict.fromkeys(told or texts))[:200] or type(error).__name__
