"""Checks of what the product is made of: pins, licences, known holes, a bill of materials. `make audit`, `make sbom`.

Each module but `__main__` has one check, which gives its findings as lines for a person; none means all is well.
"""
