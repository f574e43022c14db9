"""Work of a run in other processes: what is sent to them, and one function in a process of its own.

A record of a model can hold functions that only its own file defines. So a process first executes the files
of the user, and then reads what was sent. Processes exchange pickles, and nothing of that is stored.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fer_models.errors import FerModelsError, PredictionError, one_line
from fer_models.zoo.registry import from_file, module_name
from fer_models.zoo.spec import ModelSpec, RestorerSpec

_Result = TypeVar("_Result")
_Spec = ModelSpec | RestorerSpec


@dataclass(frozen=True)
class Package:
    """A value on its way to another process.

    Attributes:
        content: the pickled value.
        model_files: files of the user, which are executed before it is read; not those of installed packages.
        folder: the working folder of the run, to which paths are relative.
    """

    content: bytes
    model_files: tuple[Path, ...]
    folder: str

    @classmethod
    def of(
        cls, value: Any, name: str, specs: Iterable[ModelSpec | RestorerSpec], advice: str = ""
    ) -> Package:
        """Pack a value that holds records of models.

        Args:
            value: what is sent.
            name: of the model, in messages.
            specs: the records in it.
            advice: the end of the message of an error, such as another option.

        Raises:
            PredictionError: a record holds something that cannot be sent.
        """
        import cloudpickle

        sources = dict.fromkeys(spec.source for spec in specs if spec.source is not None)
        files = tuple(source for source in sources if module_name(source) in sys.modules)
        try:
            return cls(bytes(cloudpickle.dumps(value)), files, os.getcwd())
        except Exception as error:
            raise PredictionError(
                f"The record of model {name!r} cannot be sent to other processes: {one_line(str(error))}. "
                f"Open files and connections in `load`{advice}."
            ) from error

    def open(self) -> Any:
        """The value, in the other process."""
        with suppress(OSError):  # another machine may not have it
            os.chdir(self.folder)
        for file in self.model_files:
            from_file(file)
        return pickle.loads(self.content)  # made by `of` in the process of the run: no file, no other source


def plain(error: FerModelsError) -> FerModelsError:
    """The same error with its text alone, which can be sent to another process."""
    init = Exception.__init__
    kinds = (kind for kind in type(error).__mro__ if kind.__init__ is init)  # type: ignore[misc]
    sendable: FerModelsError = next(kinds)(str(error))  # at last `FerModelsError` itself
    return sendable


def call_in_new_process(function: Callable[..., _Result], model: ModelSpec, *arguments: Any) -> _Result:
    """Call `function(model, *arguments)` in a new process.

    Its memory is that of a process that just started: in an old one the time of a network varies more, with
    where its numbers lie in memory.

    Args:
        function: of this package, at the top of its module.
        model: the record of the model.
        *arguments: sent with it.

    Raises:
        PredictionError: the record cannot be sent, or the process ended; and the errors of this package that
            the function raises.
    """
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    package = Package.of((function, model, arguments), model.name, (model, *model.components))
    executor = ProcessPoolExecutor(max_workers=1)
    try:
        result = executor.submit(_call, package).result()
    except BrokenProcessPool as error:
        raise PredictionError(
            f"Model {model.name!r} ended the process that it was sent to: the memory may not suffice, or the "
            "model crashes."
        ) from error
    finally:
        executor.shutdown(wait=True)
    if isinstance(result, FerModelsError):
        raise result
    value: _Result = result
    return value


def _call(package: Package) -> Any:
    try:
        function, model, arguments = package.open()
        return function(model, *arguments)
    except FerModelsError as error:
        return plain(error)
