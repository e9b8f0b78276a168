"""Songs whose beats are known, for what is measured here. They live among the tests, which import nothing from here."""

from tests.tokenizer.retime import Retimed, retimed, untimed

__all__ = ["Retimed", "retimed", "untimed"]
