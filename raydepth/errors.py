"""The error of a wrong job."""


class JobError(ValueError):
    """The job is wrong: nothing was started. The message names the field, the value that came and
    what is allowed.
    """
