"""Progress callback type."""

from collections.abc import Callable

#: Called with the number of faces that were processed since the last call.
Progress = Callable[[int], None]
