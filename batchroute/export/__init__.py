"""A run's results as one file in input order, for people and for other programs."""

from batchroute.export.files import export_run

__all__ = ["export_run"]
