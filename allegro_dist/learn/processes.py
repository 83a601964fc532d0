"""Processes that a loop starts: they end with it, and SIGTERM or SIGINT to it reaches them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

PROGRAM = (sys.executable, "-m", "allegro_dist.cli")
USER_ERROR = 2
"""Its exit code where it was asked for what it can't do, and of a simulation that blew up or was halted: trying again
would not help."""
POLL = 0.1  # s
PATIENCE = 30.0
"""Seconds that a loop waits for the processes of one that was killed in the same folder."""
STOPPED = 128 + signal.SIGTERM
"""Exit code of our commands that end after SIGTERM, with a checkpoint; mpiexec and srun pass it on."""
PR_SET_PDEATHSIG = 1


class LearningError(RuntimeError):
    """A loop that can't go on; the message says which step, why, and what to look at."""


class StoppedBySignal(RuntimeError):  # noqa: N818 (not a mistake of anyone's)
    """The loop was stopped by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped; the same command goes on")
        self.exit_code = 128 + number


class Processes:
    """What is running now; a context in which signals are passed on.

    Args:
        lock: descriptor that the processes inherit, so that what they hold is free when the last of them has ended.
    """

    def __init__(self, lock: int) -> None:
        self.lock = lock
        self.running: list[subprocess.Popen[str]] = []
        self.stopped = 0  # by this signal

    def __enter__(self) -> Processes:
        self.before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        for process in self.running:
            process.terminate()
            process.wait()

    def run(self, arguments: Sequence[str], log: Path, launcher: str = "") -> int:
        """Run `allegro-dist ARGUMENTS` to its end, output in a file; returns its exit code.

        The launcher is this Python environment's own where it has one, activated or not: pip's mpiexec and not another
        MPI's that the machine has, too (Debian's quantum-espresso brings one).

        Raises StoppedBySignal also where the command alone got the signal, as the steps of a job of SLURM do.
        """
        code = self._wait(self._start([*_found_beside_python(shlex.split(launcher)), *PROGRAM, *arguments], log))
        if code == STOPPED:
            raise StoppedBySignal(signal.SIGTERM)
        return code

    def run_line(self, line: str, log: Path) -> int:
        """Run a line of the shell to its end, output in a file; returns its exit code."""
        return self._wait(self._start(["/bin/sh", "-c", line], log))

    def run_all(self, jobs: Sequence[tuple[Path, Sequence[str]]], at_once: int) -> list[int]:
        """Run `allegro-dist ARGUMENTS` for each log and arguments, some at once; returns their exit codes."""
        codes: dict[int, int] = {}
        active: dict[int, subprocess.Popen[str]] = {}
        while len(codes) < len(jobs):
            for number in range(len(codes) + len(active), len(jobs)):
                if len(active) == at_once:
                    break
                log, arguments = jobs[number]
                active[number] = self._start([*PROGRAM, *arguments], log)
            time.sleep(POLL)
            for number in [n for n, process in active.items() if process.poll() is not None]:
                process = active.pop(number)
                self._ended(process)
                codes[number] = process.returncode
        return [codes[number] for number in range(len(jobs))]

    def _start(self, command: Sequence[str], log: Path) -> subprocess.Popen[str]:
        self._refuse_when_stopped()
        with open(log, "a") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, text=True,
                pass_fds=(self.lock,), preexec_fn=_end_with_parent,
            )  # fmt: skip
        self.running.append(process)
        return process

    def _wait(self, process: subprocess.Popen[str]) -> int:
        while process.poll() is None:
            time.sleep(POLL)
        self._ended(process)
        return process.returncode

    def _ended(self, process: subprocess.Popen[str]) -> None:
        self.running.remove(process)
        self._refuse_when_stopped()

    def _refuse_when_stopped(self) -> None:
        """Raise StoppedBySignal if a signal came, once all that runs has ended."""
        if self.stopped:
            while self.running:
                self.running.pop().wait()
            raise StoppedBySignal(self.stopped)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self.stopped = number
        for process in self.running:
            process.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[int]:
    """Hold a folder, by a descriptor; raises LearningError where another process does, and goes on doing so."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise LearningError(f"{folder}: another `allegro-dist learn` is at work there") from None
                time.sleep(POLL)
        yield file.fileno()


def last_words(log: Path) -> str:
    """The last line that a process wrote, but for rules and the like."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if any(map(str.isalnum, line))]
    return lines[-1].removeprefix("allegro-dist: ") if lines else "it said nothing"


def _found_beside_python(command: Sequence[str]) -> list[str]:
    if not command:
        return []
    program, *arguments = command
    return [shutil.which(program, path=str(Path(sys.executable).parent)) or program, *arguments]


def _end_with_parent() -> None:
    """Linux sends SIGTERM to a process whose parent dies, kill -9 included; elsewhere it runs on to its end."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
