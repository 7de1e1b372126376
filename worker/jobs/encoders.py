"""Label encoders by name. Loading one takes a second or more, so a worker keeps them."""

from service.state.errors import JobFailed, PreceptorError
from worker.teachers.label_encoder import LabelEncoder, load_encoder


class Encoders:
    """Label encoders by name, loaded once.

    Parameters
    ----------
    default
        The name that is meant where a request names none.
    """

    def __init__(self, default: str) -> None:
        self._default = default
        self._loaded: dict[str, LabelEncoder] = {}

    def get(self, name: str | None) -> LabelEncoder:
        """The encoder of this name.

        Raises
        ------
        JobFailed
            There is none.
        """
        wanted = name or self._default
        if wanted not in self._loaded:
            try:
                self._loaded[wanted] = load_encoder(wanted)
            except (ValueError, OSError, PreceptorError) as error:
                raise JobFailed(f"the label encoder {wanted!r} cannot be used: {error}") from error
        return self._loaded[wanted]
