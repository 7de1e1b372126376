"""Files on the client's disk: teacher folders, label files, uploads and downloads.

Knows nothing of httpx2: bytes cross through the effects of `preceptor.core`.
"""
