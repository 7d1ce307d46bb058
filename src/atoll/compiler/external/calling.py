"""A program with the vendor's command line and a model's file → the compiled file, or an explained failure."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from atoll.compiler.external.process import GRACE, MOST_OUTPUT, Ended, excerpt, run_bounded
from atoll.compiler.interface import CompileOptions
from atoll.errors import CompilerFailedError, CompilerInvalidError, CompilerMissingError, CompilerTimeoutError

_EXPLANATIONS = {
    "Model not quantized": "It takes full-integer models only: atoll check says which tensor is float.",
    "Model could not be parsed": "It knows no operator newer than about TensorFlow 2.5: see atoll check.",
    "large activation tensors": "A tensor between two operators is too large: cut before it, or use a smaller input.",
    "dynamic-sized tensors": "Fix the shapes of the model before compiling it.",
    "Model failed in Tflite interpreter": "Check that the model runs in LiteRT: atoll run MODEL --tpus 1.",
    "Internal compiler error": "The compiler crashed; a cut elsewhere often helps.",
    "Compilation timeout": "Usually large activations: cut before them, or give it more time.",
}
"""What it prints → what to do (../shared/facts/compiler.md, "Failure messages")."""

_OF_A_FAILURE, _OF_A_FLOOD = 2000, 400
"""Characters of its output that a message keeps."""

_HOPELESS = ("Model not quantized", "Model could not be parsed", "Invalid model")
"""Failures that another stopping point cannot change."""


@dataclass(frozen=True, slots=True)
class VendorResult:
    """One compiled model; ``text`` is the compiler's standard output for a parser."""

    model: Path
    output: Path
    log: Path
    text: str
    seconds: float
    searched: bool
    """It had failed at first, and stops earlier in the graph than it was asked to."""


@dataclass(frozen=True, slots=True)
class Call:
    """A program with the vendor's command line, and what it is asked for."""

    path: str
    name: str
    """As messages say."""
    options: CompileOptions
    searches: bool
    """Whether it knows ``-d``, as the vendor's does from version 16 on."""

    def compile(
        self, model: Path, directory: Path, *, retry: bool, stop: threading.Event | None = None
    ) -> VendorResult:
        """Compile one file into ``directory``.

        ``retry``: when it fails for a reason that an earlier stop may avoid, ask once more, with ``-d``. Setting
        ``stop`` ends it, from any thread.

        Raises:
            CompilerTimeoutError: It did not end in time, and was killed with all that it started.
            CompilerFailedError: It failed, or left no file: with what it said, and what that means.
            CompilerMissingError, CompilerInvalidError: It cannot be run.
        """
        begin = time.monotonic()
        output = directory / f"{model.stem}_edgetpu.tflite"
        again = retry and self.searches and not self.options.search_step
        for extra in ([], ["-d"]) if again else ([],):
            command = [self.path, "-s", "-o", str(directory), *self.arguments(), *extra, str(model)]
            ended = self._run(command, directory, stop)
            if ended.status == 0 and output.is_file():
                seconds = time.monotonic() - begin
                return VendorResult(model, output, output.with_suffix(".log"), ended.text, seconds, bool(extra))
            if (stop and stop.is_set()) or any(reason in ended.text for reason in _HOPELESS):
                break
        raise self._failure(model, ended)

    def arguments(self) -> list[str]:
        """The options, in the vendor's words."""
        options = self.options
        words = ["-t", str(options.seconds)]
        words += ["-m", str(options.min_runtime)] if options.min_runtime is not None else []
        words += ["-a"] if options.all_regions else []
        return [*words, "-d", "-k", str(options.search_step)] if options.search_step and self.searches else words

    def _run(self, command: list[str], directory: Path, stop: threading.Event | None) -> Ended:
        # What is killed cannot remove its temporary files: they go with the directory.
        environment = {"TMPDIR": str(directory)}
        try:
            return run_bounded(command, self.options.seconds + GRACE, environment=environment, stop=stop)
        except FileNotFoundError as error:
            raise CompilerMissingError(f"{self.path} cannot be run: it, or its interpreter, is gone") from error
        except OSError as error:
            raise CompilerInvalidError(f"{self.path} cannot be run: {error.strerror}") from error

    def _failure(self, model: Path, ended: Ended) -> CompilerFailedError:
        name = f"{model}: {self.name}"
        if ended.why == "time" or "Compilation timeout" in ended.text:
            hint = _EXPLANATIONS["Compilation timeout"]
            return CompilerTimeoutError(f"{name} did not finish within {self.options.seconds} s{_printed(ended)}", hint)
        known = [reason for reason in _EXPLANATIONS if reason in ended.text]
        said = dict.fromkeys(
            line.strip() for line in ended.text.splitlines() if any(reason in line for reason in known)
        )
        if said:
            what = excerpt("; ".join(said))
            return CompilerFailedError(f"{name} {_what_happened(ended)}: {what}", _EXPLANATIONS[known[0]])
        hint = _EXPLANATIONS["Internal compiler error"] if ended.status < 0 else "atoll check names what may be wrong."
        return CompilerFailedError(f"{name} {_what_happened(ended)}{_printed(ended)}", hint)


def _what_happened(ended: Ended) -> str:
    if ended.why == "output":
        return f"printed more than {MOST_OUTPUT} bytes and was stopped"
    if ended.why == "stop":
        return "was stopped"
    if ended.status < 0:
        return f"was killed by signal {-ended.status}"
    if ended.status:
        return f"failed with status {ended.status}"
    return "said that it succeeded and left no compiled model"


def _printed(ended: Ended) -> str:
    most = _OF_A_FLOOD if ended.why == "output" else _OF_A_FAILURE
    return f"; it printed: {excerpt(ended.text, most)}" if ended.text.strip() else ""
