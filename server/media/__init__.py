"""Remote images and videos, fetched for a request without ever touching a network that is not public."""

from server.media.addresses import is_public
from server.media.fetcher import MediaFetcher
from server.media.limits import MediaLimits
from server.media.url import MediaUrl, check_url

__all__ = ["MediaFetcher", "MediaLimits", "MediaUrl", "check_url", "is_public"]
