"""How getting a model can fail; every text is a full sentence for the machine's owner."""


class CatalogFailed(Exception):
    """The catalogue or a manifest could not be read; the text names the server and the remedy."""


class DownloadFailed(Exception):
    """A model could not be brought onto this machine. What arrived stays, unless the text says otherwise."""


class DownloadBusy(DownloadFailed):
    """Another process downloads or removes the same model."""
