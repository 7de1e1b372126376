"""Parquet from untrusted uploads: footer and page headers are checked before pyarrow reads a column."""
