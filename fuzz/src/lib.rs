//! Fuzz targets, in `tests/`.
