"""A coordinator's door played over memory: answers from a list, and all that was asked with its moment."""

import json

import httpx
import trio

BASE = "https://coordinator.example"
CODE = {
    "device_code": "d" * 64,
    "user_code": "ABCD-2345",
    "verification_uri": f"{BASE}/link",
    "verification_uri_complete": f"{BASE}/link?code=ABCD-2345",
    "expires_in": 900,
    "interval": 5,
}
TOKEN = "eigeninference-pt-" + "ab" * 32
PENDING = {"status": "authorization_pending"}
AUTHORIZED = {"status": "authorized", "token": TOKEN, "account_id": "acct-1"}


def refusal(status, code, message="Not now.", **headers):
    return httpx.Response(status, json={"error": {"message": message, "type": code, "code": code}}, headers=headers)


class Peer:
    """`answers` are given in order, the last one for ever; an exception is raised in place of an answer."""

    def __init__(self):
        self.answers = []
        self.asked = []

    async def __call__(self, request):
        await trio.lowlevel.checkpoint()
        body = json.loads(request.content) if request.content else None
        self.asked.append((trio.current_time(), request.method, request.url.path, body, dict(request.headers)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, dict):
            return httpx.Response(200, json=answer)
        return answer

    def polls(self):
        """Moments of the questions for a token, counted from the first request."""
        return [round(at - self.asked[0][0], 3) for at, _method, path, *_ in self.asked if path == "/v1/device/token"]
