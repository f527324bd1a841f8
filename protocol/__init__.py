"""The wire: messages between coordinator and provider, sealing, attestation bytes, and shapes that both sides share."""
