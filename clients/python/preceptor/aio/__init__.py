"""The asynchronous client: carries out the procedures of `core` with httpx2.AsyncClient. Mirrors `sync`."""
