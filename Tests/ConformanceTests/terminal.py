"""A terminal for the real binary: a pseudo-terminal and a model of what stands on its screen."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time

from server import BINARY

TIMEOUT_SECONDS = 60
SEQUENCE = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])")


class Screen:
    """What a person sees. Knows the few escape codes that Keelson writes; fails on any other."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.lines = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.scrolled = 0
        self.draws = 0

    def feed(self, text):
        while text:
            if text[0] == "\x1b":
                found = SEQUENCE.match(text)
                assert found, f"no escape code that is known: {text[:20]!r}"
                self.escape(*found.groups())
                text = text[found.end() :]
                continue
            self.put(text[0])
            text = text[1:]

    def escape(self, parameters, final):
        if (parameters, final) == ("", "H"):
            self.row = self.column = 0
            self.draws += 1
        elif (parameters, final) == ("", "K"):
            self.lines[self.row][self.column :] = [" "] * (self.columns - self.column)
        elif (parameters, final) == ("", "J"):
            self.escape("", "K")
            for row in range(self.row + 1, self.rows):
                self.lines[row] = [" "] * self.columns
        else:
            raise AssertionError(f"an escape code that is not known: {parameters}{final}")

    def put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            if self.row + 1 < self.rows:
                self.row += 1
                return
            self.lines = [*self.lines[1:], [" "] * self.columns]
            self.scrolled += 1
        else:
            assert character.isprintable(), f"a control character: {character!r}"
            if self.column == self.columns:
                self.put("\r")
                self.put("\n")
            self.lines[self.row][self.column] = character
            self.column += 1

    def texts(self):
        return ["".join(line).rstrip() for line in self.lines]

    def __str__(self):
        return "\n".join(self.texts()).rstrip()


class Terminal:
    """A command that runs on a terminal of its own, as in a window."""

    def __init__(self, *arguments, rows=24, columns=80, **environment):
        self.main, side = os.openpty()
        self.screen = Screen(rows, columns)
        self._size()
        self.attributes = termios.tcgetattr(side)
        self.unread = b""
        # setsid makes it the terminal that Ctrl-C reaches the command by. Ctrl-C is not ignored, as
        # it is by what a shell has started in the background.
        command = ["env", "--default-signal=INT", "setsid", "--ctty", BINARY, *arguments]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=side,
            stdout=side,
            stderr=side,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )
        self.side = side

    def _size(self):
        size = struct.pack("HHHH", self.screen.rows, self.screen.columns, 0, 0)
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, size)

    def type(self, text):
        os.write(self.main, text.encode())

    def _read(self, seconds):
        """Shows what has come within a time; whether anything has."""
        if not select.select([self.main], [], [], seconds)[0]:
            return False
        self.unread += os.read(self.main, 65_536)
        # An escape code or a character may not have come wholly.
        cut = self.unread.rfind(b"\x1b")
        if cut < 0 or SEQUENCE.match(self.unread[cut:].decode(errors="replace")):
            cut = len(self.unread)
            while cut and self.unread[cut - 1] & 0x80:
                cut -= 1
        self.screen.feed(self.unread[:cut].decode())
        self.unread = self.unread[cut:]
        return True

    def until(self, condition):
        """Waits until the screen is so; the screen."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition(self.screen):
            assert time.monotonic() < deadline, f"the screen stays so:\n{self.screen}"
            self._read(0.1)
        return self.screen

    def resize(self, rows, columns):
        """Another size; the screen once it has been drawn for it."""
        self.screen = Screen(rows, columns)
        self._size()
        # The first draw from here on may have been begun before, the third may not.
        self.until(lambda screen: screen.draws >= 3)
        self.screen.scrolled = 0
        drawn = self.screen.draws
        return self.until(lambda screen: screen.draws > drawn)

    def ended(self):
        """The exit code, once the command has ended and all that it wrote is shown."""
        code = self.process.wait(TIMEOUT_SECONDS)
        while self._read(0):
            pass
        return code

    def is_as_it_was(self):
        return termios.tcgetattr(self.side) == self.attributes

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self.main)
        os.close(self.side)
