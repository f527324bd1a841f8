"""The provider as a background service of this user: systemd, launchd, or a plain background process."""
