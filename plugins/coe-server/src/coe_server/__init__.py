"""Serve the OpenAI wire format over HTTP: raw ASGI on uvicorn."""
