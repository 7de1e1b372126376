"""The blocking client: carries out the procedures of `core` with httpx2.Client."""
