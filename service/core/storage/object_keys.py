"""Keys of artifacts in the store, made from ids and from names that passed an allow-list."""


def teacher_file(id: str, name: str) -> str:
    """A file of a teacher."""
    return f"{teacher_files(id)}{name}"


def teacher_files(id: str) -> str:
    """Prefix of a teacher's files."""
    return f"teachers/{id}/files/"


def teacher_predictions(id: str, probe_id: str) -> str:
    """A black-box teacher's predictions on a probe."""
    return f"teachers/{id}/predictions/{probe_id}.npy"


def probe_items(id: str) -> str:
    """A probe's canonical file."""
    return f"probes/{id}/items.parquet"


def probe_hashes(id: str) -> str:
    """The hashes of a probe's items; absent for opaque probes and those of earlier versions."""
    return f"probes/{id}/hashes.npy"


def student_artifact(id: str, name: str) -> str:
    """A file of a distilled student."""
    return f"students/{id}/artifacts/{name}"
