"""The job file: frozen models, one per section, that refuse what they do not know; the first thing
that a run reads.
"""

from raydepth.job.load import Job, load_job, parse_job

__all__ = ["Job", "load_job", "parse_job"]
