"""From an order to the engine's request: template, tokens, sampling; blocks, so it runs on a worker thread."""

from dataclasses import dataclass

from provider.engine import GenerationRequest, LoadedModel
from provider.models.prompt import PromptRefused, encode_text, render_chat
from provider.requests.body import Order, within_vocabulary
from provider.requests.refusal import RequestRefused, of_template


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request for the engine, and how many biases of the body it could not take."""

    request: GenerationRequest
    biases_dropped: int


def render_order(model: LoadedModel, order: Order, deadline: float | None) -> Rendered:
    """Render and tokenise; `deadline` is a ``time.monotonic`` instant. Raises `RequestRefused`."""
    try:
        if order.prompt is not None:
            prompt = encode_text(model, order.prompt)
        else:
            prompt = render_chat(model, order.messages, tools=order.tools, template_arguments=order.template_arguments)
    except PromptRefused as refused:
        refusal = of_template(refused.reason)
    else:
        sampling, dropped = within_vocabulary(order, model.logits_size)
        request = GenerationRequest(
            model=order.model,
            prompt_tokens=prompt.tokens,
            max_tokens=order.max_tokens,
            sampling=sampling,
            stop=order.stop,
            deadline=deadline,
        )
        return Rendered(request, dropped)
    raise RequestRefused(refusal)
