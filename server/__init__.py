"""The coordinator: takes consumers' requests, chooses a provider for each, and relays sealed answers."""
