"""Metrics, confidence intervals and figures."""
