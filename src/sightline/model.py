"""Model: a trained recogniser in Python, one method per verb."""


class Model:
    """To come."""


def train() -> None:
    """To come."""


def audit() -> None:
    """To come."""


def load() -> None:
    """To come."""
