"""Money over loopback sockets in both directions: the library calls the peer, the peer posts signed webhooks to us."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from server.listener import LOOPBACK_NETWORKS, Listener, ListenerLimits
from server.observe import mint_request_id
from server.store import Store
from tests.testbed.stripe_peer import StripePeer
from tests.testbed.stripe_peer_http import deliver, serve_peer
from tests.testbed.stripe_peer_world import CONNECT_SECRET, HOOK_SECRET, HandClock, open_world
from tests.unit.server.payments.test_endpoints import Site


@asynccontextmanager
async def listening(site: Site) -> AsyncGenerator[str, None]:
    """The application behind a real listener; yields its address."""

    async def no_link(*_: object) -> None:
        raise AssertionError("no provider was expected")

    listener = Listener(
        site.app,
        no_link,
        limits=ListenerLimits(),
        trusted_proxies=LOOPBACK_NETWORKS,
        on_crash=lambda error: None,
        new_request_id=mint_request_id,
    )
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(listener.run, "127.0.0.1", 0)
        yield url
        nursery.cancel_scope.cancel()


async def test_buying_and_paying_out(store: Store) -> None:
    clock = HandClock()
    peer = StripePeer(clock.seconds)
    async with (
        serve_peer(peer) as stripe,
        open_world(store, peer=peer, clock=clock, api_url=stripe) as world,
        listening(Site(store, world.payments)) as url,
    ):
        assert world.payments.deposits is not None
        begun = await world.payments.deposits.begin("ann", cents=1_000)
        connected = await world.payee("ann", earned=5_000_000)
        paid = peer.pay(begun.stripe_session_id)
        hook = f"{url}/v1/billing/stripe/webhook"
        assert await deliver(peer, hook, HOOK_SECRET, [paid], copies=10, concurrently=True) == [200] * 10
        assert await world.balance("ann") == (15_000_000, 5_000_000, 0, 0)

        peer.plan("cut_after", "/v1/transfers")
        answer = await world.payouts.withdrawals.withdraw("ann", gross_micro_usd=5_000_000, method="standard")
        assert (answer.status, len(peer.transfers)) == (200, 1)
        world.clock.go(3600)
        payout = peer.sweep(connected)
        assert payout is not None
        settled, bounced = peer.settle_payout(payout), peer.bounce_payout(payout)
        hook = f"{url}/v1/billing/stripe/connect/webhook"
        assert await deliver(peer, hook, CONNECT_SECRET, [bounced, settled], copies=2) == [200] * 4
        assert (await world.row(answer.row.id)).status == "transferred"
        assert await deliver(peer, hook, HOOK_SECRET, [settled], delay_seconds=0.01) == [400]
        assert await world.balance("ann") == (10_000_000, 0, 0, 0)
