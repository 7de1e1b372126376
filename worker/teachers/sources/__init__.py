"""One module for each source of teachers; each is a function `load` that `worker.teachers.loading` calls."""
