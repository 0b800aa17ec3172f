"""What every client is tried on: two models and a question that calls for a tool."""

BUNDLED = "local"
CALLING = "calling"
"""An upstream model that calls the first tool it is offered, and then repeats its result."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
QUESTION = [{"role": "user", "content": "What is the weather in Seoul?"}]
