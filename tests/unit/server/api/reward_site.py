"""The application with the endpoints of rewards and reports over a real store; a token names the caller."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import trio
from quart import Blueprint, request

from protocol.api.errors import ApiError
from server.accounts import Identity
from server.accounts.changes import Changes
from server.accounts.guards import require_user_session
from server.answer import AnswerAborted
from server.api.balances import BalanceServices, MachineCounts, balances_blueprint
from server.api.base_rewards import BaseRewardServices, base_rewards_blueprint
from server.api.earnings import EarningServices, earnings_blueprint
from server.api.grants import GrantServices, grants_blueprint
from server.api.invites import InviteServices, invites_blueprint
from server.api.leaderboard import LeaderboardServices, leaderboard_blueprint
from server.api.referrals import ReferralServices, referrals_blueprint
from server.api.usage_reports import UsageServices, usage_blueprint
from server.config import CoordinatorSettings
from server.limits import Admission, Rate, RequestLimiter, TierRates
from server.observe import Metrics
from server.rewards.exports import ExportDesk
from server.rewards.policy import BaseRewardPolicy
from server.rewards.referrals import Referrals
from server.serve.app import build_app
from server.serve.drain import Drain
from server.store import Store
from tests.testbed.books import Books
from tests.testbed.flaky_store import FlakyStore

OFF = Rate(0, 0)
SECRET = b"s" * 32
MACHINE_TOKEN = "eigeninference-pt-" + "a" * 64


class Gate:
    """Takes the bearer token for the caller: `session:ann`, `key:ann`, `ownerless:x`, `admin`, `boss` (a person)."""

    def __init__(self, financial: Rate) -> None:
        rates = TierRates(consumer=OFF, service=OFF, financial=financial)
        self.limiter = RequestLimiter(rates, clock=lambda: 0.0, wall_clock=lambda: 1_800_000_000.0)

    async def caller(self) -> Identity:
        """See PaymentGate."""
        await trio.lowlevel.checkpoint()
        kind, _, name = request.headers.get("Authorization", "").removeprefix("Bearer ").partition(":")
        match kind:
            case "session":
                return Identity(account_id=name, key_id="", credential="jwt", has_user=True)
            case "key":
                return Identity(account_id=name, key_id="key_1", has_user=True, is_admin=name == "boss")
            case "ownerless":
                return Identity(account_id=name, key_id="key_2")
            case "boss":
                return Identity(account_id="boss", key_id="", credential="cookie", has_user=True, is_admin=True)
            case "admin":
                return Identity(
                    account_id="admin", key_id="", credential="admin_key", is_admin=True, covered=True, unlimited=True
                )
        raise ApiError(401, "authentication_error", "An API key is needed.")

    async def person(self) -> Identity:
        """See PaymentGate."""
        return require_user_session(await self.caller())

    async def person_within_limit(self) -> tuple[Identity, Admission]:
        """See PaymentGate."""
        found = await self.person()
        return found, self.limiter.financial(found)


class Machines:
    """Two of ann's machines; nobody else has any."""

    latest_version = "1.4.0"
    min_version = "1.2.0"

    async def counts(self, account_id: str) -> MachineCounts:
        await trio.lowlevel.checkpoint()
        return (
            MachineCounts(total=2, online=1, offline=1, needs_attention=1) if account_id == "ann" else MachineCounts()
        )


class Tokens:
    """One linked machine, of ann."""

    async def account_of(self, token: str) -> str | None:
        await trio.lowlevel.checkpoint()
        return "ann" if token == MACHINE_TOKEN else None


class Answer:
    """Status, headers (lower-case names) and body; `complete` is False when the answer was broken off."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes, *, complete: bool) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.complete = complete
        self._json: Any = None

    @property
    def json(self) -> Any:
        if self._json is None:
            self._json = json.loads(self.body)
        return self._json

    @property
    def error(self) -> tuple[int, str, str]:
        found = self.json["error"]
        assert isinstance(found["message"], str)
        return self.status, found["type"], found.get("param", "")


class RewardSite:
    """`ask` sends a request; `seconds` is the monotonic clock; `store.down` switches the database off."""

    def __init__(
        self,
        books: Books,
        *,
        financial: Rate = OFF,
        referrals: bool = True,
        policy: BaseRewardPolicy | None = None,
        exports: ExportDesk | None = None,
    ) -> None:
        self.books = books
        self.store = FlakyStore(books.store)
        self.changes = Changes(books.store)
        self.seconds = 0.0
        self.exports = exports or ExportDesk()
        self.app = build_app(
            CoordinatorSettings(),
            metrics=Metrics(),
            drain=Drain(),
            blueprints=self._blueprints(self.store, Gate(financial), referrals, policy),  # type: ignore[arg-type]
        )

    def _blueprints(
        self, store: Store, gate: Gate, referrals: bool, policy: BaseRewardPolicy | None
    ) -> list[Blueprint]:
        def wall_clock() -> int:
            return self.books.now

        made = Referrals(store, share_percent=20, wall_clock=wall_clock) if referrals else None
        return [
            referrals_blueprint(ReferralServices(gate=gate, referrals=made)),
            invites_blueprint(InviteServices(gate=gate, store=store, wall_clock=wall_clock)),
            grants_blueprint(GrantServices(gate=gate, store=store, changes=self.changes, wall_clock=wall_clock)),
            base_rewards_blueprint(BaseRewardServices(gate=gate, store=store, policy=policy, wall_clock=wall_clock)),
            balances_blueprint(BalanceServices(gate=gate, store=store, machines=Machines(), wall_clock=wall_clock)),
            usage_blueprint(UsageServices(gate=gate, store=store, exports=self.exports, wall_clock=wall_clock)),
            earnings_blueprint(
                EarningServices(gate=gate, store=store, tokens=Tokens(), exports=self.exports, wall_clock=wall_clock)
            ),
            leaderboard_blueprint(
                LeaderboardServices(store=store, secret=SECRET, clock=lambda: self.seconds, wall_clock=wall_clock)
            ),
        ]

    async def ask(
        self, method: str, path: str, body: object = None, *, by: str = "key:ann", headers: dict[str, str] | None = None
    ) -> Answer:
        sent = [(b"host", b"coordinator.test")]
        sent += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        if by:
            sent.append((b"authorization", f"Bearer {by}".encode()))
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        raw_path, _, query = path.partition("?")
        scope: Any = {
            "type": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": method,
            "scheme": "http",
            "path": raw_path,
            "raw_path": raw_path.encode(),
            "query_string": quote(query, safe="=&%-.:~").encode(),
            "root_path": "",
            "headers": sent,
            "client": ("203.0.113.7", 1234),
            "server": None,
            "extensions": {},
        }
        received = [{"type": "http.request", "body": data, "more_body": False}]
        events: list[dict[str, Any]] = []

        async def receive() -> Any:
            if not received:
                await trio.sleep_forever()
            return received.pop()

        async def send(event: Any) -> None:
            await trio.lowlevel.checkpoint()
            events.append(event)

        try:
            await self.app(scope, receive, send)
        except* AnswerAborted:
            pass
        start = events[0]
        found = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        text = b"".join(event.get("body", b"") for event in events[1:])
        return Answer(start["status"], found, text, complete=not events[-1].get("more_body", False))
