//! History that survives the process: the log of [`prism_sse`] in append-only segment files.
