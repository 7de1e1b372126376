"""What a worker says that cannot compute where it should."""


class DeviceMissing(Exception):
    """The worker has not got the device of its settings."""
