"""What is wrong with the rows of a source, told together: the first ones one by one, and how many there are."""

TOLD = 20  # faults that are told one by one


class Malformed(ValueError):
    """Rows that are not of their form; the message tells each, up to a number, and how many there are."""


class Faults:
    """Collects them, in constant memory."""

    def __init__(self) -> None:
        self.count = 0
        self._told: list[str] = []

    def add(self, where: str, fault: object) -> None:
        """`where`: file and line, or archive and member."""
        self.count += 1
        if len(self._told) < TOLD:
            self._told.append(f"{where}: {fault}")

    def raise_any(self, sound: int) -> None:
        """`sound`: how many rows have no fault. Raises: Malformed if there is one."""
        if self.count:
            more = f"\n… and {self.count - TOLD} more" if self.count > TOLD else ""
            told = "\n".join(self._told)
            raise Malformed(f"{self.count} of {self.count + sound} rows are malformed:\n{told}{more}")
