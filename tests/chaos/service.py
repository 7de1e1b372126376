"""The service as in production, but that its clock may be wrong."""

from .clock import shift

if __name__ == "__main__":
    shift()
    from service.__main__ import main

    main()
