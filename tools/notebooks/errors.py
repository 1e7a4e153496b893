"""The one error of the pipeline: what is wrong, in which file, at which line."""

from pathlib import Path


class ProblemError(Exception):
    """Something a writer has to put right.

    Parameters
    ----------
    path
        The file to open, as it should be printed.
    line
        Line in that file, counted from 1; None where the whole file is meant.
    message
        What was expected and what was found.
    """

    def __init__(self, path: Path | str, line: int | None, message: str) -> None:
        super().__init__(path, line, message)
        self.path = Path(path)
        self.line = line
        self.message = message

    def __str__(self) -> str:
        place = self.path.as_posix() if self.line is None else f"{self.path.as_posix()}:{self.line}"
        return f"{place}: {self.message}"


class ProblemsError(Exception):
    """Several problems at once, so that a writer sees all of them."""

    def __init__(self, problems: list[ProblemError]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))
