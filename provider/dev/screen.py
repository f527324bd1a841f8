"""What `darkbloom dev` shows: progress, the answer as it streams, and what to try next."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text


class Screen:
    """Progress with a spinner on a terminal, plain lines elsewhere; the answer itself goes to standard output."""

    def __init__(self) -> None:
        self._out = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._notes = Console(file=sys.stderr, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, doing: str, done: str) -> Iterator[None]:
        """Show one step while it runs, and a line when it is done."""
        if self._notes.is_terminal:
            with self._notes.status(doing):
                yield
        else:
            yield
        self._notes.print(Text("✓ ", style="green") + Text(done))

    def note(self, text: str) -> None:
        """Show one line."""
        self._notes.print(Text("· " + text, style="dim"))

    def ask(self, prompt: str) -> None:
        """Show the question."""
        self._out.print(Text("\n> ", style="bold") + Text(prompt))

    def piece(self, text: str) -> None:
        """Show a piece of the answer at once."""
        self._out.file.write(text)
        self._out.file.flush()

    def end_answer(self, seconds: float) -> None:
        """Close the answer and say how long the first token took."""
        self._out.print(f"\n\nfirst token after {seconds:.1f} s")

    def what_next(self, base_url: str, key: str, model: str, log: str) -> None:
        """Show where the API is and what to paste."""
        self._out.print(
            f"""
API      {base_url}/v1
key      {key}
model    {model}
logs     {log}

try curl:
  curl -N {base_url}/v1/chat/completions \\
    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
    -d '{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"How do I start?"}}]}}'

try Python (pip install openai):
  from openai import OpenAI
  client = OpenAI(base_url="{base_url}/v1", api_key="{key}")
  for chunk in client.chat.completions.create(
      model="{model}", stream=True, messages=[{{"role": "user", "content": "Who can read my prompt?"}}]
  ):
      print(chunk.choices[0].delta.content or "", end="", flush=True)

Ctrl-C ends everything.""",
            markup=False,
        )
