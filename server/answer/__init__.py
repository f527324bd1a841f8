"""Answers: how response bytes reach a consumer, with back-pressure and deadlines."""

from server.answer.asgi import AsgiWriter
from server.answer.direct import DirectSocket, DirectWriter
from server.answer.streaming import AnswerConnection, Producer, StreamingAnswer, install_streaming
from server.answer.writer import MAX_WRITE_BYTES, AnswerAborted, AnswerWriter, ConsumerGone

__all__ = [
    "MAX_WRITE_BYTES",
    "AnswerAborted",
    "AnswerConnection",
    "AnswerWriter",
    "AsgiWriter",
    "ConsumerGone",
    "DirectSocket",
    "DirectWriter",
    "Producer",
    "StreamingAnswer",
    "install_streaming",
]
