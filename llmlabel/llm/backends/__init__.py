"""One file per way to reach a model; the file name is the registry. Each exposes `connect(options) -> Backend`."""
