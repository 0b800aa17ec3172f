"""Give models a calculator: the worked example of a tool plugin."""
