# SPDX-License-Identifier: Apache-2.0
"""What all plots share."""


def pyplot():
    """matplotlib's, set to write the same bytes for the same data; None without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "seqmix"
    import matplotlib.pyplot
    return matplotlib.pyplot


def save(figure, path):
    figure.savefig(path, metadata={"Date": None})
    pyplot().close(figure)
    return True
