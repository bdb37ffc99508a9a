# SPDX-License-Identifier: Apache-2.0
"""Importing this makes the modules of bench/report and bench/peers importable too, behind the ones
of this folder."""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "bench" / name) for name in ("report", "peers")]
