"""A results table as one self-contained HTML page, which a person can correct by clicking."""

from .page import Origin, write_report

__all__ = ["Origin", "write_report"]
