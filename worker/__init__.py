"""Consumes the lanes: validates teachers, ranks zoos, distils students. The only room that imports torch."""
