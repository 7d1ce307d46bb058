"""Images and a model → what the model gives for each, computed on all devices at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import EmptyFileError, FileAccessError, InputError
from atoll.learning.dataset import ImageFolder, read_folder, require_images, without
from atoll.learning.embed import in_parallel
from atoll.learning.workers import Embed, Reals, open_workers
from atoll.model.graph import Model
from atoll.products.inputs import read_inputs
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.products.tensor_spec import Inputs


@dataclass(frozen=True, slots=True)
class ImageRuns:
    """How images are run through models."""

    devices: Sequence[str] = ()
    """As :func:`atoll.learning.workers.open_workers` takes them."""
    segments: int = 1
    skip_bad: bool = False
    """Go on without images that cannot be read."""
    advice: str = ""
    """What else to do about such an image, added to the error."""
    on_progress: OnProgress = ignore
    on_message: OnMessage = ignore

    def results(self, model: Model, paths: Sequence[Path], title: str) -> Iterator[Reals | None]:
        """What the model gives for each image, in their order; None for one that cannot be read and may be skipped.

        Raises:
            InputError, FileAccessError: An image cannot be read.
            UsageError, DeviceError: As :func:`atoll.learning.workers.open_workers`.
        """
        with open_workers(model, self.devices, self.segments, self.on_message) as workers:
            skipping = [_unless_bad(worker) for worker in workers]
            results = in_parallel(paths, skipping, lambda path: self._read(path, model))
            for done, result in enumerate(results, start=1):
                self.on_progress(title, done, len(paths))
                yield result

    def embed_folder(self, directory: str | Path, extractor: Model) -> tuple[ImageFolder, list[Reals]]:
        """The images of a folder that can be read, and the extractor's real values for each.

        Raises:
            TrainingError: There are fewer than two classes, or one has no images that can be read.
            InputError, FileAccessError, UsageError, DeviceError: As :meth:`results`.
        """
        folder = read_folder(directory)
        require_images(folder)
        paths = [example.path for example in folder.examples]
        results = list(self.results(extractor, paths, "embedding"))
        bad = {path for path, result in zip(paths, results) if result is None}
        for path in sorted(bad):
            self.on_message(f"skipped {path}: not a readable image")
        folder = without(folder, bad)
        require_images(folder)
        return folder, [result for result in results if result is not None]

    def _read(self, path: Path, model: Model) -> Inputs | None:
        try:
            return read_inputs(path, model.main)[0]
        except (InputError, FileAccessError, EmptyFileError) as error:
            if self.skip_bad:
                return None
            error.hint = f"{error.hint} {self.advice}".strip()
            raise


def _unless_bad(worker: Embed) -> Callable[[Inputs | None], Reals | None]:
    return lambda inputs: None if inputs is None else worker(inputs)
