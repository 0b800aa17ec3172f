"""Answer and embed on this machine: the bundled models, or any GGUF file."""
