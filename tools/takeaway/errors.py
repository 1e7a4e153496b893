"""The one error of the package."""


class TakeawayError(Exception):
    """The book cannot be taken away as it is: what was expected and what was found, for whoever runs make."""
