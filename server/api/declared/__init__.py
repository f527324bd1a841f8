"""Every operation of the HTTP API, declared by family beside the endpoints; a test compares it with the routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from server.api.declared.accounts import ACCOUNTS
from server.api.declared.admin_money import ADMIN_MONEY
from server.api.declared.administration import ADMINISTRATION
from server.api.declared.catalog import CATALOG
from server.api.declared.earnings import EARNINGS
from server.api.declared.inference import INFERENCE
from server.api.declared.keys import KEYS
from server.api.declared.models import MODELS
from server.api.declared.money import MONEY
from server.api.declared.network import NETWORK
from server.api.declared.operations import RUNNING
from server.api.declared.releases import RELEASES
from server.api.declared.rewards import REWARDS
from server.api.declared.routing import ROUTING

if TYPE_CHECKING:
    from server.openapi import Operation

FAMILIES: Final[Mapping[str, str]] = {
    "Inference": "Text from models, in the dialects of OpenAI and Anthropic; plain or sealed, whole or streamed.",
    "Models": "What can be asked for, with prices and live capacity.",
    "Keys": "API keys of an account: a person makes them, no key makes another.",
    "Accounts": "Signing in, browser sessions, linking machines.",
    "Money": "Balance, usage, prices, deposits and payouts.",
    "Earnings": "What an account's machines earned.",
    "Rewards": "Referrals and invites.",
    "Catalogue": "Entering models, versions and names, for publishers; and releases, for build pipelines.",
    "Network": "Health, versions, evidence and numbers of the network, for everybody.",
    "Administration": "For operators; every act leaves a row of the audit.",
}

OPERATIONS: Final[tuple[Operation, ...]] = (
    *INFERENCE,
    *MODELS,
    *KEYS,
    *ACCOUNTS,
    *MONEY,
    *EARNINGS,
    *REWARDS,
    *CATALOG,
    *RELEASES,
    *NETWORK,
    *ADMINISTRATION,
    *ADMIN_MONEY,
    *RUNNING,
    *ROUTING,
)
