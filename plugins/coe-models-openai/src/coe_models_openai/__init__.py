"""Complete and embed through any OpenAI-compatible upstream."""
