"""How fast a caller may ask: token buckets by account, by key and by client network, and the headers that tell."""

from server.limits.address import bucket_key
from server.limits.answer_headers import limit_headers, token_headers
from server.limits.bucket import Rate, TokenBucket
from server.limits.caller import LimitedCaller
from server.limits.network import NetworkLimits
from server.limits.rejection import Dimension, RateLimited, Tier
from server.limits.request_limiter import Admission, RequestLimiter
from server.limits.table import BucketTable
from server.limits.tiers import TierRates, TokenRates

__all__ = [
    "Admission",
    "BucketTable",
    "Dimension",
    "LimitedCaller",
    "NetworkLimits",
    "Rate",
    "RateLimited",
    "RequestLimiter",
    "Tier",
    "TierRates",
    "TokenBucket",
    "TokenRates",
    "bucket_key",
    "limit_headers",
    "token_headers",
]
