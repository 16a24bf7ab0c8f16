"""One file per way to annotate: `annotate(examples, taxonomy, client, prompt, ...) -> annotations`."""
