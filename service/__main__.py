"""`python -m service`: the same as `preceptor-server serve`."""

from service.cli.configuration import settings_from
from service.cli.serve import run


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    run(settings_from())


if __name__ == "__main__":
    main()
