# SPDX-License-Identifier: Apache-2.0
"""What is measured: the rows, and the plain row that a row is also compared with."""
import math

TOKENS = 16384  # of a row without a batch of its own, in all sequences together
WIDTH = 2048    # heads * D of a row without heads of its own
WINDOW = 1024
SINKS = 4
SOFTCAPS = (50.0, 3.0)  # that of published models; one that scores of normal numbers feel
ABSENT = {"dtype": "bf16", "causal": False, "window": 0, "sinks": 0, "softcap": 0.0,
          "alibi": False, "sink_logits": False, "functor": "none", "against": ()}
SDPA = ("cudnn", "flash")
# Groups of which each row is timed in turns with seqmix's own plain row, and what that is.
PLAIN = {"window": "plain", "softcap": "plain", "alibi": "plain", "sink_logits": "plain",
         "sinks": "plain", "functor": "plain", "varlen": "dense"}


def row(group, name, **fields):
    """window: keys that a query sees at most, its own among them, 0: all. sinks: first keys that
    it sees beside them. functor: of functors.cu. against: peers."""
    result = {"name": f"{group}/{name}", "group": group, **ABSENT, **fields}
    result.setdefault("S", result["T"])
    result.setdefault("HK", result["H"])
    result.setdefault("V", result["D"])
    return result


def forward(d, causal, t, dtype="bf16", against=SDPA, **fields):
    value = f"/V:{fields['V']}" if "V" in fields else ""
    return row("forward", f"D:{d}{value}/causal:{int(causal)}/T:{t}/{dtype}", B=TOKENS // t, T=t,
               H=WIDTH // d, D=d, causal=causal, dtype=dtype, against=against, **fields)


def forward_rows():
    for d in (128, 64, 256):
        for causal in (False, True):
            for t in (512, 1024, 2048, 4096, 8192, 16384):
                flex = ("flex",) if t == 8192 and causal else ()
                yield forward(d, causal, t, against=SDPA + flex, quick=t in (2048, 16384))
    for d in (64, 128, 256):
        for causal in (False, True):
            yield forward(d, causal, 4096, "f16")
    for d in (96, 192):
        for causal in (False, True):
            yield forward(d, causal, 4096)
    for causal in (False, True):
        yield forward(192, causal, 8192, V=128)


def variant(group, d, causal, name="", against=(), heads=None, **fields):
    """Two sequences of 8192 tokens."""
    return row(group, f"D:{d}/T:8192/causal:{int(causal)}/{name}bf16", B=2, T=8192,
               H=heads or WIDTH // d, D=d, causal=causal, against=against, **fields)


def variant_rows():
    """Windows and changed scores: rows that have a plain one beside them."""
    for d in (128, 64):
        yield variant("window", d, True, f"W:{WINDOW}/", ("flex", "varlen_attn"), heads=16,
                      window=WINDOW, quick=d == 128)
    for d in (64, 128, 256):
        for causal in (False, True):
            for cap in SOFTCAPS:
                yield variant("softcap", d, causal, f"cap:{cap:g}/", ("flex",) if causal else (),
                              softcap=cap, quick=causal)
    for d in (64, 128, 256):
        yield variant("alibi", d, True, against=("flex",) if d == 128 else (), alibi=True,
                      quick=d == 128)
    for d in (64, 128, 256):
        yield variant("sink_logits", d, True, sink_logits=True, quick=d == 128)
    for d in (64, 128, 256):
        yield variant("sinks", d, True, f"W:{WINDOW}/sinks:{SINKS}/",
                      ("flex",) if d == 128 else (), window=WINDOW, sinks=SINKS, quick=d == 128)
    for functor in ("softcap", "fast_softcap"):
        for d in (64, 128, 256):
            for causal in (False, True):
                yield variant("functor", d, causal, f"functor:{functor}/", functor=functor,
                              softcap=SOFTCAPS[-1], quick=d == 128 and causal)
    for d in (64, 128):
        for functor in ("sparse", "causal"):
            yield variant("functor", d, False, f"functor:{functor}/", functor=functor,
                          quick=d == 128)


def varlen_rows():
    """A long sequence among short ones, and lengths that halve."""
    for lengths, name in (([8192] + 64 * [128], "one_long"),
                          ([8192, 4096, 2048, 1024, 512, 256, 128, 128], "halving")):
        for causal in (False, True):
            yield row("varlen", f"{name}/N:{len(lengths)}/T:{sum(lengths)}/D:128"
                                f"/causal:{int(causal)}/bf16",
                      B=len(lengths), T=sum(lengths), H=WIDTH // 128, D=128, causal=causal,
                      lengths=lengths, quick=causal,
                      # SDPA in turn: launches of many short sequences would be all that it shows.
                      against=("varlen_attn",) + (SDPA if len(lengths) <= 8 else ()))


def all_rows():
    rows = [*forward_rows()]
    rows.append(row("gqa", "B:4/T:4096/H:32/HK:8/D:128/causal:1/bf16", B=4, T=4096, H=32, HK=8,
                    D=128, causal=True, quick=True, against=SDPA))
    rows += [*variant_rows(), *varlen_rows()]
    for b, s in ((1, 4096), (1, 32768), (8, 8192), (64, 8192)):
        rows.append(row("decode", f"B:{b}/S:{s}/H:32/HK:8/D:128/bf16", B=b, T=1, S=s, H=32, HK=8,
                        D=128, quick=b == 8, against=SDPA))
    rows.append(row("launch", "B:1/T:64/H:1/D:64/bf16", B=1, T=64, H=1, D=64, quick=True,
                    against=(*SDPA, "default")))
    return rows


def chosen(rows, quick=False, pattern=None, without=()):
    """The rows that are asked for, without the peers that are not."""
    wanted = (case for case in rows if (not quick or case.get("quick"))
              and (pattern is None or pattern.search(case["name"])))
    return [{**{key: value for key, value in case.items() if key != "quick"},
             "against": [name for name in case["against"] if name not in without]}
            for case in wanted]


def plain_of(case):
    """The row without what its group adds, or of packed sequences one dense sequence with about as
    many pairs; none for groups that add nothing."""
    if case["group"] not in PLAIN:
        return None
    plain = {**case, **ABSENT, "group": "plain", "causal": case["causal"], "dtype": case["dtype"]}
    if case["functor"] == "causal":
        plain["causal"] = True
    if lengths := plain.pop("lengths", None):
        tokens = 64 * round(math.sqrt(sum(n * n for n in lengths)) / 64)
        plain |= {"B": 1, "T": tokens, "S": tokens}
    plain["name"] = (f"plain/B:{plain['B']}/T:{plain['T']}/H:{plain['H']}/D:{plain['D']}"
                     f"/causal:{int(plain['causal'])}/{plain['dtype']}")
    return plain
