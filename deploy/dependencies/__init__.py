"""Checks of dependencies: pins, licences, known vulnerabilities, bill of materials. `make audit`, `make sbom`.

Each module except `__main__` contains one check, which returns its findings as lines of text; none means success.
"""
