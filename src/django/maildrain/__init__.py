"""Puts the mail of a Django site into the spool that maildrain(8) sends from."""

from .sending import send

__all__ = ["send"]
__version__ = "0.1.0"
