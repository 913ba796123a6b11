"""Secrets that are planted to be looked for: letters and digits, which no quoting or escaping can hide."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field


def core() -> str:
    return "Pl4nted" + secrets.token_hex(10)


@dataclass
class Planted:
    """The secrets by what they are, as the part of them that no quoting changes."""

    cores: dict[str, str] = field(default_factory=dict)

    def plant(self, what: str) -> str:
        """A new secret with the characters that quoting changes."""
        self.cores[what] = core()
        return f"{self.cores[what]} \"'\\@/"

    def found_in(self, content: bytes) -> list[str]:
        """Which of them ``content`` holds, plainly or in base64."""
        return [
            what
            for what, word in self.cores.items()
            if any(form in content for form in (word.encode(), *_in_base64(word)))
        ]


def _in_base64(word: str) -> list[bytes]:
    """The part of it that is the same wherever in a longer text it stands."""
    return [base64.b64encode(b"\0" * shift + word.encode())[4:-4] for shift in range(3)]
