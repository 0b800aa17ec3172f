"""The Responses API, on the same turns as chat completions."""
