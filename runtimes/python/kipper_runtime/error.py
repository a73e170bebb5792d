"""What a handler can get wrong in what it returns."""


class AnswerError(Exception):
    """The handler returned something that cannot be sent."""
