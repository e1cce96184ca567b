"""The error of a wrong job."""


class JobError(ValueError):
    """The job is wrong, and nothing was changed.

    The message names the field, the value that was given, and what is allowed.
    """


class JobNote(UserWarning):
    """Something that a job's user should read, though the job runs; the program prints it."""
