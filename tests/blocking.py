"""Hiding installed packages from a child process, as if they had never been installed."""


def hidden(*packages: str) -> str:
    """Code to run first: imports of these packages then fail as they would on a machine without them."""
    return (
        "import sys; from importlib.machinery import PathFinder as _P; _f = _P.find_spec; "
        "_P.find_spec = classmethod("
        f"lambda c, n, p=None, t=None: None if n.partition('.')[0] in {packages!r} else _f(n, p, t)); "
    )


NO_TORCH = hidden("torch", "lightning_fabric", "onnxscript")
